//! The outbox as operators see it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::error::Error;

/// How an endpoint's outbox stands, for the metrics.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// Messages to be delivered, a hundred thousand at most.
    pub pending: i64,
    /// Age of the oldest of them, in seconds.
    pub oldest_seconds: f64,
    /// Dead ones, a hundred thousand at most.
    pub dead: i64,
}

/// Looks at it.
pub async fn backlog(pool: &PgPool, endpoint: &str) -> Result<Backlog, Error> {
    let row = sqlx::query(
        "select (select count(*) from (select from deliveries where endpoint = $1 and state = 'PENDING'
                 limit 100000) p),
             coalesce((select extract(epoch from now() - at) from deliveries
                 where endpoint = $1 and state = 'PENDING' order by position limit 1), 0)::float8,
             (select count(*) from (select from deliveries where endpoint = $1 and state = 'DEAD'
                 limit 100000) d)",
    )
    .bind(endpoint)
    .fetch_one(pool)
    .await?;
    Ok(Backlog { pending: row.try_get(0)?, oldest_seconds: row.try_get(1)?, dead: row.try_get(2)? })
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
pub async fn replay(pool: &PgPool, choice: &Choice) -> Result<BTreeMap<String, usize>, Error> {
    let rows = sqlx::query(
        "update deliveries set state = 'PENDING', attempts = 0, next_at = now(), claim = null,
             claimed_until = null, delivered_at = null
         where ($1::text is null or endpoint = $1) and ($2::text is null or kind = $2) and state = any($3)
             and ($4::uuid is null or message_id = $4) and ($5::timestamptz is null or at >= $5)
             and ($6::timestamptz is null or at < $6)
         returning endpoint",
    )
    .bind(&choice.endpoint)
    .bind(&choice.kind)
    .bind(&choice.states)
    .bind(choice.message)
    .bind(choice.from)
    .bind(choice.to)
    .fetch_all(pool)
    .await?;
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(row.try_get(0)?).or_default() += 1;
    }
    Ok(counts)
}
