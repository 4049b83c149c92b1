//! Bringing a shard back from Postgres.
//!
//! In this order, and no other: (1) Postgres: next epoch, `rebuilding`, so that writers of the old epoch can
//! no longer commit; (2) Redis `fenced`, best effort; (3) a snapshot of the shard's live rows in one
//! repeatable-read transaction; (4) Redis `loading` in the new epoch, numbered chunks; (5) marker entry,
//! `live`; (6) Postgres `live`. A snapshot before the fence would miss what an old writer still commits.
//! Whoever finds a rebuild half done starts again at 1; a rebuilder that wakes up late finds another epoch
//! and ends.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::entry::{ChainHash, MARKER, marker_hash};
use super::loader::Loader;
use super::table::cursor::{self, Cursor, ShardState};
use super::{Journal, store};
use crate::error::Error;
use crate::metrics;
use crate::redis::{Reply, Shard, Space};
use crate::sabotage::Defence;

/// How long a step may take.
pub const CHUNK_TIMEOUT: Duration = Duration::from_secs(2);

/// Step 1, in the caller's transaction. `None` when another rebuilder was faster.
pub async fn fence_off(pg: &mut PgConnection, seen: &Cursor, why: &str) -> Result<Option<u64>, Error> {
    let epoch = cursor::bump(pg, seen, why).await?;
    if epoch.is_some() && seen.state == ShardState::Live {
        // With the epoch goes what was not durable: numbers that were given out and lost. An epoch that never
        // lived gave out none.
        crate::queue::table::record_gaps(pg, seen.shard, seen.epoch).await?;
    }
    Ok(epoch)
}

/// An operator decides that a fenced shard goes on from what Postgres has, whatever Redis knows of later
/// epochs. It is left as one whose rebuilder died: whoever looks after it rebuilds it, or the operator's
/// command does.
pub async fn accept_postgres(pool: &PgPool, shard: Shard, redis_epoch: u64) -> Result<(), Error> {
    let mut pg = pool.acquire().await?;
    let mut tx = pg.begin().await?;
    let fenced = cursor::one(&mut tx, shard).await?;
    let epoch = fenced.epoch.max(redis_epoch);
    if !cursor::accept(&mut tx, shard, epoch).await? {
        return Ok(());
    }
    crate::queue::table::record_gaps(&mut tx, shard, epoch).await?;
    tx.commit().await?;
    tracing::warn!(%shard, epoch, "an operator accepted what postgres has");
    Ok(())
}

/// The last to leave noted that nothing was lost.
fn is_tidy(found: &Cursor) -> bool {
    found.state == ShardState::Rebuilding && found.reason == cursor::TIDY
}

/// Rebuilds the shard of a cursor that was seen. False when another rebuilder was faster.
pub async fn rebuild(
    journal: &Journal,
    pool: &PgPool,
    deployment: Uuid,
    found: &Cursor,
    why: &str,
) -> Result<bool, Error> {
    let (shard, seen) = (found.shard, found.epoch);
    let _turn = journal.rebuilding.acquire().await.map_err(Error::internal)?;
    let started = Instant::now();
    let late = journal.limits.sabotage.lacks(Defence::Fence);
    let early_snapshot = if late { Some(snapshot(pool).await?) } else { None };
    let mut tx = pool.begin().await?;
    let Some(epoch) = fence_off(&mut tx, found, why).await? else { return Ok(false) };
    tx.commit().await?;
    journal.shards.refresh().await?;
    if seen == 0 || is_tidy(found) {
        tracing::info!(%shard, epoch, "opening");
    } else {
        tracing::warn!(%shard, epoch, why, "rebuilding");
    }
    let old = journal.shards.space(shard, seen);
    if let Err(error) = journal.redis.run(store::Fence { meta: old.meta(), epoch: seen }, CHUNK_TIMEOUT).await
    {
        tracing::warn!(%shard, %error, "fencing the old epoch in redis");
    }
    let redis_run = journal.redis.identity(&old.meta()).await?.fingerprint();
    let space = journal.shards.space(shard, epoch);
    let snapshot = match early_snapshot {
        Some(early) => early,
        None => snapshot(pool).await?,
    };
    let items = load(journal, snapshot, deployment, &space, is_tidy(found)).await?;
    let mut tx = pool.begin().await?;
    if !cursor::set_live(&mut tx, shard, epoch, &redis_run).await? {
        return Ok(false);
    }
    tx.commit().await?;
    journal.shards.refresh().await?;
    metrics::rebuild(shard, items, started.elapsed());
    tracing::info!(%shard, epoch, items, seconds = started.elapsed().as_secs_f64(), "rebuilt");
    Ok(true)
}

/// Step 3: all that is read in this transaction is of one moment.
pub async fn snapshot(pool: &PgPool) -> Result<Transaction<'static, Postgres>, Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *tx).await?;
    // The first read is the moment.
    sqlx::query("select 1 from journal_cursor limit 1").fetch_optional(&mut *tx).await?;
    Ok(tx)
}

/// Steps 4 and 5.
async fn load(
    journal: &Journal,
    mut tx: Transaction<'static, Postgres>,
    deployment: Uuid,
    space: &Space,
    tidy: bool,
) -> Result<u64, Error> {
    let begin = store::Begin { meta: space.meta(), epoch: space.epoch, deployment };
    expect_ok(&journal.redis.run(begin, CHUNK_TIMEOUT).await?)?;
    let mut loader = Loader::into_redis(journal.redis.clone(), space.clone());
    load_features(&mut tx, &mut loader, journal.clock.now_ms(), tidy).await?;
    tx.rollback().await?;
    let (chunks, items) = loader.finish().await?;
    let open = store::Open {
        meta: space.meta(),
        journal: store::journal(space),
        epoch: space.epoch,
        chunk: chunks,
        origin: journal.me,
        op: MARKER.op,
        hash: marker_hash(space.epoch),
        root: ChainHash::ROOT,
        clock: journal.clock.argument(),
    };
    expect_ok(&journal.redis.run(open, CHUNK_TIMEOUT).await?)?;
    Ok(items)
}

/// What each feature keeps in Redis, from Postgres.
pub async fn load_features(
    pg: &mut PgConnection,
    loader: &mut Loader,
    now_ms: i64,
    tidy: bool,
) -> Result<(), Error> {
    crate::wallet::table::load(pg, loader).await?;
    crate::concerts::table::load(pg, loader).await?;
    crate::seats::table::load(pg, loader).await?;
    crate::payments::table::load(pg, loader).await?;
    crate::ranking::table::load(pg, loader, now_ms).await?;
    crate::coupons::table::load(pg, loader).await?;
    crate::rewards::table::load(pg, loader, now_ms).await?;
    crate::queue::table::load(pg, loader, now_ms, tidy).await
}

/// A step that Redis must accept.
pub fn expect_ok(reply: &Reply) -> Result<(), Error> {
    match reply.word() {
        "ok" => Ok(()),
        other => Err(Error::unavailable(format_args!("redis refused a rebuild's step: {other}"))),
    }
}
