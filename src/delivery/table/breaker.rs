//! Breakers in Postgres: one for each endpoint, for all instances, over restarts.

use std::time::Duration;

use sqlx::{PgPool, Row};

use crate::error::Error;

/// How an endpoint's breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// Everybody may try.
    Closed,
    /// Nobody may.
    Open,
    /// One may.
    Trial,
}

/// Looks at it.
pub async fn look(pool: &PgPool, endpoint: &str) -> Result<Breaker, Error> {
    let row = sqlx::query("select opens_at > now() from delivery_endpoints where endpoint = $1")
        .bind(endpoint)
        .fetch_optional(pool)
        .await?;
    let is_open: Option<bool> = row.map(|row| row.try_get(0)).transpose()?.flatten();
    Ok(match is_open {
        None => Breaker::Closed,
        Some(true) => Breaker::Open,
        Some(false) => Breaker::Trial,
    })
}

/// Takes the one trial; others find it open until `lease` is over.
pub async fn take_trial(pool: &PgPool, endpoint: &str, lease: Duration) -> Result<bool, Error> {
    let taken = sqlx::query(
        "update delivery_endpoints set opens_at = now() + make_interval(secs => $2)
         where endpoint = $1 and opens_at <= now()",
    )
    .bind(endpoint)
    .bind(lease.as_secs_f64())
    .execute(pool)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Gives a trial back: there was nothing to try.
pub async fn return_trial(pool: &PgPool, endpoint: &str) -> Result<(), Error> {
    sqlx::query(
        "update delivery_endpoints set opens_at = now() where endpoint = $1 and opens_at is not null",
    )
    .bind(endpoint)
    .execute(pool)
    .await?;
    Ok(())
}

/// It answered: the breaker is closed.
pub async fn close(pool: &PgPool, endpoint: &str) -> Result<(), Error> {
    sqlx::query(
        "update delivery_endpoints set failures = 0, opens_at = null
         where endpoint = $1 and (failures > 0 or opens_at is not null)",
    )
    .bind(endpoint)
    .execute(pool)
    .await?;
    Ok(())
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Failures in a row.
    pub failures: i64,
    /// Seconds, the first time; each trial that fails doubles them, up to sixteen times.
    pub seconds: f64,
}

/// So many failures and no sign of life: how long it is open now, where it is. Those that were under way when
/// it opened say nothing new.
pub async fn fail(
    pool: &PgPool,
    endpoint: &str,
    more: i64,
    is_trial: bool,
    rule: Rule,
) -> Result<Option<Duration>, Error> {
    let row = sqlx::query(
        "with now_failed as (
             select endpoint, case when $3 then failures + 1 else least(failures + $2, $4) end as failures
             from delivery_endpoints where endpoint = $1 and ($3 or opens_at is null) for update
         )
         update delivery_endpoints e set failures = f.failures,
             opens_at = case when f.failures >= $4 then
                 now() + make_interval(secs => $5 * power(2, least(f.failures - $4, 4))) end
         from now_failed f where e.endpoint = f.endpoint
         returning extract(epoch from e.opens_at - now())::float8",
    )
    .bind(endpoint)
    .bind(more)
    .bind(is_trial)
    .bind(rule.failures)
    .bind(rule.seconds)
    .fetch_optional(pool)
    .await?;
    let seconds: Option<f64> = row.map(|row| row.try_get(0)).transpose()?.flatten();
    Ok(seconds.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))))
}
