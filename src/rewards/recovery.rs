//! Granting what nobody grants any more: its instance died, or gave up waiting. And forgetting days.

use chrono::{Days, NaiveTime};
use uuid::Uuid;

use super::model::first_day_kept;
use super::requests::finish;
use super::{store, table};
use crate::app::App;
use crate::clock::parse_day;
use crate::error::Error;
use crate::metrics;
use crate::redis::{Shard, Space};

/// A request that is on its way for so long is nobody's, unless a task here drives it.
const ABANDONED_AFTER_MS: i64 = 5_000;
/// Requests that one step looks at.
const BATCH: i64 = 100;
/// Days that one step looks at.
const DAYS: usize = 50;

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

/// One step: drops the marks of days of a shard that are over; how many.
pub async fn forget(app: &App, shard: Shard) -> Result<usize, Error> {
    let days = |space: &Space| store::Days { days: store::days(space), limit: DAYS };
    let first = first_day_kept(app.clock.now());
    let mut dropped = 0;
    for day in app.journal.ask(shard, days).await?.list(0)? {
        let found = day.split_once('|').and_then(|(id, day)| Some((id.parse().ok()?, parse_day(day)?)));
        let Some((reward, day)) = found.filter(|(_, day)| *day < first) else { continue };
        // By the script's clock as well: in no zone is it still that day.
        let over_ms = (day + Days::new(2)).and_time(NaiveTime::MIN).and_utc().timestamp_millis();
        let script = |space: &Space| store::forget(space, reward, day, over_ms);
        dropped += usize::from(app.journal.ask(shard, script).await?.word() == "done");
    }
    Ok(dropped)
}
