//! Seats: free, held until a deadline, or sold.
//!
//! Decided in the concert's shard. What must always hold: a seat has at most one owner; a reservation gets
//! all of its seats or none; what a user holds and has bought in a show stays within the concert's limit;
//! hold, decide and cancel compare `now >= deadline` alike, the sweeper only cleans up.
//!
//! Keys of a show: `state` (a field a taken seat), `taken` (a bit a seat), `users` (a field a user with
//! seats). Of a concert: `holds` (a field a hold), `holders` (a field a user who holds). Of a shard:
//! `deadlines` (a member a hold).

pub mod event;
pub mod model;
pub mod notice;
pub mod ops;
pub mod routes;
pub mod store;
pub mod sweep;
pub mod table;
pub mod verify;
