//! Postgres: the cursor of the shard, its tables, and the one transaction that moves both.

use super::world::{Facts, World, marker_hash};
use super::{Defences, Duplicates, Violation, redis::Entry};
use std::collections::BTreeMap;

/// What a writer read from a node, with the cursor that it read after.
#[derive(Clone, Debug)]
pub struct Batch {
    pub epoch: u64,
    pub cursor: (usize, u64),
    pub entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
pub struct Committed {
    pub epoch: u64,
    pub seq: usize,
    pub hash: u64,
    pub facts: Facts,
}

#[derive(Debug)]
pub struct Postgres {
    pub epoch: u64,
    /// The cursor takes entries; false while the shard is being rebuilt.
    pub live: bool,
    pub seq: usize,
    pub head: u64,
    pub world: World,
    pub operations: BTreeMap<usize, Committed>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// Another epoch, or another writer was faster. Nothing to be alarmed about.
    Late,
    /// The batch is not built on what Postgres holds: Redis has forked.
    Forked,
    /// A constraint fired: the last wall, which no run of the whole protocol may touch.
    LastWall,
}

impl Postgres {
    pub fn new() -> Postgres {
        let operations = BTreeMap::new();
        Postgres { epoch: 1, live: true, seq: 0, head: marker_hash(1), world: World::at_start(), operations }
    }

    /// Step one of a rebuild: from here on no writer of the old epoch can commit.
    pub fn begin_epoch(&mut self) -> u64 {
        self.epoch += 1;
        self.live = false;
        self.epoch
    }

    /// The last step of a rebuild. Until then the cursor still stands where the old epoch left it.
    pub fn open_epoch(&mut self, epoch: u64) {
        if self.epoch == epoch && !self.live {
            self.live = true;
            self.seq = 0;
            self.head = marker_hash(epoch);
        }
    }

    pub fn commit(&mut self, batch: Batch, defences: &Defences) -> Result<Outcome, Violation> {
        let mut entries = batch.entries;
        if defences.commits_check_epoch && (batch.epoch != self.epoch || !self.live) {
            return Ok(Outcome::Late);
        }
        if defences.cursor_is_compared_and_set && batch.cursor != (self.seq, self.head) {
            return Ok(Outcome::Late);
        }
        if defences.duplicates == Duplicates::Skipped {
            entries.retain(|entry| !self.operations.contains_key(&entry.operation));
        }
        if entries.is_empty() {
            return Ok(Outcome::Late);
        }
        if is_forked(batch.cursor, &entries, defences) {
            return Ok(Outcome::Forked);
        }
        if self.hits_the_last_wall(&entries, defences) {
            return Ok(Outcome::LastWall);
        }
        for entry in &entries {
            self.apply(entry, batch.epoch)?;
        }
        Ok(Outcome::Committed)
    }

    fn hits_the_last_wall(&self, entries: &[Entry], defences: &Defences) -> bool {
        let repeated = entries.iter().any(|entry| self.operations.contains_key(&entry.operation));
        let mut world = self.world;
        let broken = entries.iter().any(|entry| {
            let allowed = world.allows(&entry.facts);
            world.apply(&entry.facts);
            !allowed
        });
        defences.duplicates == Duplicates::Alarm && repeated || defences.constraints && broken
    }

    fn apply(&mut self, entry: &Entry, epoch: u64) -> Result<(), Violation> {
        if !self.world.allows(&entry.facts) {
            return Err(Violation::IllegalHistory);
        }
        let committed = Committed { epoch, seq: entry.seq, hash: entry.hash, facts: entry.facts };
        if self.operations.insert(entry.operation, committed).is_some() {
            return Err(Violation::AppliedTwice);
        }
        self.world.apply(&entry.facts);
        self.seq = self.seq.max(entry.seq);
        self.head = entry.hash;
        Ok(())
    }
}

/// What a writer checks of the entries that it read, against the cursor that it read after. That the cursor
/// still stands there is for the compare-and-set of the commit to say.
fn is_forked((seq, head): (usize, u64), entries: &[Entry], defences: &Defences) -> bool {
    let first = &entries[0];
    let gap = first.seq != seq + 1 || entries.windows(2).any(|pair| pair[1].seq != pair[0].seq + 1);
    let torn = first.previous != head || entries.windows(2).any(|pair| pair[1].previous != pair[0].hash);
    defences.numbers_are_contiguous && gap || defences.entries_are_chained && torn
}
