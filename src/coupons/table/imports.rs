//! Lists of coupons that are imported, a chunk in a transaction.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::coupons::model::{Import, ImportError, JobState};
use crate::error::Error;
use crate::ids::ImportId;

/// Rows whose reason is kept.
const ERRORS_MAX: i64 = 1_000;

/// How far an import was when this run of it began.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Which.
    pub import: ImportId,
    /// By which run of it.
    pub run: Uuid,
    /// Rows that are done.
    pub rows_read: i64,
    /// Covers them.
    pub digest: Vec<u8>,
    /// Nothing is left to be done.
    pub is_done: bool,
    /// Rows that could not be read.
    pub invalid: i64,
    /// It was never begun before.
    pub is_new: bool,
}

/// A row that can be imported.
#[derive(Clone, Debug)]
pub struct NewCoupon {
    /// Canonical.
    pub code: String,
    /// As it was written, where that is something else.
    pub spelled: Option<String>,
    /// When it expires.
    pub expires_at: DateTime<Utc>,
}

/// Rows that are stored together.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// Rows, whatever they came to.
    pub rows: i64,
    /// Those that are coupons.
    pub coupons: Vec<NewCoupon>,
    /// Those that are not: line, why.
    pub invalid: Vec<(i64, &'static str)>,
    /// Covers all rows up to here.
    pub digest: Vec<u8>,
}

/// Begins an import, or goes on with one; `None` while another run of it is under way.
pub async fn begin(
    pg: &mut PgConnection,
    import: ImportId,
    ordinal: i32,
    lease: Duration,
) -> Result<Option<Progress>, Error> {
    let row = sqlx::query(
        "insert into coupon_imports as i (import_id, ordinal, run, lease_until)
         values ($1, $2, $3, clock_timestamp() + $4 * interval '1 ms')
         on conflict (import_id) do update
         set run = excluded.run, lease_until = excluded.lease_until,
             state = case when i.state = 'DONE' then 'DONE' else 'RUNNING' end
         where i.state <> 'RUNNING' or i.lease_until < clock_timestamp()
         returning run, rows_read, digest, state = 'DONE' as is_done, invalid, xmax = 0 as is_new",
    )
    .bind(import)
    .bind(ordinal)
    .bind(Uuid::now_v7())
    .bind(lease.as_millis() as i64)
    .fetch_optional(pg)
    .await?;
    let read = |row: sqlx::postgres::PgRow| {
        Ok(Progress {
            import,
            run: row.try_get("run")?,
            rows_read: row.try_get("rows_read")?,
            digest: row.try_get("digest")?,
            is_done: row.try_get("is_done")?,
            invalid: row.try_get("invalid")?,
            is_new: row.try_get("is_new")?,
        })
    };
    row.map(read).transpose()
}

/// Goes on with it; false where another run has taken it over.
pub async fn keep(pool: &PgPool, progress: &Progress, lease: Duration) -> Result<bool, Error> {
    let kept = sqlx::query(
        "update coupon_imports set lease_until = clock_timestamp() + $3 * interval '1 ms'
         where import_id = $1 and run = $2",
    )
    .bind(progress.import)
    .bind(progress.run)
    .bind(lease.as_millis() as i64)
    .execute(pool)
    .await?;
    Ok(kept.rows_affected() == 1)
}

