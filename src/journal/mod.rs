//! The one way to write: a script decides and journals, the writer carries the journal to Postgres, the
//! handler waits for the commit.
//!
//! What must always hold:
//! - An effect has a name, (operation, step), and takes place once.
//! - Entries of an epoch are dense, and chained by hashes that cover their outcome.
//! - Postgres is a prefix of each shard's history; its cursor moves by compare-and-set.
//! - Nobody is told yes before his very entry is committed.
//!
//! Keys of a shard, all bounded: `meta` (which epoch lives), `journal` (a quarter of an hour), `ops` and
//! `past` (what operations came to, for a quarter of an hour at least and until durable: once in so long,
//! `ops` becomes `past`, and what was in that is dropped), `marks` (how far Postgres was, a line a minute).

pub mod ack;
pub mod adopt;
mod ask;
pub mod changes;
pub mod compare;
mod comparison;
pub mod dead;
pub mod desk;
pub mod direct;
pub mod driven;
pub mod entry;
pub mod event;
pub mod facts;
mod familiar;
pub mod judge;
pub mod keeper;
pub mod lease;
pub mod loader;
pub mod moment;
pub mod positions;
pub mod rebuild;
mod recall;
pub mod request;
pub mod round;
pub mod shards;
mod step;
pub mod store;
pub mod table;
pub mod told;
pub mod verify;
pub mod writer;

pub use entry::{OpStep, hex};
pub use request::{IdempotencyKey, Request};
pub use shards::Shards;
pub use step::{Done, Gate, Limits, Outcome, Step, refusal};

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::batch::Batcher;
use crate::clock::Clock;
use crate::coupons::codes::Codes;
use crate::error::{Code, Error};
use crate::ids::InstanceId;
use crate::redis::{Args, Redis, RedisError, Reply, Script, Shard, Space};
use crate::sabotage::Defence;
use ack::{Acks, Pending};
use desk::{Desk, Once, Writes};
use familiar::Familiar;
use request::{Turn, Turns};
use table::recall::{KeyScope, Recalled};

/// How long a look at a shard may take.
const STANDING_MAX: Duration = Duration::from_secs(1);
/// Keys that one look-up asks for.
const LOOK_UPS_MAX: usize = 500;
/// Shards that are rebuilt at once; fewer than the pool has connections.
const REBUILDS_MAX: usize = 3;

/// The journal of this instance.
pub struct Journal {
    /// Where decisions are made.
    pub redis: Arc<Redis>,
    /// What is known of the shards.
    pub shards: Arc<Shards>,
    /// Who waits.
    pub acks: Arc<Acks>,
    /// This instance.
    pub me: InstanceId,
    /// Time.
    pub clock: Clock,
    /// How long things may take.
    pub limits: Limits,
    /// What coupons' codes are made with.
    pub codes: Arc<Codes>,
    familiar: Arc<Familiar>,
    pool: PgPool,
    recall: Batcher<KeyScope, Vec<Recalled>>,
    desk: Desk,
    turns: Turns,
    /// Each rebuild holds a connection of the pool while it asks for another.
    rebuilding: Semaphore,
}

/// When an operation was looked up (by Redis' clock), in which epoch of its shard.
struct Looked {
    space: Space,
    at_ms: i64,
}

enum Called {
    Stale,
    Ended(Outcome),
}

impl Journal {
    /// Starts the look-up task, which ends with the journal.
    pub fn new(
        redis: Arc<Redis>,
        shards: Arc<Shards>,
        (pool, look_ups, codes): (PgPool, PgPool, Arc<Codes>),
        me: InstanceId,
        clock: Clock,
        limits: Limits,
    ) -> Arc<Self> {
        let familiar = Arc::new(Familiar::new(shards.clone(), clock.clone()));
        let known = familiar.clone();
        let recall = Batcher::spawn(LOOK_UPS_MAX, limits.ack_timeout, move |scopes: Vec<KeyScope>| {
            let (known, pool) = (known.clone(), look_ups.clone());
            async move { known.look_up(&pool, &scopes).await }
        });
        Arc::new(Self {
            desk: Desk::open(&redis),
            redis,
            shards,
            acks: Arc::default(),
            me,
            clock,
            limits,
            codes,
            familiar,
            pool,
            recall,
            turns: Turns::default(),
            rebuilding: Semaphore::new(REBUILDS_MAX),
        })
    }

