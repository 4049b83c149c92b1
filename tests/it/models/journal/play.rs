//! One run: clients, two writers, two rebuilders and the faults, in an order that the seed decides.

use super::postgres::{Batch, Outcome as CommitOutcome, Postgres};
use super::rebuild::Rebuilder;
use super::redis::{Call, Entry, Redis, Reply};
use super::world::{Facts, Request, SEATS, Seat, USERS, World};
use super::{Acknowledgement, Defences, Outcome, Violation};
use fastrand::Rng;
use std::collections::BTreeSet;

const STEPS: usize = 400;
const BATCH_MAX: usize = 6;
const LAG_MAX: usize = 6;
const ROUNDS_TO_REST: usize = 300;

/// A handler that waits for its own entry to be durable.
#[derive(Clone, Copy, Debug)]
struct Wait {
    epoch: u64,
    entry: Entry,
}

/// A look-up of before: what Postgres had then is known, and all else is taken for new.
#[derive(Clone, Debug)]
struct Remembered {
    epoch: u64,
    known: BTreeSet<usize>,
}

pub struct Model<'run> {
    pub rng: Rng,
    pub defences: &'run Defences,
    pub postgres: Postgres,
    pub primary: Redis,
    /// The primary that a fail-over left behind; some connections still reach it.
    pub old: Option<Redis>,
    pub rebuilders: [Option<Rebuilder>; 2],
    pub alarm: bool,
    pub outcome: Outcome,
    now: u64,
    requests: Vec<Request>,
    calls: Vec<Call>,
    remembered: Option<Remembered>,
    waits: Vec<Wait>,
    told: Vec<(usize, Facts)>,
    batches: [Option<Batch>; 2],
}

pub fn play(seed: u64, defences: &Defences) -> Outcome {
    let mut model = Model::new(seed, defences);
    let result = model.run().and_then(|()| model.come_to_rest());
    model.outcome.violation = result.err();
    model.outcome.acknowledged = model.told.len();
    model.outcome
}

