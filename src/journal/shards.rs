//! What this instance knows of each shard: its epoch, and whether it lives. The truth is in Postgres.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::table::cursor::{self, Cursor, ShardState};
use crate::error::Error;
use crate::redis::{Redis, Shard, Space, server_number};

/// All shards of the deployment.
pub struct Shards {
    prefix: Arc<str>,
    pool: PgPool,
    /// For each shard `epoch << 1 | live`.
    known: Vec<AtomicU64>,
    refreshed: Mutex<Instant>,
    /// For each shard which Redis server answers for it. An epoch lives on the server that it was opened on,
    /// and on no other: what is soft has no other defence against a replica that lags, or a server that came
    /// back without its last second.
    servers: Vec<Server>,
}

/// A Redis server, as it answers for a shard.
#[derive(Default)]
struct Server {
    /// Empty until it was asked.
    run: RwLock<String>,
    /// The same as a number, for keys.
    number: AtomicU64,
    /// How far its clock is ahead of ours, in milliseconds.
    ahead_ms: AtomicI64,
    /// An operator must decide about the shard.
    fenced: AtomicBool,
    /// How long the shard's oldest entry has waited for Postgres, where this instance looks after it.
    lag_ms: AtomicU64,
}

impl Shards {
    /// Knows nothing yet; [`refresh`](Self::refresh) asks Postgres.
    pub fn new(prefix: Arc<str>, pool: PgPool, count: u16) -> Self {
        let known = (0..count).map(|_| AtomicU64::new(0)).collect();
        let servers = (0..count).map(|_| Server::default()).collect();
        Self { prefix, pool, known, refreshed: Mutex::new(Instant::now()), servers }
    }

    /// How many there are.
    pub fn count(&self) -> u16 {
        self.known.len() as u16
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = Shard> + use<> {
        (0..self.count()).map(Shard)
    }

    /// The shard that an id belongs to.
    pub fn of(&self, id: Uuid) -> Shard {
        Shard::of(id, self.count())
    }

    /// Names keys of a shard in an epoch.
    pub fn space(&self, shard: Shard, epoch: u64) -> Space {
        let number = self.server(shard).number.load(Ordering::Acquire);
        Space::new(self.prefix.clone(), shard, epoch, number)
    }

    /// What all keys begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The shard as far as this instance knows: its space, where it lives.
    pub fn known(&self, shard: Shard) -> (Space, bool) {
        // The server first: what is known to live was known to live on it, or keys are refused.
        let number = self.server(shard).number.load(Ordering::Acquire);
        let known = self.known[usize::from(shard.0)].load(Ordering::Acquire);
        (Space::new(self.prefix.clone(), shard, known >> 1, number), known & 1 == 1)
    }

    /// The live shard's space; asks Postgres once when it is not known to live. `unavailable` when it does
    /// not.
    pub async fn live(&self, shard: Shard) -> Result<Space, Error> {
        if let (space, true) = self.known(shard) {
            return Ok(space);
        }
        self.refresh().await?;
        match self.known(shard) {
            (space, true) => Ok(space),
            _ => Err(Error::unavailable(format_args!("shard {shard} is being rebuilt"))),
        }
    }

    /// Takes note of a cursor; an older epoch never replaces a newer one.
    pub fn learn(&self, cursor: &Cursor) {
        // Held until the end, so that no other server is observed in between.
        let run = self.server(cursor.shard).run.read().unwrap_or_else(PoisonError::into_inner);
        let live = cursor.state == ShardState::Live && cursor.redis_run == *run;
        let new = cursor.epoch << 1 | u64::from(live);
        let known = &self.known[usize::from(cursor.shard.0)];
        let update = |old: u64| (cursor.epoch >= old >> 1).then_some(new);
        // The closure refuses only what is older than known.
        let _ = known.fetch_update(Ordering::AcqRel, Ordering::Acquire, update);
        self.server(cursor.shard).fenced.store(cursor.state == ShardState::Fenced, Ordering::Release);
        // A fence holds whatever epoch was known: Postgres may have gone back.
        if cursor.state == ShardState::Fenced {
            known.fetch_and(!1, Ordering::AcqRel);
        }
    }

    fn server(&self, shard: Shard) -> &Server {
        &self.servers[usize::from(shard.0)]
    }

    /// Which Redis server answers for a shard; empty until one was reached.
    pub fn redis_run(&self, shard: Shard) -> String {
        self.server(shard).run.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of whom commands for each shard reach. Where that is another server than before, the shard
    /// is not known to live until Postgres says that it lives there.
    pub fn observe(&self, redis: &Redis) {
        for shard in self.all() {
            let Some((reached, ahead_ms)) = redis.reaches(&self.space(shard, 0).meta()) else { continue };
            let (run, server) = (reached.fingerprint(), self.server(shard));
            server.ahead_ms.store(ahead_ms, Ordering::Relaxed);
            let mut known = server.run.write().unwrap_or_else(PoisonError::into_inner);
            if *known != run {
                self.known[usize::from(shard.0)].fetch_and(!1, Ordering::AcqRel);
                server.number.store(server_number(&run), Ordering::Release);
                *known = run;
            }
        }
    }

    /// How far the clock of the shard's server is ahead of ours, in milliseconds.
    pub fn ahead_ms(&self, shard: Shard) -> i64 {
        self.server(shard).ahead_ms.load(Ordering::Relaxed)
    }

    /// Asks Postgres for all cursors. Callers that come while one asks share its answer.
    pub async fn refresh(&self) -> Result<(), Error> {
        let came = Instant::now();
        let mut refreshed = self.refreshed.lock().await;
        if *refreshed > came {
            return Ok(());
        }
        let asked = Instant::now();
        // Boxed: it is rare, and the futures of those who write would carry it along.
        Box::pin(cursor::all(&self.pool)).await?.iter().for_each(|cursor| self.learn(cursor));
        *refreshed = asked;
        Ok(())
    }

    /// How each shard stands: `live`, `rebuilding` or `fenced`.
    pub fn states(&self) -> BTreeMap<String, &'static str> {
        let state = |shard: Shard| match (self.known(shard).1, self.is_fenced(shard)) {
            (true, _) => "live",
            (false, true) => "fenced",
            (false, false) => "rebuilding",
        };
        self.all().map(|shard| (shard.to_string(), state(shard))).collect()
    }

    /// Whether an operator must decide about the shard.
    pub fn is_fenced(&self, shard: Shard) -> bool {
        self.server(shard).fenced.load(Ordering::Acquire)
    }

    /// Takes note of how long a shard's oldest entry has waited for Postgres.
    pub fn set_lag(&self, shard: Shard, lag_ms: u64) {
        self.server(shard).lag_ms.store(lag_ms, Ordering::Relaxed);
    }

    /// The longest that an entry of these shards has waited for Postgres, as far as this instance looks after
    /// them.
    pub fn lag(&self) -> Duration {
        let lags = self.servers.iter().map(|server| server.lag_ms.load(Ordering::Relaxed));
        Duration::from_millis(lags.max().unwrap_or(0))
    }

    /// How many shards are known to live.
    pub fn live_count(&self) -> usize {
        self.known.iter().filter(|known| known.load(Ordering::Acquire) & 1 == 1).count()
    }
}
