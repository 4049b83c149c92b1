//! Breakers in Postgres: one for each endpoint, for all instances, over restarts.

use std::time::Duration;

use sqlx::{PgPool, Row};

use crate::error::Error;

/// How an endpoint's breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row, of all instances.
    pub failures: i64,
    /// Nobody may try.
    pub is_open: bool,
}

/// Looks at it.
pub async fn look(pool: &PgPool, endpoint: &str) -> Result<Breaker, Error> {
    let row = sqlx::query(
        "select failures, coalesce(opens_at > now(), false) from delivery_endpoints where endpoint = $1",
    )
    .bind(endpoint)
    .fetch_one(pool)
    .await?;
    Ok(Breaker { failures: row.try_get(0)?, is_open: row.try_get(1)? })
}

/// Takes the one try that a breaker gives when its time is over; others find it open meanwhile.
pub async fn take_trial(pool: &PgPool, endpoint: &str, lease: Duration) -> Result<bool, Error> {
    let taken = sqlx::query(
        "update delivery_endpoints set opens_at = now() + make_interval(secs => $2)
         where endpoint = $1 and (opens_at is null or opens_at <= now())",
    )
    .bind(endpoint)
    .bind(lease.as_secs_f64())
    .execute(pool)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Something arrived, or nothing was there to be tried: the breaker is closed, or half so.
pub async fn set(pool: &PgPool, endpoint: &str, failures: i64) -> Result<(), Error> {
    sqlx::query(
        "update delivery_endpoints set failures = $2, opens_at = null
         where endpoint = $1 and (failures <> $2 or opens_at is not null)",
    )
    .bind(endpoint)
    .bind(failures)
    .execute(pool)
    .await?;
    Ok(())
}

/// So many failures more: how many in a row that makes. `None` where it is open already and this was not its
/// trial: those were under way when it opened.
pub async fn add_failures(
    pool: &PgPool,
    endpoint: &str,
    more: i64,
    is_trial: bool,
) -> Result<Option<i64>, Error> {
    let row = sqlx::query(
        "update delivery_endpoints set failures = failures + $2
         where endpoint = $1 and ($3 or opens_at is null or opens_at <= now()) returning failures",
    )
    .bind(endpoint)
    .bind(more)
    .bind(is_trial)
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Nobody tries for so long.
pub async fn open(pool: &PgPool, endpoint: &str, pause: Duration) -> Result<(), Error> {
    sqlx::query(
        "update delivery_endpoints set opens_at = now() + make_interval(secs => $2) where endpoint = $1",
    )
    .bind(endpoint)
    .bind(pause.as_secs_f64())
    .execute(pool)
    .await?;
    Ok(())
}
