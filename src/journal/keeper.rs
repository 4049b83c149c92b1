//! One keeper a shard, on the instance that owns it: looks at it ten times a second, rebuilds it when Redis
//! and Postgres do not follow each other, and does what is due in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use uuid::Uuid;

use super::judge::{Verdict, judge};
use super::positions::Positions;
use super::store::{self, Standing};
use super::table::cursor::{self, Cursor, ShardState};
use super::told::tell_committed;
use super::{Journal, rebuild};
use crate::error::Error;
use crate::metrics;
use crate::redis::Shard;
use crate::sabotage::Defence;

/// A shard that does not live in Redis though Postgres says so is rebuilt after this.
const NOT_LIVE_MAX: Duration = Duration::from_secs(10);
/// Before a rebuild the writer may commit what still follows the chain, until it has stood still for so long.
const DRAIN_MAX: Duration = Duration::from_millis(300);
/// Records of operations are kept so long, and until they are durable.
const RECORDS_KEEP_MS: i64 = 900_000;
/// A rebuild that failed is tried again after this.
const REBUILD_AGAIN: Duration = Duration::from_secs(1);
/// Redis' and Postgres' clocks may differ by so much when a jump is judged.
const CLOCKS_APART_MAX_MS: i64 = 5_000;

/// Looks after one shard.
pub struct Keeper {
    journal: Arc<Journal>,
    pool: PgPool,
    positions: Arc<Positions>,
    deployment: Uuid,
    shard: Shard,
    not_live_since: Option<Instant>,
    rebuild_not_before: Instant,
    forgot: Instant,
}

impl Keeper {
    /// A keeper for a shard.
    pub fn new(
        journal: Arc<Journal>,
        pool: PgPool,
        positions: Arc<Positions>,
        deployment: Uuid,
        shard: Shard,
    ) -> Self {
        let now = Instant::now();
        Self {
            journal,
            pool,
            positions,
            deployment,
            shard,
            not_live_since: None,
            rebuild_not_before: now,
            forgot: now,
        }
    }

    /// One look. True when the shard lives and what is due in it may be done.
    pub async fn look(&mut self) -> Result<bool, Error> {
        let Some(position) = self.positions.get(self.shard) else { return Ok(false) };
        let cursor = position.cursor;
        match cursor.state {
            ShardState::Fenced => {
                metrics::shard(self.shard, "fenced", 0, 0);
                self.positions.forget(self.shard);
                return Ok(false);
            }
            ShardState::Rebuilding => metrics::shard(self.shard, "rebuilding", 0, 0),
            ShardState::Live => {}
        }
        if self.is_outdated(&cursor) {
            self.positions.forget(self.shard);
            return Ok(false);
        }
        let space = self.journal.shards.space(self.shard, cursor.epoch);
        let mut standing = self.journal.standing(&space, cursor.seq).await?;
        if self.journal.limits.sabotage.lacks(Defence::Chain) {
            (standing.head, standing.cursor_hash) = (standing.last_hash.clone(), cursor.hash.to_string());
        }
        let verdict =
            match judge(&standing, &cursor, self.deployment, &self.journal.shards.redis_run(self.shard)) {
                Verdict::Fine if position.broken => Verdict::Rebuild("the journal does not follow its chain"),
                verdict => verdict,
            };
        if verdict != Verdict::NotLive {
            self.not_live_since = None;
        }
        match verdict {
            Verdict::Fine => self.attend(standing, &cursor).await,
            other => {
                self.measure(&standing, &cursor);
                self.act(other, &cursor, &standing).await?;
                Ok(false)
            }
        }
    }

    /// Postgres says otherwise meanwhile: of the epoch, or that it does not live though it is this server's.
    fn is_outdated(&self, cursor: &Cursor) -> bool {
        let (space, lives) = self.journal.shards.known(self.shard);
        let here = cursor.redis_run == self.journal.shards.redis_run(self.shard);
        space.epoch > cursor.epoch || (cursor.state == ShardState::Live && here && !lives)
    }

    fn measure(&self, standing: &Standing, cursor: &Cursor) {
        if cursor.state != ShardState::Live {
            return;
        }
        let behind = standing.last.saturating_sub(cursor.seq);
        let age = standing.pending_since_ms.map_or(0, |since| (standing.now_ms - since).max(0));
        self.journal.shards.set_lag(self.shard, age.unsigned_abs());
        metrics::shard(self.shard, &standing.state, behind, age);
    }

