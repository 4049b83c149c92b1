//! The outbox in Postgres: what goes in, what is sent, what came of it.

pub mod breaker;
pub mod operator;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::notice::Notice;
use super::settings::Endpoint;
use crate::error::Error;

/// What a round has to tell.
#[derive(Default)]
pub struct Outbox(Vec<Notice>);

impl Outbox {
    /// One more.
    pub fn push(&mut self, notice: Notice) {
        self.0.push(notice);
    }

    /// Writes a row for each that is to be told it. One that is there already is the same.
    pub async fn apply(&self, pg: &mut PgConnection) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        let wanted = wanted(&mut *pg).await?;
        let told: Vec<&Notice> = self.0.iter().filter(|notice| wanted.contains(notice.kind)).collect();
        if told.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "insert into deliveries (endpoint, message_id, kind, aggregate, body, at)
             select e.endpoint, n.message_id, n.kind, n.aggregate, n.body, n.at
             from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::timestamptz[])
                 with ordinality as n(message_id, kind, aggregate, body, at, place)
             join delivery_endpoints e on e.is_active and n.kind = any(e.kinds)
             order by n.place
             on conflict (message_id, endpoint) do nothing",
        )
        .bind(told.iter().map(|notice| notice.id()).collect::<Vec<_>>())
        .bind(told.iter().map(|notice| notice.kind).collect::<Vec<_>>())
        .bind(told.iter().map(|notice| notice.aggregate).collect::<Vec<_>>())
        .bind(told.iter().map(|notice| (notice.body)().to_string()).collect::<Vec<_>>())
        .bind(told.iter().map(|notice| notice.at).collect::<Vec<_>>())
        .execute(pg)
        .await?;
        Ok(())
    }

    /// They are durable: a line each in the log.
    pub fn log(&self) {
        for notice in &self.0 {
            let id = super::sink::wire_id(notice.id());
            let (kind, about) = (notice.kind, notice.about);
            tracing::info!(target: "onrush::delivery", id, kind, %about, "notice");
        }
    }
}

/// Kinds that anybody is told.
async fn wanted(pg: &mut PgConnection) -> Result<BTreeSet<String>, Error> {
    let rows = sqlx::query("select distinct unnest(kinds) from delivery_endpoints where is_active")
        .fetch_all(pg)
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// From now on these are told, and nobody else.
pub async fn register(pool: &PgPool, endpoints: &[Endpoint]) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("lock table delivery_endpoints in share row exclusive mode").execute(&mut *tx).await?;
    sqlx::query("update delivery_endpoints set is_active = false where endpoint <> all($1)")
        .bind(endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
    for endpoint in endpoints {
        sqlx::query(
            "insert into delivery_endpoints (endpoint, kinds, is_active) values ($1, $2, true)
             on conflict (endpoint) do update set kinds = excluded.kinds, is_active = true",
        )
        .bind(&endpoint.name)
        .bind(endpoint.kinds.iter().map(String::as_str).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(())
}

/// A message that is ours to send until the claim lapses.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Its row.
    pub position: i64,
    /// Its id.
    pub message_id: Uuid,
    /// What it tells.
    pub kind: String,
    /// Whose messages stay in order.
    pub aggregate: Uuid,
    /// JSON.
    pub body: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// Tries that failed and counted.
    pub attempts: i32,
    /// By whom it is claimed.
    pub claim: Uuid,
}

/// Claims messages that are due, the first of each aggregate, oldest first.
pub async fn claim(
    pool: &PgPool,
    endpoint: &str,
    limit: usize,
    lease: Duration,
) -> Result<Vec<Claimed>, Error> {
    let claim = Uuid::now_v7();
    let rows = sqlx::query(
        "with due as (
             select d.position from deliveries d
             where d.endpoint = $1 and d.state = 'PENDING' and d.next_at <= now()
                 and (d.claimed_until is null or d.claimed_until < now())
                 and not exists (
                     select from deliveries before
                     where before.endpoint = d.endpoint and before.aggregate = d.aggregate
                         and before.state = 'PENDING' and before.position < d.position
                 )
             order by d.position limit $2
             for update of d skip locked
         )
         update deliveries d set claim = $3, claimed_until = now() + make_interval(secs => $4)
         from due where d.position = due.position
         returning d.position, d.message_id, d.kind, d.aggregate, d.body, d.at, d.attempts",
    )
    .bind(endpoint)
    .bind(limit as i64)
    .bind(claim)
    .bind(lease.as_secs_f64())
    .fetch_all(pool)
    .await?;
    let claimed = |row: &sqlx::postgres::PgRow| {
        Ok(Claimed {
            position: row.try_get(0)?,
            message_id: row.try_get(1)?,
            kind: row.try_get(2)?,
            aggregate: row.try_get(3)?,
            body: row.try_get(4)?,
            at: row.try_get(5)?,
            attempts: row.try_get(6)?,
            claim,
        })
    };
    rows.iter().map(claimed).collect()
}

/// They arrived. So it stands, whoever has claimed them since.
pub async fn delivered(pool: &PgPool, positions: &[i64]) -> Result<(), Error> {
    if positions.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update deliveries set state = 'DELIVERED', delivered_at = now(), attempts = attempts + 1,
             claim = null, claimed_until = null, last_error = null
         where position = any($1) and state = 'PENDING'",
    )
    .bind(positions)
    .execute(pool)
    .await?;
    Ok(())
}

/// What comes after a try that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The row, and our claim on it.
    pub message: Claimed,
    /// Why.
    pub why: String,
    /// Whether the try counts.
    pub counts: bool,
    /// The next one; `None` makes it dead.
    pub pause: Option<Duration>,
}

/// They did not arrive. Who has lost his claim has nothing to say.
pub async fn failed(pool: &PgPool, failed: &[Failed]) -> Result<(), Error> {
    if failed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update deliveries d set claim = null, claimed_until = null, last_error = f.why,
             attempts = d.attempts + case when f.counts then 1 else 0 end,
             state = case when f.pause is null then 'DEAD' else 'PENDING' end,
             next_at = now() + make_interval(secs => coalesce(f.pause, 0))
         from unnest($1::bigint[], $2::uuid[], $3::text[], $4::boolean[], $5::float8[])
             as f(position, claim, why, counts, pause)
         where d.position = f.position and d.claim = f.claim and d.state = 'PENDING'",
    )
    .bind(failed.iter().map(|one| one.message.position).collect::<Vec<_>>())
    .bind(failed.iter().map(|one| one.message.claim).collect::<Vec<_>>())
    .bind(failed.iter().map(|one| one.why.as_str()).collect::<Vec<_>>())
    .bind(failed.iter().map(|one| one.counts).collect::<Vec<_>>())
    .bind(failed.iter().map(|one| one.pause.map(|pause| pause.as_secs_f64())).collect::<Vec<_>>())
    .execute(pool)
    .await?;
    Ok(())
}
