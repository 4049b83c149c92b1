//! Concerts and their shows: what is sold, when, and how many of it a user may have.
//!
//! Decided in the concert's shard, beside its queue, seats and holds. What must always hold: one show a day;
//! concerts and shows never change once made, so every instance may remember them.
//!
//! Keys of a concert: `policy`, `shows` and `dates` and `free` (a field a show).

pub mod catalog;
pub mod event;
pub mod model;
pub mod ops;
pub mod routes;
pub mod store;
pub mod table;
