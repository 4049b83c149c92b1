//! Requests for rewards in Postgres.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::day;
use crate::error::Error;
use crate::http::page::{Page, PageRequest};
use crate::ids::{EventId, RewardRequestId, UserId};
use crate::redis::Shard;
use crate::rewards::model::{Counts, Grant, RequestStatus, RewardRequest, What};

/// What a list is of; all, where it says nothing.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of one event.
    pub event: Option<EventId>,
    /// Of one user.
    pub user: Option<UserId>,
    /// Of one status.
    pub status: Option<RequestStatus>,
    /// Made then or later.
    pub from: Option<DateTime<Utc>>,
    /// Made earlier.
    pub to: Option<DateTime<Utc>>,
}

/// What `read` needs.
macro_rules! select_requests {
    () => {
        "select request_id, event_id, event_version, reward_id, user_id, period, state, reason, evidence,
             created_at, decided_at
         from reward_requests "
    };
}
/// A statement about what is asked for: parameters 1 to 4. By the index of the event or of the user, where
/// one is named: a plan that is kept for all of them would read the whole table.
macro_rules! of_filter {
    (@ $before:expr, $keys:literal, $after:expr) => {
        concat!($before, "where ", $keys, " and created_at >= $3 and created_at < $4 ", $after)
    };
    ($of:expr, $before:expr, $after:expr) => {
        match ($of.event, $of.user) {
            (_, Some(_)) => {
                of_filter!(@ $before, "user_id = $2 and ($1::uuid is null or event_id = $1)", $after)
            }
            (Some(_), None) => of_filter!(@ $before, "event_id = $1 and $2::uuid is null", $after),
            (None, None) => {
                of_filter!(@ $before, "$1::uuid is null and $2::uuid is null", $after)
            }
        }
    };
}

/// A state of Postgres as clients know it.
pub fn status(state: &str) -> Result<RequestStatus, Error> {
    if state == "GRANTING" { Ok(RequestStatus::Pending) } else { RequestStatus::stored(state) }
}

fn read(row: &PgRow) -> Result<RewardRequest, Error> {
    let Json(evidence) = row.try_get("evidence")?;
    Ok(RewardRequest {
        request_id: row.try_get("request_id")?,
        event_id: row.try_get("event_id")?,
        event_version: row.try_get("event_version")?,
        reward_id: row.try_get("reward_id")?,
        user_id: row.try_get("user_id")?,
        period: day(row.try_get("period")?)?,
        status: status(row.try_get("state")?)?,
        reason: row.try_get("reason")?,
        evidence,
        created_at: row.try_get("created_at")?,
        decided_at: row.try_get("decided_at")?,
    })
}

/// One request.
pub async fn request(pool: &PgPool, id: RewardRequestId) -> Result<Option<RewardRequest>, Error> {
    let query = sqlx::query(concat!(select_requests!(), "where request_id = $1")).bind(id);
    query.fetch_optional(pool).await?.as_ref().map(read).transpose()
}

impl Filter {
    /// The stored words of the status.
    fn states(&self) -> Vec<&'static str> {
        match self.status {
            None => vec!["PENDING", "GRANTING", "GRANTED", "REJECTED"],
            Some(RequestStatus::Pending) => vec!["PENDING", "GRANTING"],
            Some(status) => vec![status.word()],
        }
    }

    fn times(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        let from = self.from.unwrap_or(DateTime::UNIX_EPOCH);
        (from, self.to.unwrap_or(crate::clock::from_millis(253_402_300_800_000)))
    }
}

/// A page of requests, newest first.
pub async fn page(pool: &PgPool, of: &Filter, page: &PageRequest) -> Result<Page<RewardRequest>, Error> {
    let (from, to) = of.times();
    // Those that wait are few, and have an index of their own.
    let sql = match of.status {
        Some(RequestStatus::Pending) => of_filter!(
            of,
            select_requests!(),
            "and state in ('PENDING', 'GRANTING') and state = any($5) and request_id < $6
             order by request_id desc limit $7"
        ),
        _ => of_filter!(
            of,
            select_requests!(),
            "and state = any($5) and request_id < $6 order by request_id desc limit $7"
        ),
    };
    let rows = sqlx::query(sql)
        .bind(of.event)
        .bind(of.user)
        .bind(from)
        .bind(to)
        .bind(of.states())
        .bind(page.after_id()?.unwrap_or(Uuid::max()))
        .bind(page.fetch())
        .fetch_all(pool)
        .await?;
    page.cut(rows, |row| Ok(row.try_get::<Uuid, _>("request_id")?.to_string()), read)
}

/// How many there are of each status; the filter's own does not count.
pub async fn counts(pool: &PgPool, of: &Filter) -> Result<Counts, Error> {
    let (from, to) = of.times();
    let sql = of_filter!(of, "select state, count(*) from reward_requests ", "group by state");
    let rows = sqlx::query(sql).bind(of.event).bind(of.user).bind(from).bind(to).fetch_all(pool).await?;
    let mut counts = Counts::default();
    for row in rows {
        let count: i64 = row.try_get(1)?;
        *match status(row.try_get(0)?)? {
            RequestStatus::Pending => &mut counts.pending,
            RequestStatus::Granted => &mut counts.granted,
            RequestStatus::Rejected => &mut counts.rejected,
        } += count;
    }
    Ok(counts)
}

fn read_grant(row: &PgRow) -> Result<Grant, Error> {
    Ok(Grant {
        request: row.try_get("request_id")?,
        reward: row.try_get("reward_id")?,
        user: row.try_get("user_id")?,
        period: day(row.try_get("period")?)?,
        what: What::of(row.try_get("type")?, row.try_get("amount")?, row.try_get("campaign_id")?)?,
    })
}

/// What a request is for.
pub async fn grant(pool: &PgPool, id: RewardRequestId) -> Result<Option<Grant>, Error> {
    let row = sqlx::query(
        "select request_id, reward_id, user_id, period, type, amount, campaign_id from reward_requests
         where request_id = $1",
    );
    row.bind(id).fetch_optional(pool).await?.as_ref().map(read_grant).transpose()
}

/// What the shard that grants has said, and why where it was no; `None` while it has said nothing.
pub async fn said(pool: &PgPool, id: RewardRequestId) -> Result<Option<Option<String>>, Error> {
    let row = sqlx::query("select reason from reward_grants where request_id = $1").bind(id);
    let row = row.fetch_optional(pool).await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

/// Requests of a shard that have been on their way for long; those that follow one, so that some that cannot
/// be ended do not hide the others.
pub async fn abandoned(
    pool: &PgPool,
    shard: Shard,
    older_ms: i64,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Grant>, Error> {
    let rows = sqlx::query(
        "select request_id, reward_id, user_id, period, type, amount, campaign_id from reward_requests
         where shard = $1 and state = 'GRANTING'
             and recorded_at < now() - make_interval(secs => $2 / 1000.0) and request_id > $3
         order by request_id limit $4",
    )
    .bind(shard.as_i32())
    .bind(older_ms as f64)
    .bind(after)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(read_grant).collect()
}
