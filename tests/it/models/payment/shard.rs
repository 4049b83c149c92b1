//! A shard as the journal model leaves it: a committed prefix that is never lost, and a suffix that may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// What of a payment an entry carries out: the operation, and the step of it.
pub type Slot = (usize, u8);

pub const RESERVE: u8 = 1;
pub const DECISION: u8 = 2;
pub const VOID: u8 = 3;

#[derive(Clone, Copy, Debug)]
pub struct Entry<Fact> {
    /// Stands for epoch, number and hash: no two entries ever share it.
    pub identity: usize,
    pub at: u64,
    /// None for what is no step of a payment: holds.
    pub slot: Option<Slot>,
    pub fact: Fact,
}

pub trait State: Clone {
    type Fact: Copy + Debug;
    fn apply(&mut self, entry: &Entry<Self::Fact>);
    /// Drops what the shard keeps of a payment that was closed long ago.
    fn forget(&mut self, operation: usize);
}

#[derive(Debug)]
pub struct Shard<S: State> {
    /// What Redis holds.
    pub live: S,
    /// What a rebuild would load.
    durable: S,
    journal: Vec<Entry<S::Fact>>,
    pub committed: Vec<Entry<S::Fact>>,
    committed_identities: BTreeSet<usize>,
    next_identity: usize,
    /// How often Postgres refused an entry because its operation and step were there already.
    pub last_walls_hit: usize,
}

impl<S: State> Shard<S> {
    pub fn new(state: S) -> Shard<S> {
        Shard {
            live: state.clone(),
            durable: state,
            journal: Vec::new(),
            committed: Vec::new(),
            committed_identities: BTreeSet::new(),
            next_identity: 0,
            last_walls_hit: 0,
        }
    }

    pub fn write(&mut self, at: u64, slot: Option<Slot>, fact: S::Fact) -> usize {
        self.next_identity += 1;
        let entry = Entry { identity: self.next_identity, at, slot, fact };
        self.live.apply(&entry);
        self.journal.push(entry);
        entry.identity
    }

    pub fn is_durable(&self, identity: usize) -> bool {
        self.committed_identities.contains(&identity)
    }

    pub fn pending(&self) -> usize {
        self.journal.len()
    }

    /// Older than the limit, the oldest entry that is not durable makes the shard busy.
    pub fn is_busy(&self, now: u64, limit: u64) -> bool {
        self.journal.first().is_some_and(|entry| now - entry.at > limit)
    }

    /// Commits up to `count` entries. An entry whose slot is taken is refused by the unique key of
    /// operations: the shard is fenced and rebuilt, and what followed is lost with it.
    pub fn drain(&mut self, count: usize, taken: &mut BTreeMap<Slot, usize>, unique: bool) {
        for _ in 0..count.min(self.journal.len()) {
            let entry = self.journal[0];
            if let Some(slot) = entry.slot {
                if unique && taken.contains_key(&slot) {
                    self.last_walls_hit += 1;
                    self.lose(0);
                    return;
                }
                taken.insert(slot, entry.identity);
            }
            self.durable.apply(&entry);
            self.committed.push(entry);
            self.committed_identities.insert(entry.identity);
            self.journal.remove(0);
        }
    }

    /// Redis loses all but the first `kept` of the entries that are not durable.
    pub fn lose(&mut self, kept: usize) {
        self.journal.truncate(kept);
        self.live = self.durable.clone();
        for entry in &self.journal {
            self.live.apply(entry);
        }
    }

    pub fn forget(&mut self, operation: usize) {
        self.live.forget(operation);
        self.durable.forget(operation);
    }
}
