//! How an instance stands.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::model::{HealthView, Readiness, SetHealth};
use crate::app::{App, AppState};
use crate::audit;
use crate::audit::model::Act;
use crate::error::Error;
use crate::http::identity::Actor;

/// What was found is told for so long.
const KNOWN_MAX: Duration = Duration::from_millis(50);
/// How long the audit log is waited for where what it tells of is done already.
const RECORD_MAX: Duration = Duration::from_secs(1);
/// A server that does not answer for so long is away.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// How the instance stands. Whoever asks at the same time, or a moment later, is told the same: probes are
/// not counted, and must not cost more than one.
pub async fn readiness(app: &AppState) -> Result<Readiness, Error> {
    // A probe that gives up does not make the next one begin again.
    let looking = app.clone();
    app.tasks.spawn(async move { look_once(&looking).await }).await.map_err(Error::internal)
}

async fn look_once(app: &App) -> Readiness {
    let mut last = app.readiness.lock().await;
    if let Some((at, known)) = &*last
        && at.elapsed() < KNOWN_MAX
    {
        return known.clone();
    }
    let now = look(app).await;
    *last = Some((Instant::now(), now.clone()));
    now
}

/// Asks both servers; a dead pool must not make this hang.
async fn look(app: &App) -> Readiness {
    let redis = tokio::time::timeout(ANSWER_MAX, app.redis.identities()).await;
    let redis = matches!(redis, Ok(Ok(_)));
    let postgres = tokio::time::timeout(ANSWER_MAX, app.journal.shards.refresh()).await;
    let postgres = matches!(postgres, Ok(Ok(())));
    let (live, shards) = (app.journal.shards.live_count(), usize::from(app.journal.shards.count()));
    let draining = app.rotation.is_draining();
    // Beyond this joins are refused.
    let lag = app.journal.shards.lag();
    let keeps_up = lag <= app.config.join_busy_after;
    Readiness {
        ready: redis && postgres && live == shards && keeps_up && !draining,
        draining,
        redis,
        postgres,
        lag_ms: u64::try_from(lag.as_millis()).unwrap_or(u64::MAX),
        shards_live: live,
        shard_states: app.journal.shards.states(),
        shards,
        limits: app.config.limits.word(),
    }
}

/// Takes this instance out of rotation or puts it back. It works while Postgres is away too: then the log
/// alone says who did it.
pub async fn set_health(app: &App, by: &Actor, body: &SetHealth) -> HealthView {
    let before = app.rotation.is_in();
    app.rotation.set(body.in_rotation);
    let now = HealthView { in_rotation: app.rotation.is_in() };
    tracing::warn!(by = %by.me.user, in_rotation = body.in_rotation, "rotation was switched");
    let act = Act::new(by, format_args!("instances/{}", app.me), Some(&now));
    let recorded = tokio::time::timeout(RECORD_MAX, record(app, &act, before)).await;
    if let Err(error) = recorded.unwrap_or_else(|_| Err(Error::unavailable("postgres is late"))) {
        tracing::error!(%error, ?act, "an act is missing from the audit log");
    }
    now
}

async fn record(app: &App, act: &Act, before: bool) -> Result<(), Error> {
    let mut pg = app.pool.acquire().await?;
    let (name, before) = ((Uuid::now_v7(), "health.set"), serde_json::json!({"inRotation": before}));
    audit::table::record(&mut pg, name, act, Some(before), chrono::Utc::now()).await
}
