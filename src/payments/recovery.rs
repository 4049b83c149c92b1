//! Finishing payments that nobody drives any more: their instance died, or gave up waiting.

use uuid::Uuid;

use super::model::{Transfer, VOID};
use super::ops::{abort, conclude};
use super::{store, table};
use crate::app::App;
use crate::error::Error;
use crate::journal::Step;
use crate::metrics;
use crate::redis::{Shard, Space, by_commas};
use crate::sabotage::Defence;
use crate::wallet;

/// A transfer that is durable for so long and undecided is nobody's, unless a task here drives it.
const ABANDONED_AFTER_MS: i64 = 5_000;
/// Transfers that one step looks at.
const BATCH: i64 = 100;
/// Decisions that one step forgets.
const FORGET_MAX: i64 = 500;

/// One step: looks at the abandoned transfers of a user's shard that follow `after`, which moves on and
/// begins again at the end. How many were finished.
pub async fn recover(app: &App, shard: Shard, after: &mut Uuid) -> Result<usize, Error> {
    let mut finished = 0;
    let by_time = app.config.sabotage.lacks(Defence::Decision);
    let age_ms = if by_time { ABANDONED_AFTER_MS / 5 } else { ABANDONED_AFTER_MS };
    let found = table::abandoned(&app.pool, shard, age_ms, *after, BATCH).await?;
    *after = match found.last() {
        Some(last) if found.len() == BATCH as usize => last.op,
        _ => Uuid::nil(),
    };
    for transfer in found {
        if app.driven.contains(transfer.op) {
            continue;
        }
        match finish(app, &transfer).await {
            Ok(outcome) => {
                finished += 1;
                metrics::payment_recovered(outcome);
                tracing::info!(op = %transfer.op, outcome, "finished a payment that nobody drove");
            }
            Err(error) => tracing::warn!(op = %transfer.op, %error, "finishing a payment"),
        }
    }
    Ok(finished)
}

/// Asks the seats' shard, which says no where it said nothing, and does what follows.
async fn finish(app: &App, transfer: &Transfer) -> Result<&'static str, Error> {
    if app.config.sabotage.lacks(Defence::Decision) {
        let (user, payment) = (transfer.points.user, transfer.points.payment);
        wallet::ops::void(app, user, payment, &Step::exempt(transfer.op, VOID)).await?;
        return Ok("voided");
    }
    let decision = abort(app, transfer).await?;
    match conclude(app, transfer.points.user, &decision).await {
        Ok(_) => Ok("paid"),
        Err(Error::Refused(_)) => Ok("voided"),
        Err(error) => Err(error),
    }
}

/// One step: forgets decisions of a concert's shard that were closed a day ago.
pub async fn forget(app: &App, shard: Shard) -> Result<usize, Error> {
    let old = table::closed_long_ago(&app.pool, shard, FORGET_MAX).await?;
    if old.is_empty() {
        return Ok(0);
    }
    let transfers = by_commas(&old);
    let script =
        |space: &Space| store::Forget { decided: store::decided(space), transfers: transfers.clone() };
    app.journal.ask(shard, script).await?;
    table::drop_decisions(&app.pool, &old).await?;
    Ok(old.len())
}
