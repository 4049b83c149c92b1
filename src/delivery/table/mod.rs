//! The outbox in Postgres: what goes in, what is sent, what came of it.

pub mod breaker;
pub mod operator;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row};
use uuid::Uuid;

use super::notice::Notice;
use super::settings::Endpoint;
use crate::error::Error;
use crate::journal::table::statements::Statements;

/// Messages of a lane that one claim takes.
const LANE_MAX: i64 = 10;

/// What a round has to tell.
#[derive(Default)]
pub struct Outbox(Vec<Notice>);

impl Outbox {
    /// One more.
    pub fn push(&mut self, notice: Notice) {
        self.0.push(notice);
    }

    /// All of another.
    pub fn append(&mut self, mut other: Outbox) {
        self.0.append(&mut other.0);
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says a row for each that is to be told it. One that is there already is the same.
    pub fn say(&self, to: &mut Statements) {
        let told = &self.0;
        if told.is_empty() {
            return;
        }
        to.say(
            "tell",
            "with told as (
                 insert into deliveries (endpoint, message_id, kind, aggregate, body, at)
                 select e.endpoint, n.message_id, n.kind, n.aggregate, n.body, n.at
                 from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::timestamptz[])
                     with ordinality as n(message_id, kind, aggregate, body, at, place)
                 join delivery_endpoints e on e.is_active and n.kind = any(e.kinds)
                 order by n.place
                 on conflict (message_id, endpoint) do nothing
                 returning endpoint, aggregate, at
             )
             insert into delivery_lanes (endpoint, aggregate, pending, oldest_at)
             select endpoint, aggregate, count(*), min(at) from told group by 1, 2 order by 1, 2
             on conflict (endpoint, aggregate) do update
             set pending = delivery_lanes.pending + excluded.pending",
        )
        .bind(told.iter().map(|notice| notice.id()).collect::<Vec<_>>())
        .bind(told.iter().map(|notice| notice.kind).collect::<Vec<_>>())
        .bind(told.iter().map(|notice| notice.aggregate).collect::<Vec<_>>())
        .bind(told.iter().map(|notice| (notice.body)(notice.at).to_string()).collect::<Vec<_>>())
        .bind(told.iter().map(|notice| notice.at).collect::<Vec<_>>());
    }

    /// They are durable: a line in the log for each of these kinds, which are told.
    pub fn log(&self, wanted: &BTreeSet<String>) {
        for notice in self.0.iter().filter(|notice| wanted.contains(notice.kind)) {
            let (id, kind, about) = (super::sink::wire_id(notice.id()), notice.kind, notice.about);
            tracing::info!(target: "onrush::delivery", id, kind, %about, "notice");
        }
    }
}

/// Kinds that anybody is told.
pub async fn wanted(pg: impl PgExecutor<'_>) -> Result<BTreeSet<String>, Error> {
    let rows = sqlx::query("select distinct unnest(kinds) from delivery_endpoints where is_active")
        .fetch_all(pg)
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// These are told from now on, besides those that were. An instance with an older file takes nothing away.
pub async fn register(pool: &PgPool, endpoints: &[Endpoint]) -> Result<(), Error> {
    for endpoint in endpoints {
        sqlx::query(
            "insert into delivery_endpoints (endpoint, kinds, is_active) values ($1, $2, true)
             on conflict (endpoint) do update set is_active = true, kinds = array(
                 select unnest(delivery_endpoints.kinds) union select unnest(excluded.kinds) order by 1
             )",
        )
        .bind(&endpoint.name)
        .bind(endpoint.kinds.iter().map(String::as_str).collect::<Vec<_>>())
        .execute(pool)
        .await?;
    }
    Ok(())
}

/// A message that is ours to send while we have its lane.
#[derive(Clone, Debug)]
pub struct Message {
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
}

/// Claims lanes that are due, the one that is due longest first: each one's first messages, in order.
pub async fn claim(
    pool: &PgPool,
    endpoint: &str,
    lanes: usize,
    lease: Duration,
) -> Result<(Uuid, BTreeMap<Uuid, Vec<Message>>), Error> {
    let claim = Uuid::now_v7();
    let rows = sqlx::query(
        "with due as (
             select endpoint, aggregate from delivery_lanes
             where endpoint = $1 and next_at <= now()
             order by next_at limit $2 for update skip locked
         ), claimed as (
             update delivery_lanes l set claim = $3, next_at = now() + make_interval(secs => $4)
             from due where l.endpoint = due.endpoint and l.aggregate = due.aggregate
             returning l.aggregate
         )
         select d.message_id, d.kind, d.aggregate, d.body, d.at, d.attempts
         from claimed c cross join lateral (
             select * from deliveries d
             where d.endpoint = $1 and d.aggregate = c.aggregate and d.state = 'PENDING'
             order by d.position limit $5
         ) d
         order by d.position",
    )
    .bind(endpoint)
    .bind(lanes as i64)
    .bind(claim)
    .bind(lease.as_secs_f64())
    .bind(LANE_MAX)
    .fetch_all(pool)
    .await?;
    let mut found: BTreeMap<Uuid, Vec<Message>> = BTreeMap::new();
    for row in rows {
        let aggregate = row.try_get(2)?;
        found.entry(aggregate).or_default().push(Message {
            message_id: row.try_get(0)?,
            kind: row.try_get(1)?,
            aggregate,
            body: row.try_get(3)?,
            at: row.try_get(4)?,
            attempts: row.try_get(5)?,
        });
    }
    Ok((claim, found))
}