/// Stores a chunk with the progress that counts it; how many coupons are new. `None` when another run has
/// taken it over.
pub async fn store(
    pool: &PgPool,
    progress: &Progress,
    ordinal: i32,
    chunk: &Chunk,
    lease: Duration,
) -> Result<Option<i64>, Error> {
    let mut tx = pool.begin().await?;
    let inserted = insert(&mut tx, ordinal, &chunk.coupons).await?;
    let duplicate = chunk.coupons.len() as i64 - inserted;
    let moved = sqlx::query(
        "update coupon_imports
         set rows_read = rows_read + $4, inserted = inserted + $5, duplicate = duplicate + $6,
             invalid = invalid + $7, digest = $8, lease_until = clock_timestamp() + $9 * interval '1 ms'
         where import_id = $1 and run = $2 and rows_read = $3",
    )
    .bind(progress.import)
    .bind(progress.run)
    .bind(progress.rows_read)
    .bind(chunk.rows)
    .bind(inserted)
    .bind(duplicate)
    .bind(chunk.invalid.len() as i64)
    .bind(&chunk.digest)
    .bind(lease.as_millis() as i64)
    .execute(&mut *tx)
    .await?;
    if moved.rows_affected() == 0 {
        return Ok(None);
    }
    let room = usize::try_from(ERRORS_MAX - progress.invalid).unwrap_or(0);
    let told = &chunk.invalid[..chunk.invalid.len().min(room)];
    if !told.is_empty() {
        sqlx::query(
            "insert into coupon_import_errors (import_id, line, reason)
             select $1, n.line, n.reason from unnest($2::bigint[], $3::text[]) as n(line, reason)
             on conflict do nothing",
        )
        .bind(progress.import)
        .bind(told.iter().map(|(line, _)| *line).collect::<Vec<_>>())
        .bind(told.iter().map(|(_, reason)| *reason).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(Some(inserted))
}

/// Codes that are there already stay as they are.
async fn insert(pg: &mut PgConnection, ordinal: i32, coupons: &[NewCoupon]) -> Result<i64, Error> {
    if coupons.is_empty() {
        return Ok(0);
    }
    let done = sqlx::query(
        "insert into coupons (code, ordinal, status, spelled, expires_at)
         select n.code, $1, 0, n.spelled, n.expires_at
         from unnest($2::text[], $3::text[], $4::timestamptz[]) as n(code, spelled, expires_at)
         on conflict (code) do nothing",
    )
    .bind(ordinal)
    .bind(coupons.iter().map(|coupon| coupon.code.as_str()).collect::<Vec<_>>())
    .bind(coupons.iter().map(|coupon| coupon.spelled.as_deref()).collect::<Vec<_>>())
    .bind(coupons.iter().map(|coupon| coupon.expires_at).collect::<Vec<_>>())
    .execute(pg)
    .await?;
    Ok(done.rows_affected() as i64)
}

/// It has come to its end, or broken off.
pub async fn end(pool: &PgPool, progress: &Progress, is_done: bool) -> Result<(), Error> {
    sqlx::query(
        "update coupon_imports set state = $3, lease_until = '-infinity'
         where import_id = $1 and run = $2 and state = 'RUNNING'",
    )
    .bind(progress.import)
    .bind(progress.run)
    .bind(if is_done { "DONE" } else { "FAILED" })
    .execute(pool)
    .await?;
    Ok(())
}

/// How far an import is. One that nobody works on has failed.
pub async fn import(pool: &PgPool, id: ImportId) -> Result<Option<Import>, Error> {
    let row = sqlx::query(
        "select case when state = 'RUNNING' and lease_until < clock_timestamp() then 'FAILED' else state end
                 as state, rows_read, inserted, duplicate, invalid
         from coupon_imports where import_id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let state = JobState::stored(row.try_get("state")?)?;
    let lines =
        sqlx::query("select line, reason from coupon_import_errors where import_id = $1 order by line")
            .bind(id)
            .fetch_all(pool)
            .await?;
    let error = |row: &sqlx::postgres::PgRow| {
        Ok::<_, Error>(ImportError { line: row.try_get("line")?, reason: row.try_get("reason")? })
    };
    Ok(Some(Import {
        state,
        rows_read: row.try_get("rows_read")?,
        inserted: row.try_get("inserted")?,
        duplicate: row.try_get("duplicate")?,
        invalid: row.try_get("invalid")?,
        errors: lines.iter().map(error).collect::<Result<_, _>>()?,
    }))
}
