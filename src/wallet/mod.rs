//! Points: a balance for each user, and the ledger of how it came about.
//!
//! Decided in the user's shard. What must always hold: a balance is the sum of its ledger, never negative,
//! never above 2^53 − 1, also when all that is set aside comes back. A transfer is PENDING, then POSTED (its
//! seats are sold) or VOIDED (the points are back), and stays that.
//!
//! Keys: `balances` (a field a user), `reserved` (a field a user who has paid), `transfers` and `ages` (what
//! is set aside now, until closed).

pub mod closing;
pub mod event;
pub mod model;
pub mod ops;
pub mod routes;
pub mod store;
pub mod table;
pub mod verify;
