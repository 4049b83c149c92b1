//! The outbox as operators see it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::error::Error;

/// How an endpoint's outbox stands, for the metrics.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// Messages to be delivered, of a hundred thousand lanes at most.
    pub pending: i64,
    /// Age of the oldest of them, in seconds.
    pub oldest_seconds: f64,
    /// Dead ones, a hundred thousand at most.
    pub dead: i64,
}

/// Looks at it.
pub async fn backlog(pool: &PgPool, endpoint: &str) -> Result<Backlog, Error> {
    let row = sqlx::query(
        "select coalesce(l.pending, 0)::bigint,
             coalesce(extract(epoch from now() - l.oldest_at), 0)::float8,
             (select count(*) from (select from deliveries where endpoint = $1 and state = 'DEAD'
                 limit 100000) d)
         from (select sum(pending) as pending, min(oldest_at) as oldest_at
             from (select pending, oldest_at from delivery_lanes where endpoint = $1
                 order by next_at limit 100000) l) l",
    )
    .bind(endpoint)
    .fetch_one(pool)
    .await?;
    Ok(Backlog { pending: row.try_get(0)?, oldest_seconds: row.try_get(1)?, dead: row.try_get(2)? })
}

/// Endpoints whose oldest message is older than an hour, in hours: nobody relays to them, or they are down.
pub async fn late(pool: &PgPool) -> Result<Vec<(String, f64)>, Error> {
    let rows = sqlx::query(
        "select endpoint, (extract(epoch from now() - min(oldest_at)) / 3600)::float8 from delivery_lanes
         group by endpoint having min(oldest_at) < now() - interval '1 hour'",
    )
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Nobody is told under this name any more; what was still to be told is dead. Whether there was such a name.
pub async fn drop_endpoint(pool: &PgPool, endpoint: &str) -> Result<bool, Error> {
    let mut tx = pool.begin().await?;
    let gone = sqlx::query("delete from delivery_endpoints where endpoint = $1")
        .bind(endpoint)
        .execute(&mut *tx)
        .await?;
    sqlx::query("delete from delivery_lanes where endpoint = $1").bind(endpoint).execute(&mut *tx).await?;
    sqlx::query(
        "update deliveries set state = 'DEAD', last_error = 'the endpoint was dropped'
         where endpoint = $1 and state = 'PENDING'",
    )
    .bind(endpoint)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(gone.rows_affected() > 0)
}

/// Forgets what was delivered more than a week ago: how many rows. The dead stay.
pub async fn drop_old(pool: &PgPool) -> Result<u64, Error> {
    let gone = sqlx::query(
        "delete from deliveries where at < now() - interval '7 days' and state = 'DELIVERED'
             and delivered_at < now() - interval '7 days'",
    )
    .execute(pool)
    .await?;
    Ok(gone.rows_affected())
}

/// Rows as an operator sees them.
#[derive(Debug)]
pub struct Listed {
    /// Its id.
    pub message_id: Uuid,
    /// Who is to be told.
    pub endpoint: String,
    /// What.
    pub kind: String,
    /// PENDING, DELIVERED or DEAD.
    pub state: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// Tries that counted.
    pub attempts: i32,
    /// Why the last one failed.
    pub last_error: Option<String>,
}

/// Which rows an operator means; empty fields mean all.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Of this endpoint.
    pub endpoint: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// In one of these states.
    pub states: Vec<&'static str>,
    /// This one.
    pub message: Option<Uuid>,
    /// Happened then or later.
    pub from: Option<DateTime<Utc>>,
    /// Happened before.
    pub to: Option<DateTime<Utc>>,
}

/// Rows, newest first.
pub async fn list(pool: &PgPool, choice: &Choice, limit: i64) -> Result<Vec<Listed>, Error> {
    let rows = sqlx::query(
        "select message_id, endpoint, kind, state, at, attempts, last_error from deliveries
         where ($1::text is null or endpoint = $1) and ($2::text is null or kind = $2) and state = any($3)
             and ($4::uuid is null or message_id = $4) and ($5::timestamptz is null or at >= $5)
             and ($6::timestamptz is null or at < $6)
         order by position desc limit $7",
    )
    .bind(&choice.endpoint)
    .bind(&choice.kind)
    .bind(&choice.states)
    .bind(choice.message)
    .bind(choice.from)
    .bind(choice.to)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    let listed = |row: &sqlx::postgres::PgRow| {
        Ok(Listed {
            message_id: row.try_get(0)?,
            endpoint: row.try_get(1)?,
            kind: row.try_get(2)?,
            state: row.try_get(3)?,
            at: row.try_get(4)?,
            attempts: row.try_get(5)?,
            last_error: row.try_get(6)?,
        })
    };
    rows.iter().map(listed).collect()
}

/// They are to be delivered again, with all their tries: how many, by endpoint.
pub async fn replay(pool: &PgPool, choice: &Choice) -> Result<BTreeMap<String, i64>, Error> {
    let rows = sqlx::query(
        "with chosen as (
             update deliveries set state = 'PENDING', attempts = 0, delivered_at = null
             where ($1::text is null or endpoint = $1) and ($2::text is null or kind = $2)
                 and state = any($3) and ($4::uuid is null or message_id = $4)
                 and ($5::timestamptz is null or at >= $5) and ($6::timestamptz is null or at < $6)
                 and endpoint in (select endpoint from delivery_endpoints)
             returning endpoint, aggregate, at
         ), lanes as (
             insert into delivery_lanes (endpoint, aggregate, pending, oldest_at)
             select endpoint, aggregate, count(*), min(at) from chosen group by 1, 2 order by 1, 2
             on conflict (endpoint, aggregate) do update
             set pending = delivery_lanes.pending + excluded.pending,
                 oldest_at = least(delivery_lanes.oldest_at, excluded.oldest_at)
         )
         select endpoint, count(*) from chosen group by endpoint",
    )
    .bind(&choice.endpoint)
    .bind(&choice.kind)
    .bind(&choice.states)
    .bind(choice.message)
    .bind(choice.from)
    .bind(choice.to)
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
