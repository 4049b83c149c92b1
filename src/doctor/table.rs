//! What Postgres says of itself and of the shards.

use std::collections::HashMap;

use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::error::Error;

/// Settings by name, as `pg_settings` spells them.
pub async fn settings(pg: &mut PgConnection, names: &[&str]) -> Result<HashMap<String, String>, Error> {
    let rows = sqlx::query("select name, setting from pg_settings where name = any($1)");
    let rows =
        rows.bind(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).fetch_all(pg).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Whether it follows another server; and how far its clock is ahead of ours, in milliseconds.
pub async fn standing(pg: &mut PgConnection) -> Result<(bool, i64), Error> {
    let row = sqlx::query("select pg_is_in_recovery(), clock_timestamp()").fetch_one(pg).await?;
    let now: chrono::DateTime<chrono::Utc> = row.try_get(1)?;
    Ok((row.try_get(0)?, (now - chrono::Utc::now()).num_milliseconds()))
}

/// Steps of the schema that were applied; `None` where there is no schema.
pub async fn migrations(pg: &mut PgConnection) -> Result<Option<Vec<i64>>, Error> {
    let there: bool =
        sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null").fetch_one(&mut *pg).await?;
    if !there {
        return Ok(None);
    }
    let applied =
        sqlx::query_scalar("select version from _sqlx_migrations where success").fetch_all(pg).await?;
    Ok(Some(applied))
}

/// Whose data these are, and in how many shards; `None` before the first start.
pub async fn identity(pg: &mut PgConnection) -> Result<Option<(Uuid, i32)>, Error> {
    let row = sqlx::query("select deployment_id, shards from deployment").fetch_optional(pg).await?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

/// Shards by state; entries that were quarantined; accounts that are ADMIN's.
pub async fn deployment(pg: &mut PgConnection) -> Result<(Vec<(String, i64)>, i64, i64), Error> {
    let states = sqlx::query("select state, count(*) from journal_cursor group by state order by state")
        .fetch_all(&mut *pg)
        .await?;
    let states = states.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    let states: Vec<(String, i64)> = states.collect::<Result<_, Error>>()?;
    let row = sqlx::query(
        "select (select count(*) from quarantine), (select count(*) from users where role = 'ADMIN')",
    )
    .fetch_one(pg)
    .await?;
    Ok((states, row.try_get(0)?, row.try_get(1)?))
}