impl<'run> Model<'run> {
    fn new(seed: u64, defences: &'run Defences) -> Model<'run> {
        let mut primary = Redis::default();
        primary.begin_loading(1);
        let chunks = World::at_start().chunks();
        for (index, rows) in chunks.iter().enumerate() {
            primary.load_chunk(1, index + 1, rows, defences);
        }
        primary.go_live(1, chunks.len(), defences);
        Model {
            rng: Rng::with_seed(seed),
            defences,
            postgres: Postgres::new(),
            primary,
            old: None,
            rebuilders: [None, None],
            alarm: false,
            outcome: Outcome::default(),
            now: 0,
            requests: Vec::new(),
            calls: Vec::new(),
            remembered: None,
            waits: Vec::new(),
            told: Vec::new(),
            batches: [None, None],
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        for _ in 0..STEPS {
            self.now += u64::from(self.rng.u8(..4) == 0);
            match self.rng.u8(..100) {
                0..20 => self.a_client_asks(),
                20..25 => self.a_client_retries(),
                25..53 => self.a_call_arrives(),
                53..73 => self.a_writer_reads(),
                73..92 => self.a_writer_commits()?,
                92..93 => self.batches[self.rng.usize(..2)] = None,
                93..96 => self.redis_fails_over(),
                96..97 => self.old = None,
                _ => self.a_rare_fault(),
            }
            let chance = if self.rebuilders.iter().any(Option::is_some) { 3 } else { 40 };
            if self.needs_a_rebuild()? && self.rng.u8(..100) < chance {
                self.start_a_rebuild();
            }
            if self.rng.u8(..100) < 70 {
                self.step_a_rebuild();
            }
        }
        Ok(())
    }

    /// The node that a connection happens to reach.
    pub fn node(&mut self) -> &mut Redis {
        let reaches_old = self.rng.u8(..100) < 25;
        match &mut self.old {
            Some(old) if reaches_old => old,
            _ => &mut self.primary,
        }
    }

    fn a_rare_fault(&mut self) {
        match self.rng.u8(..8) {
            0..2 => self.primary = Redis::default(),
            // A false alarm: a rebuild may start on a healthy shard.
            2 => self.alarm = true,
            _ => {}
        }
    }

    fn a_client_asks(&mut self) {
        let (seat, user) = (self.rng.usize(..SEATS), self.rng.usize(..USERS));
        let request = match self.rng.u8(..7) {
            0..3 => Request::BuyAny { user },
            3 => Request::Hold { seat, user },
            4 => match self.postgres.world.seats[seat] {
                Seat::Sold { user } => Request::Cancel { seat, user },
                _ => Request::Hold { seat, user },
            },
            5 => Request::Claim { user },
            _ => Request::Give { from: user, to: (user + 1 + self.rng.usize(..USERS - 1)) % USERS },
        };
        self.requests.push(request);
        self.find_out(self.requests.len() - 1);
    }

    /// The same key again, whichever instance and node it reaches.
    fn a_client_retries(&mut self) {
        let recent = self.requests.len().min(8);
        if recent > 0 {
            let operation = self.requests.len() - 1 - self.rng.usize(..recent);
            self.find_out(operation);
        }
    }

    /// A handler that remembers a look-up of this epoch need not ask again.
    fn find_out(&mut self, operation: usize) {
        let epoch = self.postgres.epoch;
        let counts = |of: &&Remembered| of.epoch == epoch || !self.defences.remembers_in_one_epoch;
        let remembered = self.remembered.as_ref().filter(counts);
        if remembered.is_some_and(|of| !of.known.contains(&operation)) {
            let request = self.requests[operation];
            self.calls.push(Call { operation, request, epoch });
            return;
        }
        self.look_up(operation);
        if self.rng.u8(..4) == 0 {
            let known = self.postgres.operations.keys().copied().collect();
            self.remembered = Some(Remembered { epoch, known });
        }
    }

    /// A handler asks Postgres first, for the epoch and for its operation, in one statement.
    fn look_up(&mut self, operation: usize) {
        match self.postgres.operations.get(&operation) {
            Some(committed) => self.told.push((operation, committed.facts)),
            None => {
                let (request, epoch) = (self.requests[operation], self.postgres.epoch);
                self.calls.push(Call { operation, request, epoch });
            }
        }
    }

    fn a_call_arrives(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let index = self.rng.usize(..self.calls.len());
        let (call, now, defences) = (self.calls[index], self.now, self.defences);
        let reply = self.node().execute(&call, now, defences);
        // When the reply is lost the call stays, and the driver sends it again: maybe to a promoted node.
        let reply_is_lost = self.rng.u8(..5) == 0;
        if reply_is_lost {
            self.outcome.replies_lost += 1;
            return;
        }
        match reply {
            Reply::StaleEpoch if defences.looks_up_again_when_stale => {
                self.calls.swap_remove(index);
                self.look_up(call.operation);
            }
            Reply::StaleEpoch => self.calls[index].epoch = self.postgres.epoch,
            Reply::Refused => drop(self.calls.swap_remove(index)),
            Reply::Written(entry) | Reply::Recorded(entry) => {
                self.calls.swap_remove(index);
                match defences.acknowledgement {
                    Acknowledgement::WhenRedisAnswers => self.told.push((entry.operation, entry.facts)),
                    _ => self.waits.push(Wait { epoch: call.epoch, entry }),
                }
            }
        }
    }

    fn read_from(&self, node: &Redis) -> Option<Batch> {
        let postgres = &self.postgres;
        if !node.is_live_in(postgres.epoch) {
            return None;
        }
        let keys = node.keys_of(postgres.epoch)?;
        let after = postgres.seq.max(keys.trimmed);
        let entries = keys.entries.iter().skip(after).take(BATCH_MAX).copied().collect();
        Some(Batch { epoch: postgres.epoch, cursor: (postgres.seq, postgres.head), entries })
    }

    fn a_writer_reads(&mut self) {
        let reaches_old = self.rng.u8(..100) < 25;
        let node = self.old.as_ref().filter(|_| reaches_old).unwrap_or(&self.primary);
        let mut batch = self.read_from(node);
        if let Some(batch) = &mut batch {
            batch.entries.truncate(1 + self.rng.usize(..BATCH_MAX));
            if let (false, Some(last)) = (self.defences.trims_after_the_commit, batch.entries.last()) {
                let (epoch, seq) = (batch.epoch, last.seq);
                self.primary.trim(epoch, seq);
            }
        }
        self.batches[self.rng.usize(..2)] = batch;
    }

    fn a_writer_commits(&mut self) -> Result<(), Violation> {
        match self.batches[self.rng.usize(..2)].take() {
            Some(batch) => self.commit(batch),
            None => Ok(()),
        }
    }

    fn commit(&mut self, batch: Batch) -> Result<(), Violation> {
        let epoch = batch.epoch;
        match self.postgres.commit(batch, self.defences)? {
            CommitOutcome::Late => {}
            CommitOutcome::Forked => {
                self.outcome.forks_caught += 1;
                self.alarm = true;
            }
            CommitOutcome::LastWall => {
                self.outcome.last_walls_hit += 1;
                self.alarm = true;
            }
            CommitOutcome::Committed => {
                self.wake_the_waiting();
                if self.defences.trims_after_the_commit {
                    let up_to = self.postgres.seq;
                    self.node().trim(epoch, up_to);
                }
            }
        }
        Ok(())
    }

    fn wake_the_waiting(&mut self) {
        let (postgres, told) = (&self.postgres, &mut self.told);
        let by_number = self.defences.acknowledgement == Acknowledgement::ByCommittedNumber;
        self.waits.retain(|wait| {
            let durable = if by_number {
                wait.epoch == postgres.epoch && wait.entry.seq <= postgres.seq
            } else {
                postgres.operations.get(&wait.entry.operation).is_some_and(|row| {
                    (row.epoch, row.seq, row.hash) == (wait.epoch, wait.entry.seq, wait.entry.hash)
                })
            };
            if durable {
                told.push((wait.entry.operation, wait.entry.facts));
            }
            !durable
        });
    }

    fn redis_fails_over(&mut self) {
        let lag = self.rng.usize(..=LAG_MAX);
        let promoted = self.primary.promoted(lag);
        let demoted = std::mem::replace(&mut self.primary, promoted);
        self.old = self.rng.bool().then_some(demoted);
    }

    /// The end of the run: one writer, one rebuilder, no fault. Then everything must add up.
    fn come_to_rest(&mut self) -> Result<(), Violation> {
        self.old = None;
        self.rebuilders = [None, None];
        for _ in 0..ROUNDS_TO_REST {
            if self.needs_a_rebuild()? {
                self.rebuild_at_once();
                continue;
            }
            match self.read_from(&self.primary) {
                Some(batch) if !batch.entries.is_empty() => self.commit(batch)?,
                _ => break,
            }
        }
        let postgres = &self.postgres;
        for (operation, facts) in &self.told {
            match postgres.operations.get(operation) {
                None => return Err(Violation::ToldButNotInPostgres),
                Some(committed) if committed.facts != *facts => return Err(Violation::ToldOtherwise),
                Some(_) => {}
            }
        }
        if self.primary.keys_of(postgres.epoch).is_none_or(|keys| keys.world != postgres.world) {
            return Err(Violation::RedisDiffersAtRest);
        }
        if postgres.world.money() != World::at_start().money() {
            return Err(Violation::MoneyNotConserved);
        }
        Ok(())
    }
}