    /// Another deployment whose data are in this Redis, under the same prefix.
    pub async fn foreign(&self, deployment: Uuid) -> Result<Option<String>, Error> {
        for shard in self.shards.all() {
            let standing = self.standing(&self.shards.known(shard).0, 0).await?;
            if !standing.deployment.is_empty() && standing.deployment != deployment.to_string() {
                return Ok(Some(standing.deployment));
            }
        }
        Ok(None)
    }

    /// How a shard stands in Redis, beside the entry at `cursor`; an idle shard's clock moves on with it.
    pub async fn standing(&self, space: &Space, cursor: u64) -> Result<store::Standing, Error> {
        let tick = store::Tick {
            meta: space.meta(),
            journal: store::journal(space),
            epoch: space.epoch,
            clock: self.clock.argument(),
            cursor,
        };
        store::Standing::read(&self.redis.run(tick, STANDING_MAX).await?)
    }

    /// A whole operation of one step: looks the key up, calls the script, waits until it is durable.
    pub async fn perform<S: Script>(
        &self,
        shard: Shard,
        request: &Request,
        build: impl Fn(&Space) -> S,
    ) -> Result<Outcome, Error> {
        let _turn = self.turn(request).await?;
        self.perform_in_turn(shard, request, build).await
    }

    /// The same for a caller that has taken the turn.
    pub async fn perform_in_turn<S: Script>(
        &self,
        shard: Shard,
        request: &Request,
        build: impl Fn(&Space) -> S,
    ) -> Result<Outcome, Error> {
        let step = Step::first(request);
        for again in [false, true] {
            // The epoch is read before the look-up. An effect that the look-up misses is then either in
            // Redis' record, in the same epoch, or lost with it; never twice.
            let mut looked = self.look(shard).await?;
            match self.age_if_new(request, Some(&looked.space)).filter(|_| !again) {
                // An older look-up of the same epoch holds as well.
                Some(age_ms) => looked.at_ms -= age_ms,
                None => {
                    if let Some(first) = self.asked_before(request).await?.into_iter().next() {
                        return Ok(Outcome::Done(Done::recalled(first)));
                    }
                }
            }
            // The driver may have sent it before the epoch changed: what that came to, Postgres knows now.
            if again && let Some(done) = self.committed_step(step.op).await? {
                return Ok(Outcome::Done(Done { replayed: false, ..done }));
            }
            if let Called::Ended(outcome) = self.call(&looked, &step, true, &build).await? {
                return Ok(outcome);
            }
        }
        Err(ask::changing(shard))
    }

    /// One step of a longer operation, durable before it returns.
    pub async fn step<S: Script>(
        &self,
        shard: Shard,
        step: &Step,
        build: impl Fn(&Space) -> S,
    ) -> Result<Outcome, Error> {
        self.attempt(shard, step, (true, false), build).await
    }

    /// The same for a step that another driver may have taken, however long ago: Redis forgets that after a
    /// while.
    pub async fn step_again<S: Script>(
        &self,
        shard: Shard,
        step: &Step,
        build: impl Fn(&Space) -> S,
    ) -> Result<Outcome, Error> {
        self.attempt(shard, step, (true, true), build).await
    }

    /// A change that nobody waits for: admission, sweeps.
    pub async fn unawaited<S: Script>(
        &self,
        shard: Shard,
        build: impl Fn(&Space) -> S,
    ) -> Result<Outcome, Error> {
        self.attempt(shard, &Step::exempt(Uuid::now_v7(), 1), (false, false), build).await
    }

    async fn attempt<S: Script>(
        &self,
        shard: Shard,
        step: &Step,
        (durable, may_be_taken): (bool, bool),
        build: impl Fn(&Space) -> S,
    ) -> Result<Outcome, Error> {
        for again in [may_be_taken, true] {
            let looked = self.look(shard).await?;
            // Likewise.
            if again && let Some(done) = self.committed_step(step.op).await? {
                return Ok(Outcome::Done(done));
            }
            if let Called::Ended(outcome) = self.call(&looked, step, durable, &build).await? {
                return Ok(outcome);
            }
        }
        Err(ask::changing(shard))
    }

    /// The time is that of the clock which the script will compare it with.
    async fn look(&self, shard: Shard) -> Result<Looked, Error> {
        let space = self.shards.live(shard).await?;
        let ahead_ms = match &self.clock {
            Clock::System => self.shards.ahead_ms(shard),
            Clock::Test(_) => 0,
        };
        Ok(Looked { space, at_ms: self.clock.now_ms() + ahead_ms })
    }

