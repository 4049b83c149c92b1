//! Accounts: who there is, and how he proves it.
//!
//! Postgres decides here; nothing is in Redis. What must always hold: e-mail addresses are unique without
//! case; a password is never stored, logged or truncated; an unknown e-mail costs and answers the same as a
//! wrong password; of a sign-in's refresh tokens only the newest is good, the one before it for ten seconds;
//! what has ended, and a role that has changed, hold for tokens that are out: here at once, in every instance
//! within a second, after every restart.

pub mod keys;
pub mod model;
pub mod ops;
pub mod passwords;
pub mod refresh;
pub mod routes;
pub mod sessions;
pub mod table;
pub mod tokens;
