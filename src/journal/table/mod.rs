//! What Postgres remembers of the journal itself: cursors, operations, entries, leases.

pub mod cursor;
pub mod direct;
pub mod entries;
pub mod lease;
pub mod recall;
pub mod statements;
pub mod upkeep;