    /// The first request with a key runs; the others wait for it.
    pub async fn turn(&self, request: &Request) -> Result<Option<Turn<'_>>, Error> {
        match request.key {
            Some(_) => self.turns.take(request.op, self.limits.ack_timeout).await.map(Some),
            None => Ok(None),
        }
    }

    async fn call<S: Script>(
        &self,
        looked: &Looked,
        step: &Step,
        durable: bool,
        build: impl Fn(&Space) -> S,
    ) -> Result<Called, Error> {
        let space = &looked.space;
        let (mut keys, mut args) = (store::journal_keys(space), Args::default());
        args.push(step.op.op);
        args.push(step.op.step);
        args.push(&step.fingerprint);
        args.push(&step.lines);
        keys.extend(build(space).tell(&mut args));
        let call = desk::Call {
            source: S::SOURCE,
            keys,
            once: self.said_once(space, step.gate),
            asked_ms: looked.at_ms,
            said: args.packed(),
        };
        let pending = durable.then(|| self.acks.expect(step.op));
        let reply = match self.desk.call(call).await {
            Ok(reply) => reply,
            Err(error @ (RedisError::Away(_) | RedisError::Refused(_))) => return Err(error.into()),
            Err(error) => return Box::pin(self.unanswered(step, pending, error.to_string())).await,
        };
        if self.is_stale(&reply, space.shard).await? {
            return Ok(Called::Stale);
        }
        let Some(done) = store::read_done(space, step, &reply)? else {
            return Ok(Called::Ended(Outcome::Refused(reply)));
        };
        self.limits.sabotage.reached("called", S::SOURCE.name);
        if let Some(pending) = pending.filter(|_| !self.limits.sabotage.lacks(Defence::Acks)) {
            self.confirmed(pending, &done).await?;
            self.limits.sabotage.reached("durable", S::SOURCE.name);
        }
        Ok(Called::Ended(Outcome::Done(done)))
    }

    /// Waits for the commit. What was done before may have been committed before, so Postgres is asked at
    /// once.
    async fn confirmed(&self, pending: Pending, done: &Done) -> Result<(), Error> {
        if done.replayed {
            pending.hurry();
        }
        let waited = pending.wait(done.receipt, self.limits.ack_timeout).await;
        match waited {
            Err(_) if done.replayed => Err(Error::refused(Code::IdempotencyInProgress)),
            waited => waited,
        }
    }

    /// The script may have run, or died behind this call. If its entry is committed in time, that is the
    /// answer; else nobody knows yet.
    async fn unanswered(&self, step: &Step, pending: Option<Pending>, why: String) -> Result<Called, Error> {
        let Some(mut pending) = pending else { return Err(Error::outcome_unknown(why)) };
        pending.wait_any(self.limits.ack_timeout).await?;
        let steps = self.steps_of(step.op.op).await?;
        let found = steps.into_iter().find(|found| found.op == step.op);
        let found = found.ok_or_else(|| Error::outcome_unknown(why))?;
        // Another instance may have been sent something else with the same key.
        if found.requested.as_ref().is_some_and(|asked| asked.fingerprint.0 != step.fingerprint) {
            return Err(Error::refused(Code::IdempotencyKeyReused));
        }
        Ok(Called::Ended(Outcome::Done(Done { replayed: false, ..Done::recalled(found) })))
    }

    /// True when the shard's epoch has changed: the new one was learnt, the call may be made again.
    async fn is_stale(&self, reply: &Reply, shard: Shard) -> Result<bool, Error> {
        match reply.word() {
            // `late`: this task slept for long since it looked; it looks again.
            "stale_epoch" | "fenced" | "late" => {
                self.shards.refresh().await?;
                Ok(true)
            }
            "clock_jumped" => Err(Error::unavailable(format_args!("the clock of shard {shard} has jumped"))),
            _ => Ok(false),
        }
    }

    fn said_once(&self, space: &Space, gate: Gate) -> Once {
        let gate = match gate {
            Gate::Durable => Some(self.limits.busy_after),
            Gate::Join => Some(self.limits.join_busy_after),
            Gate::Exempt => None,
        };
        let writes = Writes { origin: self.me, gate_ms: gate.map(|gate| gate.as_millis()) };
        Once { epoch: space.epoch, clock: self.clock.argument(), writes: Some(writes) }
    }
}
