//! The queue's own doing, ten times a second: admission and lapses.

use super::event::QueueEvent;
use super::store;
use crate::app::App;
use crate::error::Error;
use crate::ids::QueueId;
use crate::journal::event::Event;
use crate::journal::{Done, Outcome};
use crate::metrics;
use crate::redis::{Shard, Space};

/// Places that one call of the tick admits, ends or journals, each: a few milliseconds of Redis at most.
const LIMIT: usize = 250;
/// Calls for one queue in one tick.
const CALLS_MAX: usize = 16;
/// Nobody polls or uses a new pass for so long: it ends.
const UNUSED_MS: i64 = 60_000;

/// Ticks all busy queues of a shard.
pub async fn tick_shard(app: &App, shard: Shard) -> Result<(), Error> {
    for queue in busy(app, shard).await? {
        tick(app, queue).await?;
    }
    Ok(())
}

async fn busy(app: &App, shard: Shard) -> Result<Vec<QueueId>, Error> {
    let reply = app.journal.ask(shard, |space| store::Busy { busy: store::busy(space) }).await?;
    Ok(reply.list(0)?.iter().filter_map(|id| id.parse().ok()).collect())
}

/// Ticks one queue until nothing is left of what one call may do.
pub async fn tick(app: &App, queue: QueueId) -> Result<(), Error> {
    let limits =
        store::TickLimits { places: LIMIT, unused_ms: UNUSED_MS, busy_ms: app.config.busy_after.as_millis() };
    let mut changed = false;
    for _ in 0..CALLS_MAX {
        let script = |space: &Space| store::tick(space, queue, limits);
        match app.journal.unawaited(super::ops::shard(app, queue), script).await? {
            Outcome::Done(done) => {
                changed = true;
                if measure(&done)? + 1 < LIMIT {
                    break;
                }
            }
            Outcome::Refused(_) => break,
        }
    }
    if changed {
        app.lines.told(queue);
    }
    Ok(())
}

/// Counts what a tick did; returns the longest list, or how many soft changes were journaled.
fn measure(done: &Done) -> Result<usize, Error> {
    let (mut longest, mut soft) = (0, 0);
    for event in done.facts.events().map_err(Error::internal)? {
        let Event::Queue(event) = event else { continue };
        let count = match event {
            QueueEvent::QueueAdmitted(fact) => {
                metrics::admitted(fact.places.len());
                fact.places.len()
            }
            QueueEvent::QueueEnded(fact) => {
                metrics::ended(&fact.why.0, fact.numbers.len());
                soft += if fact.why.0 == "left" { fact.numbers.len() } else { 0 };
                fact.numbers.len()
            }
            QueueEvent::QueueJoined(fact) => {
                soft += fact.places.len();
                0
            }
            QueueEvent::QueueRestored(fact) => {
                soft += fact.places.len();
                0
            }
            _ => 0,
        };
        longest = longest.max(count);
    }
    Ok(longest.max(soft))
}

/// Whether all that was soft in a shard is journaled. For one that is fenced, where scripts refuse.
pub async fn is_journaled(app: &App, space: &Space) -> Result<bool, Error> {
    let busy = app.redis.command("SMEMBERS", &[store::busy(space).as_str()]).await?;
    for queue in busy.into_array() {
        let queue: Option<QueueId> = queue.as_string().and_then(|id| id.parse().ok());
        let Some(queue) = queue else { continue };
        let left = app.redis.command("LLEN", &[store::buffer(space, queue).as_str()]).await?;
        if left.as_i64() != Some(0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// People in the busy queues of some shards, for the metrics.
pub async fn count_people(app: &App, shards: impl IntoIterator<Item = Shard>) -> Result<(i64, i64), Error> {
    let (mut waiting, mut active) = (0, 0);
    for shard in shards {
        for queue in busy(app, shard).await? {
            if let Ok(stats) = super::ops::stats(app, queue).await {
                waiting += stats.waiting;
                active += stats.active;
            }
        }
    }
    Ok((waiting, active))
}
