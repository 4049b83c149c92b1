//! Accounts: who there is, and how he proves it.
//!
//! Postgres decides here. What must always hold: e-mail addresses are unique without
//! case; a password is never stored, logged or truncated; an unknown e-mail costs and answers the same as a
//! wrong password; of a sign-in's refresh tokens only the newest is good, the one before it for ten seconds;
//! what has ended, and a role that has changed, hold for tokens that are out: here at once, in every instance
//! within a second, after every restart; who fails to sign in waits longer each time, whichever instance he
//! asks, and whoever is refused is not hashed.
//!
//! Keys of a shard: `failures`, of an account or an address (they expire when the last failure is
//! forgotten). Nothing else is in Redis, and nothing of it is loaded by a rebuild: a loss forgets failures.

pub mod keys;
pub mod model;
pub mod ops;
pub mod passwords;
pub mod refresh;
pub mod routes;
pub mod sessions;
pub mod store;
pub mod table;
pub mod throttle;
pub mod tokens;
