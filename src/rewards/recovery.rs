//! Granting what nobody grants any more: its instance died, or gave up waiting.

use uuid::Uuid;

use super::requests::finish;
use super::table;
use crate::app::App;
use crate::error::Error;
use crate::metrics;
use crate::redis::Shard;

/// A request that is on its way for so long is nobody's, unless a task here drives it.
const ABANDONED_AFTER_MS: i64 = 5_000;
/// Requests that one step looks at.
const BATCH: i64 = 100;

/// One step: looks at the abandoned requests of a reward's shard that follow `after`, which moves on and
/// begins again at the end. How many were ended.
pub async fn recover(app: &App, shard: Shard, after: &mut Uuid) -> Result<usize, Error> {
    let mut ended = 0;
    let found = table::request::abandoned(&app.pool, shard, ABANDONED_AFTER_MS, *after, BATCH).await?;
    *after = match found.last() {
        Some(last) if found.len() == BATCH as usize => last.request.uuid(),
        _ => Uuid::nil(),
    };
    for grant in found {
        if app.driven.contains(grant.request.uuid()) {
            continue;
        }
        match finish(app, &grant).await {
            Ok(_) => {
                ended += 1;
                metrics::reward("recovered");
                tracing::info!(request = %grant.request, "ended a request for a reward that nobody drove");
            }
            Err(error) => tracing::warn!(request = %grant.request, %error, "ending a request for a reward"),
        }
    }
    Ok(ended)
}
