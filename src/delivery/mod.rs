//! Delivery: what happened here is told to other systems, at least once, in order.
//!
//! Features say what is worth telling as [`notice::Notice`]s of their facts; this folder knows nothing of
//! what they mean. The writer puts them into the outbox, a row a message and endpoint, in the transaction
//! of the facts themselves: what is durable will be told, what is not will never be. A relay on every
//! instance claims rows, posts them and notes what came of it.
//!
//! What must always hold:
//! - A message stays PENDING until its endpoint has said 2xx (DELIVERED) or its tries are used up (DEAD,
//!   until an operator replays it). A relay that dies leaves a claim that lapses.
//! - Messages of one aggregate (a user's orders, a reservation) go out one after the other, each after the
//!   one before it was DELIVERED or DEAD.
//! - A message has one id, however often it is sent.
//! - While an endpoint is down its breaker is open and nobody's tries are used up: one message at a time is
//!   tried, until one arrives.
//! - No address is asked but those of the configuration, and no private one unless that says so.
//!
//! Nothing is in Redis. One clock rules: Postgres'.

pub mod address;
pub mod notice;
pub mod relay;
pub mod settings;
pub mod sink;
pub mod table;
