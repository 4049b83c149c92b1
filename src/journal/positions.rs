//! Where the writer stands in each shard: what the keepers judge by.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::table::cursor::Cursor;
use crate::redis::Shard;

/// Where the writer stands in a shard.
#[derive(Clone, Debug)]
pub struct Position {
    /// What is committed.
    pub cursor: Cursor,
    /// What comes next does not follow; nothing more is read in this epoch.
    pub broken: bool,
}

/// Where the writer stands in each shard, for the keepers.
#[derive(Default)]
pub struct Positions(Mutex<HashMap<Shard, Position>>);

impl Positions {
    /// All of them.
    pub fn map(&self) -> std::sync::MutexGuard<'_, HashMap<Shard, Position>> {
        // The map is whole between statements, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the writer stands in a shard, where it has begun.
    pub fn get(&self, shard: Shard) -> Option<Position> {
        self.map().get(&shard).cloned()
    }

    /// Begins again at a cursor that was read from Postgres.
    pub fn set(&self, cursor: Cursor) {
        self.map().insert(cursor.shard, Position { cursor, broken: false });
    }

    /// Forgets a shard: the writer reads its cursor from Postgres again.
    pub fn forget(&self, shard: Shard) {
        self.map().remove(&shard);
    }
}
