//! The cursor: how far a shard's history has come in Postgres. Its compare-and-set is what makes one writer
//! win.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::error::Error;
use crate::journal::entry::{ChainHash, marker_hash};
use crate::journal::table::statements::Statements;
use crate::redis::Shard;

/// What a shard may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardState {
    /// Being loaded from Postgres.
    Rebuilding,
    /// Reads and writes.
    Live,
    /// An operator must decide.
    Fenced,
}

/// A row of `journal_cursor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The shard.
    pub shard: Shard,
    /// The epoch that is alive, or will be.
    pub epoch: u64,
    /// The last committed entry's number.
    pub seq: u64,
    /// Its hash.
    pub hash: ChainHash,
    /// What the shard may do.
    pub state: ShardState,
    /// Which Redis server the epoch was opened on.
    pub redis_run: String,
    /// Why it is not live.
    pub reason: String,
}

/// The reason of a shard that was left with nothing soft and nothing undurable in it.
pub const TIDY: &str = "left tidy";

fn read(row: &sqlx::postgres::PgRow) -> Result<Cursor, Error> {
    let state = match row.try_get::<&str, _>("state")? {
        "live" => ShardState::Live,
        "rebuilding" => ShardState::Rebuilding,
        _ => ShardState::Fenced,
    };
    Ok(Cursor {
        shard: Shard(row.try_get::<i32, _>("shard")? as u16),
        epoch: row.try_get::<i64, _>("epoch")? as u64,
        seq: row.try_get::<i64, _>("seq")? as u64,
        hash: row.try_get::<&str, _>("h")?.parse().map_err(Error::internal)?,
        state,
        redis_run: row.try_get("redis_run")?,
        reason: row.try_get("reason")?,
    })
}

/// The deployment's id and number of shards; made on the first start with `shards` (16 where none is asked
/// for).
pub async fn ensure_deployment(pool: &PgPool, shards: Option<u16>) -> Result<(Uuid, u16), Error> {
    let mut tx = pool.begin().await?;
    sqlx::query(
        "insert into deployment (deployment_id, shards) values ($1, $2) on conflict (single) do nothing",
    )
    .bind(Uuid::now_v7())
    .bind(i32::from(shards.unwrap_or(16)))
    .execute(&mut *tx)
    .await?;
    let row = sqlx::query("select deployment_id, shards from deployment").fetch_one(&mut *tx).await?;
    let (deployment, count): (Uuid, i32) = (row.try_get(0)?, row.try_get(1)?);
    sqlx::query(
        "insert into journal_cursor (shard, epoch, seq, h, state)
         select shard, 0, 0, $2, 'rebuilding' from generate_series(0, $1 - 1) shard on conflict do nothing",
    )
    .bind(count)
    .bind(marker_hash(0).to_string())
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "insert into shard_leases (shard) select shard from generate_series(0, $1 - 1) shard on conflict do nothing",
    )
    .bind(count)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok((deployment, count as u16))
}

/// All cursors, by shard.
pub async fn all(pool: &PgPool) -> Result<Vec<Cursor>, Error> {
    let rows = sqlx::query(
        "select shard, epoch, seq, h, state, redis_run, reason from journal_cursor order by shard",
    )
    .fetch_all(pool)
    .await?;
    rows.iter().map(read).collect()
}

/// One shard's cursor.
pub async fn one(pg: &mut PgConnection, shard: Shard) -> Result<Cursor, Error> {
    let row = sqlx::query(
        "select shard, epoch, seq, h, state, redis_run, reason from journal_cursor where shard = $1",
    )
    .bind(shard.as_i32())
    .fetch_one(pg)
    .await?;
    read(&row)
}

/// A shard's step in a round: from what was read to what is added.
#[derive(Clone, Copy, Debug)]
pub struct Advance {
    /// The shard.
    pub shard: Shard,
    /// In this epoch.
    pub epoch: u64,
    /// From this entry …
    pub from: (u64, ChainHash),
    /// … to this one.
    pub to: (u64, ChainHash),
}

/// Moves the cursors that stand where the round began, in the order of shards (so that two writers cannot
/// lock each other out).
macro_rules! advance_cursors {
    () => {
        "with step as (
             select * from unnest($1::int[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[])
                 as step(shard, epoch, old_seq, old_h, new_seq, new_h)
         ), held as (
             select c.shard, step.new_seq, step.new_h
             from journal_cursor c join step on step.shard = c.shard
             where c.epoch = step.epoch and c.seq = step.old_seq and c.h = step.old_h and c.state = 'live'
             order by c.shard
             for update of c
         )
         update journal_cursor c set seq = held.new_seq, h = held.new_h
         from held where held.shard = c.shard"
    };
}

