//! Paying: points of one shard against seats of another, as a two-phase transfer.
//!
//! First the seats' shard says whether the payer is in and holds what he pays for, and where he does not,
//! Postgres what is in the way: nothing hopeless moves a point. Step 1, `wallet/reserve` in the user's shard:
//! the points are set aside. Step 2, `payments/decide` in the seats' shard: the seats are sold, or it says
//! for ever why not; **that shard alone decides**. Step 3, only after a no, `wallet/void`: the points go
//! back. Each step takes effect once and is durable before the next.
//!
//! What must always hold: a seat is sold exactly when its points are gone; nobody gives points back because
//! of a time-out. Whoever finds a transfer that nobody drives (recovery, on any instance) asks the seats'
//! shard through `payments/abort`, which says no where nothing was said, in the same step 2, so that a late
//! decide comes too late.
//!
//! Keys: `decided` (a field a decision, until a day after it was closed in Postgres).

pub mod event;
pub mod model;
pub mod notice;
pub mod ops;
pub mod recovery;
pub mod routes;
pub mod store;
pub mod table;
pub mod verify;
