//! The waiting room: a fair line, let in at the rate and up to the number that the shop can bear.
//!
//! Decided in the queue's shard. What must always hold: one entry a user; admission in number order; no
//! window of a second admits more than the rate, whoever ticks; never more than `maxActive` are in; a place
//! survives a restart of anything and, by its signed ticket, a loss of Redis.
//!
//! A place is WAITING, then ACTIVE (a pass), then gone: left, lapsed (three silent minutes), expired, unused
//! (a minute after admission), spent by a payment, or closed with the queue.
//!
//! Polls are answered from a snapshot of the line that each instance reads (see [`line`](mod@line)).
//!
//! Keys of a queue: `room` (settings and counter), `waiting` (a member a waiter), `line` (a
//! bit a number from the first who waits, or may come back, to the last), `seen` (who was seen, likewise, in
//! each of the last 24 times eight seconds), `silent` (who was not), `scratch` (empty), `passes`,
//! `active` and `fresh` (a member a pass), `buffer` (soft changes until the next tick), `log` (admissions of
//! the last second, or ten for slow queues), `ended` (a field a user whose place ended after a loss). Of a
//! shard: `busy` (queues in which something goes on).

pub mod door;
pub mod event;
pub mod line;
pub mod live;
pub mod model;
pub mod ops;
pub mod presence;
pub mod routes;
pub mod store;
pub mod table;
pub mod tick;
pub mod ticket;
pub mod verify;