fn say_steps<'a>(to: &'a mut Statements, text: &'static str, steps: &[Advance]) -> &'a mut Statements {
    let column = |pick: fn(&Advance) -> i64| steps.iter().map(pick).collect::<Vec<i64>>();
    let hashes =
        |pick: fn(&Advance) -> ChainHash| steps.iter().map(|s| pick(s).to_string()).collect::<Vec<_>>();
    to.say("advance_cursors", text)
        .bind(steps.iter().map(|s| s.shard.as_i32()).collect::<Vec<_>>())
        .bind(column(|s| s.epoch as i64))
        .bind(column(|s| s.from.0 as i64))
        .bind(hashes(|s| s.from.1))
        .bind(column(|s| s.to.0 as i64))
        .bind(hashes(|s| s.to.1))
}

/// Moves all of these cursors, or nothing of the round is done.
pub fn say_advance(to: &mut Statements, steps: &[Advance]) {
    say_steps(to, advance_cursors!(), steps).must_change(steps.len());
}

/// Moves the cursors that can be moved, and says which were; the others drop out of the round.
pub async fn advance(pg: &mut PgConnection, steps: &[Advance]) -> Result<Vec<Shard>, Error> {
    let mut each = Statements::each();
    say_steps(&mut each, concat!(advance_cursors!(), " returning c.shard"), steps);
    let rows = each.fetch(pg).await?;
    rows.iter().map(|row| Ok(Shard(row.try_get::<i32, _>(0)? as u16))).collect()
}

/// Step 1 of a rebuild: the next epoch, from the epoch and state that were seen. From here on no writer of
/// the old epoch can commit. `None` when another rebuilder was faster, also when it has come to the end
/// meanwhile.
pub async fn bump(pg: &mut PgConnection, seen: &Cursor, why: &str) -> Result<Option<u64>, Error> {
    let next = seen.epoch + 1;
    let state = match seen.state {
        ShardState::Live => "live",
        ShardState::Rebuilding => "rebuilding",
        ShardState::Fenced => return Ok(None),
    };
    let bumped = sqlx::query(
        "update journal_cursor
         set epoch = $3, seq = 0, h = $4, state = 'rebuilding', reason = $5, changed_at = now()
         where shard = $1 and epoch = $2 and state = $6",
    )
    .bind(seen.shard.as_i32())
    .bind(seen.epoch as i64)
    .bind(next as i64)
    .bind(marker_hash(next).to_string())
    .bind(why)
    .bind(state)
    .execute(pg)
    .await?;
    Ok((bumped.rows_affected() == 1).then_some(next))
}

/// Step 6 of a rebuild: writers may commit. False when another rebuild has begun meanwhile.
pub async fn set_live(
    pg: &mut PgConnection,
    shard: Shard,
    epoch: u64,
    redis_run: &str,
) -> Result<bool, Error> {
    let updated = sqlx::query(
        "update journal_cursor set state = 'live', redis_run = $3, reason = '', changed_at = now()
         where shard = $1 and epoch = $2 and state = 'rebuilding'",
    )
    .bind(shard.as_i32())
    .bind(epoch as i64)
    .bind(redis_run)
    .execute(pg)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Stops a shard until an operator decides; the reason is for him.
pub async fn set_fenced(pg: &mut PgConnection, shard: Shard, epoch: u64, why: &str) -> Result<bool, Error> {
    let updated = sqlx::query(
        "update journal_cursor set state = 'fenced', reason = $3, changed_at = now()
         where shard = $1 and epoch = $2 and state in ('live', 'rebuilding')",
    )
    .bind(shard.as_i32())
    .bind(epoch as i64)
    .bind(why)
    .execute(pg)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Takes a fence away: the shard is to be rebuilt, in a later epoch than `epoch`.
pub async fn accept(pg: &mut PgConnection, shard: Shard, epoch: u64) -> Result<bool, Error> {
    let updated = sqlx::query(
        "update journal_cursor
         set epoch = $2, seq = 0, h = $3, state = 'rebuilding', reason = 'accepted', changed_at = now()
         where shard = $1 and state = 'fenced'",
    )
    .bind(shard.as_i32())
    .bind(epoch as i64)
    .bind(marker_hash(epoch).to_string())
    .execute(pg)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// The last to leave notes that all of an epoch is durable; the next start need not look for what was lost.
pub async fn set_tidy(pg: &mut PgConnection, cursor: &Cursor) -> Result<bool, Error> {
    let updated = sqlx::query(
        "update journal_cursor set state = 'rebuilding', reason = $5, changed_at = now()
         where shard = $1 and epoch = $2 and seq = $3 and h = $4 and state = 'live'",
    )
    .bind(cursor.shard.as_i32())
    .bind(cursor.epoch as i64)
    .bind(cursor.seq as i64)
    .bind(cursor.hash.to_string())
    .bind(TIDY)
    .execute(pg)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Postgres' clock, to compare with Redis' when that has jumped.
pub async fn now(pool: &PgPool) -> Result<DateTime<Utc>, Error> {
    Ok(sqlx::query("select clock_timestamp()").fetch_one(pool).await?.try_get(0)?)
}