    /// Says how far Postgres is, where the shard does not know, and lets go of old records.
    async fn attend(&mut self, mut standing: Standing, cursor: &Cursor) -> Result<bool, Error> {
        let idle = standing.last == cursor.seq;
        if standing.committed < cursor.seq || (idle && standing.pending_since_ms.is_some()) {
            standing.pending_since_ms =
                tell_committed(&self.journal, self.shard, cursor.epoch, cursor.seq).await?;
        }
        self.measure(&standing, cursor);
        if self.forgot.elapsed() > Duration::from_secs(1) {
            self.forgot = Instant::now();
            let forget = |space: &crate::redis::Space| store::Forget {
                ops: store::ops(space),
                past: store::past(space),
                keep_ms: RECORDS_KEEP_MS,
            };
            self.journal.ask(self.shard, forget).await?;
        }
        Ok(true)
    }

    async fn act(&mut self, verdict: Verdict, seen: &Cursor, standing: &Standing) -> Result<(), Error> {
        // A writer, here or elsewhere, may have moved on, or another instance rebuilt: only a cursor that
        // still stands is judged.
        let current = cursor::one(&mut *self.pool.acquire().await?, self.shard).await?;
        let place = |cursor: &Cursor| (cursor.epoch, cursor.state, cursor.seq, cursor.hash);
        if place(&current) != place(seen) {
            self.journal.shards.learn(&current);
            self.positions.forget(self.shard);
            return Ok(());
        }
        match verdict {
            Verdict::Fine => Ok(()),
            Verdict::Rebuild(why) => {
                if seen.state == ShardState::Live {
                    metrics::fork(self.shard, "keeper");
                }
                self.drain(standing.last).await;
                self.rebuild(seen, why).await
            }
            Verdict::Fence(why) => self.fence(seen.epoch, standing, why).await,
            Verdict::NotLive => {
                let since = *self.not_live_since.get_or_insert_with(Instant::now);
                if since.elapsed() > NOT_LIVE_MAX {
                    self.rebuild(seen, "it was not live for long").await?;
                }
                Ok(())
            }
            Verdict::ClockJumped => self.judge_clock(seen.epoch, standing).await,
            Verdict::Foreign => {
                let shard = self.shard;
                tracing::error!(%shard, "this redis belongs to another deployment; nothing is done");
                Ok(())
            }
        }
    }

    /// Waits while the writer still commits what follows the chain: as long as it moves on.
    async fn drain(&self, last: u64) {
        let (mut moved, mut at) = (Instant::now(), 0);
        while moved.elapsed() < DRAIN_MAX {
            match self.positions.get(self.shard) {
                Some(position) if position.cursor.seq < last && !position.broken => {
                    if position.cursor.seq > at {
                        (moved, at) = (Instant::now(), position.cursor.seq);
                    }
                }
                _ => return,
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn rebuild(&mut self, seen: &Cursor, why: &str) -> Result<(), Error> {
        if Instant::now() < self.rebuild_not_before {
            return Ok(());
        }
        self.not_live_since = None;
        let rebuilt = rebuild::rebuild(&self.journal, &self.pool, self.deployment, seen, why).await;
        if rebuilt.is_err() {
            self.rebuild_not_before = Instant::now() + REBUILD_AGAIN;
        }
        rebuilt?;
        self.positions.forget(self.shard);
        Ok(())
    }

    async fn fence(&self, epoch: u64, standing: &Standing, why: &str) -> Result<(), Error> {
        cursor::set_fenced(&mut *self.pool.acquire().await?, self.shard, epoch, why).await?;
        // Instances that know the newer epoch as live are stopped by Redis itself.
        if let Some(epoch) = standing.epoch {
            let meta = self.journal.shards.space(self.shard, epoch).meta();
            self.journal.redis.run(store::Fence { meta, epoch }, Duration::from_secs(1)).await?;
        }
        tracing::error!(shard = %self.shard, epoch, why, "fenced until an operator decides");
        self.journal.shards.refresh().await?;
        self.positions.forget(self.shard);
        Ok(())
    }

    /// Nobody looked for a minute, or a clock jumped. If Postgres' clock agrees with Redis', the time has
    /// passed.
    async fn judge_clock(&self, epoch: u64, standing: &Standing) -> Result<(), Error> {
        let postgres_ms = match &self.journal.clock {
            crate::clock::Clock::System => cursor::now(&self.pool).await?.timestamp_millis(),
            test => test.now_ms(),
        };
        if (postgres_ms - standing.now_ms).abs() > CLOCKS_APART_MAX_MS {
            let (redis_ms, seen_ms) = (standing.now_ms, standing.seen_ms);
            tracing::error!(shard = %self.shard, redis_ms, postgres_ms, seen_ms,
                "redis' clock has jumped; the shard waits until it agrees with postgres'");
            metrics::fork(self.shard, "clock");
            return Ok(());
        }
        let meta = self.journal.shards.space(self.shard, epoch).meta();
        let advance = store::Advance { meta, epoch, now: standing.now_ms };
        self.journal.redis.run(advance, Duration::from_secs(1)).await?;
        Ok(())
    }
}