/// A try that failed, and what follows.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Which.
    pub message_id: Uuid,
    /// Why.
    pub why: String,
    /// Whether the try counts.
    pub counts: bool,
    /// The next one; `None` makes it dead.
    pub pause: Option<Duration>,
}

/// What came of a lane that was claimed.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Which.
    pub aggregate: Uuid,
    /// Our claim.
    pub claim: Uuid,
    /// Messages that arrived.
    pub arrived: Vec<Uuid>,
    /// The one after them, where it did not.
    pub failed: Option<Failed>,
}

/// Notes what came of lanes. What arrived has arrived, whoever has the lane now; else, who has lost his claim
/// has nothing to say.
pub async fn note(pool: &PgPool, endpoint: &str, ended: &[Ended]) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    let lanes: Vec<Uuid> = ended.iter().map(|lane| lane.aggregate).collect();
    // In the order of the writer, which adds to them.
    sqlx::query(
        "select from delivery_lanes where endpoint = $1 and aggregate = any($2) order by aggregate for update",
    )
    .bind(endpoint)
    .bind(&lanes)
    .execute(&mut *tx)
    .await?;
    let mut left: BTreeMap<Uuid, i64> = BTreeMap::new();
    let arrived = sqlx::query(
        "update deliveries set state = 'DELIVERED', delivered_at = now(), attempts = attempts + 1,
             last_error = null
         where endpoint = $1 and message_id = any($2) and state = 'PENDING' returning aggregate",
    )
    .bind(endpoint)
    .bind(ended.iter().flat_map(|lane| lane.arrived.clone()).collect::<Vec<_>>())
    .fetch_all(&mut *tx)
    .await?;
    let dead = failed(&mut tx, endpoint, ended).await?;
    for row in arrived.iter().chain(&dead) {
        *left.entry(row.try_get(0)?).or_default() += 1;
    }
    count(&mut tx, endpoint, ended, &left).await?;
    tx.commit().await?;
    Ok(())
}

/// The aggregates of those that are dead now.
async fn failed(pg: &mut PgConnection, endpoint: &str, ended: &[Ended]) -> Result<Vec<PgRow>, Error> {
    let failed = || ended.iter().filter_map(|lane| Some((lane, lane.failed.as_ref()?)));
    let rows = sqlx::query(
        "with failed as (
             update deliveries d set last_error = f.why,
                 attempts = d.attempts + case when f.counts then 1 else 0 end,
                 state = case when f.is_dead then 'DEAD' else 'PENDING' end
             from unnest($2::uuid[], $3::uuid[], $4::text[], $5::boolean[], $6::boolean[])
                 as f(message_id, claim, why, counts, is_dead)
             where d.endpoint = $1 and d.message_id = f.message_id and d.state = 'PENDING'
                 and exists (select from delivery_lanes l
                     where l.endpoint = d.endpoint and l.aggregate = d.aggregate and l.claim = f.claim)
             returning d.aggregate, d.state
         )
         select aggregate from failed where state = 'DEAD'",
    )
    .bind(endpoint)
    .bind(failed().map(|(_, one)| one.message_id).collect::<Vec<_>>())
    .bind(failed().map(|(lane, _)| lane.claim).collect::<Vec<_>>())
    .bind(failed().map(|(_, one)| one.why.as_str()).collect::<Vec<_>>())
    .bind(failed().map(|(_, one)| one.counts).collect::<Vec<_>>())
    .bind(failed().map(|(_, one)| one.pause.is_none()).collect::<Vec<_>>())
    .fetch_all(pg)
    .await?;
    Ok(rows)
}

/// Lanes count what is PENDING in them, and go when that is nothing.
async fn count(
    pg: &mut PgConnection,
    endpoint: &str,
    ended: &[Ended],
    left: &BTreeMap<Uuid, i64>,
) -> Result<(), Error> {
    let pause = |lane: &Ended| lane.failed.as_ref().and_then(|one| one.pause).unwrap_or_default();
    let lanes: Vec<Uuid> = ended.iter().map(|lane| lane.aggregate).collect();
    sqlx::query(
        "update delivery_lanes l set pending = l.pending - e.gone,
             oldest_at = coalesce((select d.at from deliveries d
                 where d.endpoint = $1 and d.aggregate = e.aggregate and d.state = 'PENDING'
                 order by d.position limit 1), l.oldest_at),
             next_at = case when l.claim = e.claim then now() + make_interval(secs => e.pause)
                 else l.next_at end,
             claim = nullif(l.claim, e.claim)
         from unnest($2::uuid[], $3::uuid[], $4::float8[], $5::bigint[])
             as e(aggregate, claim, pause, gone)
         where l.endpoint = $1 and l.aggregate = e.aggregate",
    )
    .bind(endpoint)
    .bind(&lanes)
    .bind(ended.iter().map(|lane| lane.claim).collect::<Vec<_>>())
    .bind(ended.iter().map(|lane| pause(lane).as_secs_f64()).collect::<Vec<_>>())
    .bind(ended.iter().map(|lane| left.get(&lane.aggregate).copied().unwrap_or(0)).collect::<Vec<_>>())
    .execute(&mut *pg)
    .await?;
    sqlx::query("delete from delivery_lanes where endpoint = $1 and aggregate = any($2) and pending = 0")
        .bind(endpoint)
        .bind(&lanes)
        .execute(pg)
        .await?;
    Ok(())
}
