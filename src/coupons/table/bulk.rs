//! Coupons that are made in bulk.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::clock::rfc3339;
use crate::coupons::codes::{Codes, Coupon};
use crate::coupons::model::{Batch, JobState};
use crate::error::Error;
use crate::ids::BatchId;

/// The codes of these numbers.
pub fn codes(
    codes: &Codes,
    ordinal: i32,
    numbers: impl Iterator<Item = i64>,
    version: i16,
) -> Result<Vec<String>, Error> {
    let coupon = |number| Coupon { ordinal: ordinal as u16, number: number as u64 };
    numbers.map(|number| codes.encode(coupon(number), version)).collect()
}

/// Adds coupons that are nobody's yet, numbered from `first`.
pub async fn insert(
    pg: &mut PgConnection,
    ordinal: i32,
    first: i64,
    codes: &[String],
    expires_at: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query(
        "insert into coupons (code, number, ordinal, status, expires_at)
         select n.code, $2 + n.place - 1, $3, 0, $4
         from unnest($1::text[]) with ordinality as n(code, place)",
    )
    .bind(codes)
    .bind(first)
    .bind(ordinal)
    .bind(expires_at)
    .execute(pg)
    .await?;
    Ok(())
}

/// The same for very many (COPY); `codes` carry their numbers.
pub async fn copy(
    pg: &mut PgConnection,
    ordinal: i32,
    codes: &[(String, i64)],
    expires_at: DateTime<Utc>,
) -> Result<(), Error> {
    use std::fmt::Write;
    let expires = rfc3339(expires_at);
    let mut text = String::with_capacity(codes.len() * 80);
    for (code, number) in codes {
        // None of it needs to be escaped. Writing to a string does not fail.
        let _ = writeln!(text, "{code}\t{number}\t{ordinal}\t0\t{expires}");
    }
    let into = "copy coupons (code, number, ordinal, status, expires_at) from stdin";
    let mut copy = pg.copy_in_raw(into).await?;
    match copy.send(text.as_bytes()).await {
        Ok(_) => copy.finish().await.map(drop).map_err(Error::from),
        Err(error) => {
            // The transaction is given up in any case.
            drop(copy.abort("the client could not send").await);
            Err(error.into())
        }
    }
}

/// A batch that is to be worked on.
#[derive(Clone, Debug)]
pub struct Work {
    /// Which.
    pub batch: BatchId,
    /// By which run of it.
    pub run: Uuid,
    /// Of which campaign.
    pub ordinal: i32,
    /// The first number.
    pub first: i64,
    /// How many coupons.
    pub count: i64,
    /// How many are there.
    pub done: i64,
    /// With which key.
    pub version: i16,
    /// When they expire.
    pub expires_at: DateTime<Utc>,
}

/// Begins a batch.
pub async fn begin(pg: &mut PgConnection, work: &Work) -> Result<(), Error> {
    sqlx::query(
        "insert into coupon_batches (batch_id, ordinal, first, count, key_version, expires_at)
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(work.batch)
    .bind(work.ordinal)
    .bind(work.first)
    .bind(work.count)
    .bind(work.version)
    .bind(work.expires_at)
    .execute(pg)
    .await?;
    Ok(())
}

/// Takes the oldest batch that nobody works on, for so long.
pub async fn take(pool: &PgPool, lease: Duration) -> Result<Option<Work>, Error> {
    let row = sqlx::query(
        "update coupon_batches set run = $1, lease_until = clock_timestamp() + $2 * interval '1 ms'
         where batch_id = (
             select batch_id from coupon_batches where state = 'RUNNING' and lease_until < clock_timestamp()
             order by created_at limit 1 for update skip locked
         )
         returning *",
    )
    .bind(Uuid::now_v7())
    .bind(lease.as_millis() as i64)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &sqlx::postgres::PgRow) -> Result<Work, Error> {
    Ok(Work {
        batch: row.try_get("batch_id")?,
        run: row.try_get::<Option<Uuid>, _>("run")?.unwrap_or_default(),
        ordinal: row.try_get("ordinal")?,
        first: row.try_get("first")?,
        count: row.try_get("count")?,
        done: row.try_get("done")?,
        version: row.try_get("key_version")?,
        expires_at: row.try_get("expires_at")?,
    })
}

/// In the transaction that made them: so many more are there. False when another run has taken it over.
pub async fn advance(pg: &mut PgConnection, work: &Work, more: i64, lease: Duration) -> Result<bool, Error> {
    let done = sqlx::query(
        "update coupon_batches set done = done + $4, lease_until = clock_timestamp() + $5 * interval '1 ms',
             state = case when done + $4 = count then 'DONE' else state end
         where batch_id = $1 and run = $2 and done = $3",
    )
    .bind(work.batch)
    .bind(work.run)
    .bind(work.done)
    .bind(more)
    .bind(lease.as_millis() as i64)
    .execute(pg)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// It cannot be done; what is there stays.
pub async fn fail(pool: &PgPool, work: &Work) -> Result<(), Error> {
    sqlx::query("update coupon_batches set state = 'FAILED' where batch_id = $1 and run = $2")
        .bind(work.batch)
        .bind(work.run)
        .execute(pool)
        .await?;
    Ok(())
}

/// How far a batch is, and what it makes.
pub async fn batch(pool: &PgPool, id: BatchId) -> Result<Option<(Batch, Work)>, Error> {
    let row =
        sqlx::query("select * from coupon_batches where batch_id = $1").bind(id).fetch_optional(pool).await?;
    let Some(row) = row else { return Ok(None) };
    let work = read(&row)?;
    let state = JobState::stored(row.try_get("state")?)?;
    Ok(Some((Batch { state, done: work.done, count: work.count }, work)))
}
