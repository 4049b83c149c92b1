//! One keeper a shard, on the instance that owns it: looks at it ten times a second, rebuilds it when Redis
//! and Postgres do not follow each other, and does what is due in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use uuid::Uuid;

use super::positions::Positions;
use super::store::{self, Standing};
use super::table::cursor::{self, Cursor, ShardState};
use super::writer::tell_committed;
use super::{Journal, rebuild};
use crate::error::Error;
use crate::metrics;
use crate::redis::Shard;
use crate::sabotage::Defence;

/// A shard that does not live in Redis though Postgres says so is rebuilt after this.
const NOT_LIVE_MAX: Duration = Duration::from_secs(10);
/// Before a rebuild the writer gets so long to commit what still follows the chain.
const DRAIN_MAX: Duration = Duration::from_millis(300);
/// Records of operations are kept so long, and until they are durable.
const RECORDS_KEEP_MS: i64 = 900_000;
/// Records dropped in one call.
const FORGET_MAX: u32 = 500;
/// Calls for them in one look.
const FORGET_CALLS_MAX: u32 = 20;
/// A rebuild that failed is tried again after this.
const REBUILD_AGAIN: Duration = Duration::from_secs(1);
/// Redis' and Postgres' clocks may differ by so much when a jump is judged.
const CLOCKS_APART_MAX_MS: i64 = 5_000;

