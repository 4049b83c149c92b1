//! Orders: things on the menu, paid with points.
//!
//! Decided in the user's shard by one script: balance, ledger, order, ranking. What must always hold: an
//! order stands exactly when its points are gone and it is counted in the ranking; its names and prices are
//! those of the moment at which it was placed, whatever becomes of the menu.
//!
//! Keys: none of its own; the script uses those of `wallet` and `ranking`.

pub mod event;
pub mod model;
pub mod notice;
pub mod ops;
pub mod routes;
pub mod store;
pub mod table;
pub mod verify;
