//! How an instance stands.

use std::time::Duration;

use super::model::Readiness;
use crate::app::App;

/// A server that does not answer for so long is away.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// Asks both servers; a dead pool must not make this hang.
pub async fn readiness(app: &App) -> Readiness {
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
        limits: if app.config.limits { "on" } else { "off" },
    }
}