/// What a look at a shard came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The two stores follow each other.
    Fine,
    /// Redis lost something, or a script died half-way.
    Rebuild(&'static str),
    /// Redis has more than Postgres ever confirmed having: an operator decides which to believe.
    Fence(&'static str),
    /// Not live in Redis; a rebuild may be under way.
    NotLive,
    /// Much time has passed, or a clock has jumped.
    ClockJumped,
    /// This Redis belongs to another deployment.
    Foreign,
}

/// Compares how a shard stands in Redis with its cursor in Postgres.
pub fn judge(standing: &Standing, cursor: &Cursor, deployment: Uuid, redis_run: &str) -> Verdict {
    let first_seq = super::entry::parse_id(&standing.first).map(|(_, seq)| seq).ok();
    if !standing.deployment.is_empty() && standing.deployment != deployment.to_string() {
        return Verdict::Foreign;
    }
    match standing.epoch {
        None => return Verdict::Rebuild("redis is empty"),
        Some(epoch) if epoch < cursor.epoch => return Verdict::Rebuild("redis is of an older epoch"),
        Some(epoch) if epoch > cursor.epoch => {
            return Verdict::Fence("redis is of a newer epoch: postgres was restored from an older backup");
        }
        Some(_) => {}
    }
    if standing.state != "live" {
        return Verdict::NotLive;
    }
    if redis_run != cursor.redis_run {
        return Verdict::Rebuild("another redis server answers, or it was restarted");
    }
    if standing.last < cursor.seq {
        return Verdict::Rebuild("redis lacks entries that postgres has");
    }
    match first_seq {
        Some(first) if first > cursor.seq + 1 => {
            return Verdict::Fence(
                "the journal is trimmed beyond the cursor: postgres was restored from an older backup",
            );
        }
        Some(first) if first == cursor.seq + 1 => {}
        _ if standing.cursor_hash != cursor.hash.to_string() => {
            return Verdict::Rebuild("the entry at the cursor is another");
        }
        _ => {}
    }
    if standing.head != standing.last_hash {
        return Verdict::Rebuild("a script died half-way");
    }
    if standing.clock_jumped { Verdict::ClockJumped } else { Verdict::Fine }
}

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
        if cursor.state == ShardState::Rebuilding {
            return self.open(&cursor, &standing).await;
        }
        let verdict =
            match judge(&standing, &cursor, self.deployment, &self.journal.shards.redis_run(self.shard)) {
                Verdict::Fine if position.broken => Verdict::Rebuild("the journal does not follow its chain"),
                verdict => verdict,
            };
        if verdict != Verdict::NotLive {
            self.not_live_since = None;
        }
        self.measure(&standing, &cursor);
        match verdict {
            Verdict::Fine => self.tell(&standing, &cursor).await,
            other => {
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

    /// A shard that was left tidy, that never lived, or whose rebuilder died. Redis is asked first: where it
    /// has a newer epoch or another's data, nothing is overwritten.
    async fn open(&mut self, cursor: &Cursor, standing: &Standing) -> Result<bool, Error> {
        let newer = standing.epoch.is_some_and(|epoch| epoch > cursor.epoch);
        let verdict = match judge(standing, cursor, self.deployment, &cursor.redis_run) {
            Verdict::Foreign => Verdict::Foreign,
            Verdict::Fence(why) if newer => Verdict::Fence(why),
            _ => Verdict::Rebuild("it was not live"),
        };
        self.act(verdict, cursor, standing).await?;
        Ok(false)
    }

    fn measure(&self, standing: &Standing, cursor: &Cursor) {
        let behind = standing.last.saturating_sub(cursor.seq);
        let age = standing.pending_since_ms.map_or(0, |since| (standing.now_ms - since).max(0));
        self.journal.shards.set_lag(self.shard, age.unsigned_abs());
        metrics::shard(self.shard, &standing.state, behind, age);
    }

    /// Says again how far Postgres is, where the shard does not know.
    async fn tell(&mut self, standing: &Standing, cursor: &Cursor) -> Result<bool, Error> {
        let idle = standing.last == cursor.seq;
        if standing.committed < cursor.seq || (idle && standing.pending_since_ms.is_some()) {
            tell_committed(&self.journal, self.shard, cursor.epoch, cursor.seq).await;
        }
        if self.forgot.elapsed() > Duration::from_secs(1) {
            self.forgot = Instant::now();
            let forget = |space: &crate::redis::Space| store::Forget {
                ops: store::ops(space),
                order: store::order(space),
                keep_ms: RECORDS_KEEP_MS,
                limit: FORGET_MAX,
            };
            for _ in 0..FORGET_CALLS_MAX {
                let forgotten: u32 = self.journal.ask(self.shard, forget).await?.parse(0)?;
                if forgotten < FORGET_MAX {
                    break;
                }
            }
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

    /// Waits while the writer still commits what follows the chain.
    async fn drain(&self, last: u64) {
        let until = Instant::now() + DRAIN_MAX;
        while Instant::now() < until
            && self.positions.get(self.shard).is_some_and(|p| p.cursor.seq < last && !p.broken)
        {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::entry::marker_hash;

    fn cursor() -> Cursor {
        Cursor {
            shard: Shard(0),
            epoch: 5,
            seq: 7,
            hash: marker_hash(7),
            state: ShardState::Live,
            redis_run: "run".into(),
            reason: String::new(),
        }
    }

    fn standing() -> Standing {
        Standing {
            epoch: Some(5),
            state: "live".into(),
            head: marker_hash(9).to_string(),
            last: 9,
            committed: 7,
            deployment: Uuid::nil().to_string(),
            last_hash: marker_hash(9).to_string(),
            cursor_hash: marker_hash(7).to_string(),
            first: "5-0".into(),
            now_ms: 1_000,
            seen_ms: 1_000,
            clock_jumped: false,
            pending_since_ms: None,
        }
    }

    fn verdict(change: impl FnOnce(&mut Standing)) -> Verdict {
        let mut standing = standing();
        change(&mut standing);
        judge(&standing, &cursor(), Uuid::nil(), "run")
    }

    #[test]
    fn two_stores_that_follow_each_other_are_fine() {
        assert_eq!(verdict(|_| {}), Verdict::Fine);
        assert_eq!(
            verdict(|s| {
                s.first = "5-8".into();
                s.cursor_hash = String::new();
            }),
            Verdict::Fine
        );
    }

    #[test]
    fn what_redis_lost_is_rebuilt() {
        let rebuilt = [
            verdict(|s| {
                s.epoch = None;
                s.deployment = String::new();
            }),
            verdict(|s| s.epoch = Some(4)),
            verdict(|s| s.last = 6),
            verdict(|s| s.cursor_hash = marker_hash(1).to_string()),
            verdict(|s| s.cursor_hash = String::new()),
            verdict(|s| s.head = marker_hash(8).to_string()),
            judge(&standing(), &cursor(), Uuid::nil(), "another run"),
        ];
        assert!(rebuilt.iter().all(|verdict| matches!(verdict, Verdict::Rebuild(_))), "{rebuilt:?}");
    }

    #[test]
    fn a_postgres_from_an_old_backup_is_never_believed_by_itself() {
        assert!(matches!(verdict(|s| s.epoch = Some(6)), Verdict::Fence(_)));
        assert!(matches!(verdict(|s| s.first = "5-9".into()), Verdict::Fence(_)));
    }

    #[test]
    fn a_foreign_redis_and_a_jumped_clock_are_told_apart() {
        assert_eq!(verdict(|s| s.deployment = Uuid::max().to_string()), Verdict::Foreign);
        assert_eq!(verdict(|s| s.clock_jumped = true), Verdict::ClockJumped);
        assert_eq!(verdict(|s| s.state = "loading".into()), Verdict::NotLive);
    }
}
