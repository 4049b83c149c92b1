//! What is ordered most: the seven days' popular menus.
//!
//! The window begins at the full hour (UTC) seven days ago. Each user's shard counts in the order's own
//! script: totals of the window, and the same by hour; when an hour leaves the window it is taken out of
//! the totals, once, on the shard's tick. A reader adds the shards' full sets up, not their tops: the third
//! of all may be the fourth everywhere.
//!
//! What must always hold: a total is the sum of its hours, and an hour counts exactly the orders that were
//! placed in it. What a tick has not taken out yet is left out by the reader, so an answer is exact at any
//! moment. Ticks journal nothing: they follow from the orders and the time.
//!
//! Keys: `orders` and `quantity` (sorted sets, a member a menu: the totals), `hours` (sorted set by hour, a
//! member `hour:menu`), `hour_orders` and `hour_quantity` (a field for each of those). Bounded by the menus
//! that are ordered within 169 hours.

pub mod model;
pub mod ops;
pub mod routes;
pub mod store;
pub mod table;
pub mod tick;
pub mod verify;
