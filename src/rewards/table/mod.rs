//! What Postgres remembers of rewards and requests for them.

mod adopt;
pub mod books;
pub mod changes;
pub mod request;

pub use adopt::adopt;
pub use changes::Changes;

use chrono::{DateTime, NaiveDate, Utc};
use futures::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row};
use uuid::Uuid;

use super::model::{Kind, RequestStatus, Reward, first_day_kept};
use super::store::{self, campaign_word};
use crate::clock::from_millis;
use crate::error::Error;
use crate::http::page::{Page, PageRequest};
use crate::ids::{CampaignId, EventId, RewardId, RewardRequestId, UserId};
use crate::journal::facts::Text;
use crate::journal::loader::{Content, Loader};
use crate::redis::or_empty;

/// Loads a shard's rewards, and who asked for them.
pub async fn load(pg: &mut PgConnection, loader: &mut Loader, now_ms: i64) -> Result<(), Error> {
    let space = loader.space.clone();
    let rows = sqlx::query(
        "select reward_id, version, name, type, amount, campaign_id, stock, taken, deleted_at from rewards
         where shard = $1",
    )
    .bind(space.shard.as_i32())
    .fetch_all(&mut *pg)
    .await?;
    for row in rows {
        let reward: RewardId = row.try_get("reward_id")?;
        let deleted_at: Option<DateTime<Utc>> = row.try_get("deleted_at")?;
        let key = store::reward(&space, reward);
        loader.hset(&key, "state", if deleted_at.is_some() { "deleted" } else { "live" }).await?;
        loader.hset(&key, "version", row.try_get::<i64, _>("version")?).await?;
        loader.hset(&key, "name", Text(row.try_get("name")?)).await?;
        loader.hset(&key, "type", row.try_get::<&str, _>("type")?).await?;
        loader.hset(&key, "amount", or_empty(row.try_get("amount")?)).await?;
        loader.hset(&key, "campaign", campaign_word(row.try_get("campaign_id")?)).await?;
        loader.hset(&key, "stock", row.try_get::<i64, _>("stock")?).await?;
        loader.hset(&key, "taken", row.try_get::<i64, _>("taken")?).await?;
        loader.declare(&store::marks(&space, reward, None), Content::hash());
        loader.declare(&store::open(&space, reward), Content::hash());
    }
    load_requests(pg, loader, first_day_kept(from_millis(now_ms))).await
}

/// Of days that are over only what has not ended.
async fn load_requests(
    pg: &mut PgConnection,
    loader: &mut Loader,
    first_day: NaiveDate,
) -> Result<(), Error> {
    let space = loader.space.clone();
    let mut rows = sqlx::query(
        "select request_id, reward_id, event_id, user_id, period, state, type, amount, campaign_id
         from reward_requests
         where shard = $1 and (period = '' or period >= $2 or state in ('PENDING', 'GRANTING'))",
    )
    .bind(space.shard.as_i32())
    .bind(first_day.to_string())
    .fetch(pg);
    while let Some(row) = rows.try_next().await? {
        let (request, reward): (RewardRequestId, RewardId) = (row.try_get(0)?, row.try_get(1)?);
        let (event, user): (EventId, UserId) = (row.try_get(2)?, row.try_get(3)?);
        let (period, state): (&str, &str) = (row.try_get(4)?, row.try_get(5)?);
        let letter = letter(state)?;
        let day = day(period)?;
        if day.is_none_or(|day| day >= first_day) {
            let marks = store::marks(&space, reward, day);
            loader.hset(&marks, format!("{event}|{user}"), format!("{letter}:{request}")).await?;
        }
        if let Some(day) = day.filter(|day| *day >= first_day) {
            loader.sadd(&store::days(&space), format!("{reward}|{day}")).await?;
        }
        if matches!(letter, 'P' | 'A') {
            let kind: &str = row.try_get(6)?;
            let (amount, campaign) = (or_empty(row.try_get(7)?), campaign_word(row.try_get(8)?));
            let record = format!("{letter}|{user}|{event}|{period}|{kind}|{amount}|{campaign}");
            loader.hset(&store::open(&space, reward), request, record).await?;
        }
    }
    Ok(())
}

