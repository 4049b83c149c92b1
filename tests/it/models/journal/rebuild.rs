//! When a shard must be rebuilt, and the rebuild, one step at a time.
//!
//! Two rebuilders may be at it at once, each may be paused between any two steps for as long as the seed
//! likes, and Redis may be lost again in the middle. Whoever finds a half-done rebuild starts a new one.

use super::play::Model;
use super::world::Row;
use super::{Defences, Violation};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    BeginEpoch,
    Fence,
    Snapshot,
    BeginLoading,
    LoadChunk,
    GoLive,
    OpenEpoch,
}

#[derive(Debug)]
pub struct Rebuilder {
    steps_done: usize,
    epoch: u64,
    chunks: Vec<Vec<Row>>,
    chunks_sent: usize,
}

const STEPS: [Step; 7] = [
    Step::BeginEpoch,
    Step::Fence,
    Step::Snapshot,
    Step::BeginLoading,
    Step::LoadChunk,
    Step::GoLive,
    Step::OpenEpoch,
];

/// The ablation: what is committed between the first two steps is in Postgres and not in the snapshot.
const STEPS_WITH_THE_SNAPSHOT_FIRST: [Step; 7] = [
    Step::Snapshot,
    Step::BeginEpoch,
    Step::Fence,
    Step::BeginLoading,
    Step::LoadChunk,
    Step::GoLive,
    Step::OpenEpoch,
];

impl Rebuilder {
    fn new() -> Rebuilder {
        Rebuilder { steps_done: 0, epoch: 0, chunks: Vec::new(), chunks_sent: 0 }
    }

    fn next(&self, defences: &Defences) -> Step {
        let steps = if defences.fences_before_the_snapshot { STEPS } else { STEPS_WITH_THE_SNAPSHOT_FIRST };
        steps[self.steps_done]
    }
}

impl Model<'_> {
    /// What a writer sees when it compares Redis with its cursor. It does without the run id of Redis, which
    /// the engine looks at too: the chain alone must do.
    pub fn needs_a_rebuild(&self) -> Result<bool, Violation> {
        let postgres = &self.postgres;
        if self.alarm || !postgres.live || !self.primary.is_live_in(postgres.epoch) {
            return Ok(true);
        }
        let Some(keys) = self.primary.keys_of(postgres.epoch) else {
            return Ok(true);
        };
        // Postgres never goes back in this model, and trimming follows the commit: an entry that was trimmed
        // and is not in Postgres was thrown away with no fault to blame.
        if keys.trimmed > postgres.seq {
            return Err(Violation::TrimmedBeforeCommitted);
        }
        let short = keys.entries.len() < postgres.seq;
        let at_cursor = keys.hash_at(postgres.epoch, postgres.seq);
        let forked = at_cursor.is_some_and(|hash| hash != postgres.head);
        Ok(self.defences.numbers_are_contiguous && short
            || self.defences.entries_are_chained && self.defences.looks_at_the_head_when_idle && forked)
    }

    pub fn start_a_rebuild(&mut self) {
        if let Some(free) = self.rebuilders.iter().position(Option::is_none) {
            self.rebuilders[free] = Some(Rebuilder::new());
        }
    }

    pub fn step_a_rebuild(&mut self) {
        let first = self.rng.usize(..2);
        let slot = if self.rebuilders[first].is_some() { first } else { 1 - first };
        if let Some(rebuilder) = self.rebuilders[slot].take() {
            self.rebuilders[slot] = self.step(rebuilder);
        }
    }

    pub fn rebuild_at_once(&mut self) {
        let mut rebuilder = Some(Rebuilder::new());
        while let Some(unfinished) = rebuilder {
            rebuilder = self.step(unfinished);
        }
    }

    /// Carries out one step, and gives the rebuilder back unless it is done or was refused.
    fn step(&mut self, mut rebuilder: Rebuilder) -> Option<Rebuilder> {
        let defences = self.defences;
        let epoch = rebuilder.epoch;
        let step = rebuilder.next(defences);
        let accepted = match step {
            Step::BeginEpoch => {
                rebuilder.epoch = self.postgres.begin_epoch();
                self.alarm = false;
                true
            }
            Step::Fence => {
                let reaches_redis = self.rng.bool();
                if reaches_redis {
                    self.node().fence(epoch);
                }
                true
            }
            Step::Snapshot => {
                rebuilder.chunks = self.postgres.world.chunks();
                true
            }
            Step::BeginLoading => self.node().begin_loading(epoch),
            Step::LoadChunk => {
                rebuilder.chunks_sent += 1;
                let number = rebuilder.chunks_sent;
                let rows = &rebuilder.chunks[number - 1];
                self.node().load_chunk(epoch, number, rows, defences)
            }
            Step::GoLive => self.node().go_live(epoch, rebuilder.chunks.len(), defences),
            Step::OpenEpoch => {
                self.postgres.open_epoch(epoch);
                self.outcome.rebuilds += 1;
                return None;
            }
        };
        if step != Step::LoadChunk || rebuilder.chunks_sent == rebuilder.chunks.len() {
            rebuilder.steps_done += 1;
        }
        self.outcome.rebuild_steps_refused += usize::from(!accepted);
        accepted.then_some(rebuilder)
    }
}
