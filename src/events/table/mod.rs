//! Events in Postgres.

pub mod facts;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, PgPool, Row};
use uuid::Uuid;

use super::model::{Approval, Event, Recurrence};
use crate::error::Error;
use crate::http::page::{Page, PageRequest};
use crate::ids::{EventId, RewardId};

/// What `read` needs.
macro_rules! select_events {
    () => {
        "select event_id, version, name, starts_at, ends_at, active, reward_ids, condition, approval,
             recurrence
         from events where deleted_at is null "
    };
}

/// Until the transaction ends no other event changes, and no reward that events give out becomes another.
pub async fn take_turn(pg: &mut PgConnection) -> Result<(), Error> {
    sqlx::query("lock table events in share row exclusive mode").execute(pg).await?;
    Ok(())
}

/// Adds an event.
pub async fn insert(pg: &mut PgConnection, event: &Event) -> Result<(), Error> {
    let query = sqlx::query(
        "insert into events (event_id, version, name, starts_at, ends_at, active, reward_ids, condition,
             approval, recurrence)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    );
    write(query, pg, event).await
}

/// Gives an event other texts, and a version that says so.
pub async fn update(pg: &mut PgConnection, event: &Event) -> Result<(), Error> {
    let query = sqlx::query(
        "update events set version = $2, name = $3, starts_at = $4, ends_at = $5, active = $6,
             reward_ids = $7, condition = $8, approval = $9, recurrence = $10
         where event_id = $1",
    );
    write(query, pg, event).await
}

async fn write(
    query: sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments>,
    pg: &mut PgConnection,
    event: &Event,
) -> Result<(), Error> {
    query
        .bind(event.event_id)
        .bind(event.version)
        .bind(&event.name)
        .bind(event.starts_at)
        .bind(event.ends_at)
        .bind(event.active)
        .bind(&event.reward_ids)
        .bind(Json(&event.condition))
        .bind(event.approval.word())
        .bind(event.recurrence.word())
        .execute(pg)
        .await?;
    Ok(())
}

/// Takes an event away; requests that were made in it go on.
pub async fn delete(pg: &mut PgConnection, id: EventId) -> Result<(), Error> {
    sqlx::query(
        "update events set version = version + 1, deleted_at = clock_timestamp() where event_id = $1",
    )
    .bind(id)
    .execute(pg)
    .await?;
    Ok(())
}

/// One event.
pub async fn event(pg: impl PgExecutor<'_>, id: EventId) -> Result<Option<Event>, Error> {
    let row = sqlx::query(concat!(select_events!(), "and event_id = $1")).bind(id).fetch_optional(pg).await?;
    row.as_ref().map(read).transpose()
}

/// The same, which nobody else changes until the transaction ends.
pub async fn lock(pg: &mut PgConnection, id: EventId) -> Result<Option<Event>, Error> {
    let query = sqlx::query(concat!(select_events!(), "and event_id = $1 for update")).bind(id);
    query.fetch_optional(pg).await?.as_ref().map(read).transpose()
}

/// A page of events, newest first.
pub async fn page(pool: &PgPool, page: &PageRequest) -> Result<Page<Event>, Error> {
    let rows = sqlx::query(concat!(select_events!(), "and event_id < $1 order by event_id desc limit $2"))
        .bind(page.after_id()?.unwrap_or(Uuid::max()))
        .bind(page.fetch())
        .fetch_all(pool)
        .await?;
    page.cut(rows, |row| Ok(row.try_get::<Uuid, _>("event_id")?.to_string()), read)
}

/// A page of those that run, newest first.
pub async fn running(pool: &PgPool, now: DateTime<Utc>, page: &PageRequest) -> Result<Page<Event>, Error> {
    let rows = sqlx::query(concat!(
        select_events!(),
        "and active and starts_at <= $1 and ends_at > $1 and event_id < $2 order by event_id desc limit $3"
    ))
    .bind(now)
    .bind(page.after_id()?.unwrap_or(Uuid::max()))
    .bind(page.fetch())
    .fetch_all(pool)
    .await?;
    page.cut(rows, |row| Ok(row.try_get::<Uuid, _>("event_id")?.to_string()), read)
}

/// Whether an event that runs, or will, gives a reward out.
pub async fn gives(pg: impl PgExecutor<'_>, reward: RewardId, now: DateTime<Utc>) -> Result<bool, Error> {
    let row = sqlx::query(
        "select exists (select from events where active and deleted_at is null and ends_at > $2
             and reward_ids @> array[$1])",
    );
    Ok(row.bind(reward).bind(now).fetch_one(pg).await?.try_get(0)?)
}

fn read(row: &PgRow) -> Result<Event, Error> {
    let Json(condition) = row.try_get("condition")?;
    Ok(Event {
        event_id: row.try_get("event_id")?,
        version: row.try_get("version")?,
        name: row.try_get("name")?,
        starts_at: row.try_get("starts_at")?,
        ends_at: row.try_get("ends_at")?,
        active: row.try_get("active")?,
        reward_ids: row.try_get("reward_ids")?,
        condition,
        approval: Approval::stored(row.try_get("approval")?)?,
        recurrence: Recurrence::stored(row.try_get("recurrence")?)?,
    })
}

/// Whether a query counts all of these ids, which are different.
async fn known(pg: &mut PgConnection, sql: &'static str, ids: &[Uuid]) -> Result<bool, Error> {
    let count: i64 = sqlx::query(sql).bind(ids).fetch_one(pg).await?.try_get(0)?;
    Ok(count == ids.len() as i64)
}

/// Whether all of these rewards are there.
pub async fn know_rewards(pg: &mut PgConnection, ids: &[Uuid]) -> Result<bool, Error> {
    known(pg, "select count(*) from rewards where reward_id = any($1) and deleted_at is null", ids).await
}

/// Whether all of these campaigns are there.
pub async fn know_campaigns(pg: &mut PgConnection, ids: &[Uuid]) -> Result<bool, Error> {
    known(pg, "select count(*) from coupon_campaigns where campaign_id = any($1)", ids).await
}

/// Whether all of these concerts are there.
pub async fn know_concerts(pg: &mut PgConnection, ids: &[Uuid]) -> Result<bool, Error> {
    known(pg, "select count(*) from concerts where concert_id = any($1)", ids).await
}
