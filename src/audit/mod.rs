//! The audit log: who with a role did what to whom.
//!
//! Every act that an OPERATOR's or an ADMIN's role allows him is written down: who, as what, which operation,
//! on what, how it was before and after, and in which request. What must always hold: an act and its line
//! are one: the fact `audit.acted` stands in the journal entry of what was done, and the line is inserted in
//! the transaction that makes it durable; where Postgres decides alone, in that very transaction. Lines are
//! never changed or removed (the database refuses it). What one does as a user, with one's own things, is no
//! act. Nothing is in Redis.

pub mod event;
pub mod model;
pub mod routes;
pub mod story;
pub mod table;