/// A state as scripts have it.
fn letter(state: &str) -> Result<char, Error> {
    Ok(match state {
        "PENDING" => 'P',
        "GRANTING" => 'A',
        "GRANTED" => 'G',
        "REJECTED" => 'R',
        other => return Err(Error::internal(format_args!("postgres holds {other:?} as a request's state"))),
    })
}

/// The day of a period, where it is one.
pub fn day(period: &str) -> Result<Option<NaiveDate>, Error> {
    match period {
        "" => Ok(None),
        day => day.parse().map(Some).map_err(Error::internal),
    }
}

/// What `read` needs, of rewards as `r`.
macro_rules! select_rewards {
    () => {
        "select r.reward_id, r.version, r.name, r.type, r.amount, r.campaign_id, r.stock, r.taken"
    };
}

fn read(row: &PgRow) -> Result<Reward, Error> {
    let (stock, taken): (i64, i64) = (row.try_get("stock")?, row.try_get("taken")?);
    let campaign_id: Option<CampaignId> = row.try_get("campaign_id")?;
    Ok(Reward {
        reward_id: row.try_get("reward_id")?,
        version: row.try_get("version")?,
        name: row.try_get("name")?,
        kind: Kind::stored(row.try_get("type")?)?,
        amount: row.try_get("amount")?,
        campaign_id,
        stock,
        remaining: stock - taken,
    })
}

/// One reward.
pub async fn reward(pg: impl PgExecutor<'_>, id: RewardId) -> Result<Option<Reward>, Error> {
    let sql = concat!(select_rewards!(), " from rewards r where r.reward_id = $1 and r.deleted_at is null");
    sqlx::query(sql).bind(id).fetch_optional(pg).await?.as_ref().map(read).transpose()
}

/// A page of rewards, newest first.
pub async fn page(pool: &PgPool, page: &PageRequest) -> Result<Page<Reward>, Error> {
    let (at, id) = page.after_time_and_id()?.unwrap_or((from_millis(i64::MAX), Uuid::nil()));
    let rows = sqlx::query(concat!(
        select_rewards!(),
        ", r.created_at from rewards r
         where r.deleted_at is null and r.created_at <= $1
             and (r.created_at < $1 or r.reward_id > $2)
         order by r.created_at desc, r.reward_id limit $3"
    ))
    .bind(at)
    .bind(id)
    .bind(page.fetch())
    .fetch_all(pool)
    .await?;
    let cursor = |row: &PgRow| {
        let at: DateTime<Utc> = row.try_get("created_at")?;
        Ok(format!("{} {}", at.timestamp_micros(), row.try_get::<Uuid, _>("reward_id")?))
    };
    page.cut(rows, cursor, read)
}

/// The rewards of an event in its order, and how a user's request for each stands in a period.
pub async fn of_event(
    pg: &mut PgConnection,
    rewards: &[RewardId],
    (event, user): (EventId, UserId),
    period: Option<NaiveDate>,
) -> Result<Vec<(Reward, Option<RequestStatus>)>, Error> {
    let rows = sqlx::query(concat!(
        select_rewards!(),
        ", q.state
         from unnest($1::uuid[]) with ordinality as wanted(reward_id, place)
         join rewards r on r.reward_id = wanted.reward_id and r.deleted_at is null
         left join reward_requests q on q.reward_id = r.reward_id and q.user_id = $2 and q.event_id = $3
             and q.period = $4
         order by wanted.place"
    ))
    .bind(rewards)
    .bind(user)
    .bind(event)
    .bind(period.map(|day| day.to_string()).unwrap_or_default())
    .fetch_all(pg)
    .await?;
    rows.iter()
        .map(|row| {
            let state: Option<&str> = row.try_get("state")?;
            Ok((read(row)?, state.map(request::status).transpose()?))
        })
        .collect()
}
