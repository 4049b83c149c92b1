//! Jobs of the calendar. The scheduler is an alarm only: it fires on every instance and forgets what it
//! missed, so each run is claimed in Postgres, and the last hour is run once at the start.

use chrono::{DateTime, DurationRound, Utc};
use tokio_cron_scheduler::{Job, JobScheduler};

use crate::app::AppState;
use crate::error::Error;
use crate::journal::table::upkeep;
use crate::{accounts, delivery, payments, ranking};

/// Each full hour.
const HOURLY: &str = "0 0 * * * *";
/// Batches of decisions that one run forgets, a shard.
const FORGET_ROUNDS: usize = 20;

/// Runs the calendar until the task ends.
pub async fn keep(app: AppState) {
    run_once(&app).await;
    let scheduler = match start(app).await {
        Ok(scheduler) => scheduler,
        Err(error) => {
            tracing::error!(%error, "the calendar cannot start");
            return;
        }
    };
    // Dropped with this task, which ends the alarms.
    std::future::pending::<()>().await;
    drop(scheduler);
}

async fn start(app: AppState) -> Result<JobScheduler, tokio_cron_scheduler::JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    let job = Job::new_async(HOURLY, move |_, _| {
        let app = app.clone();
        Box::pin(async move { run_once(&app).await })
    })?;
    scheduler.add(job).await?;
    scheduler.start().await?;
    Ok(scheduler)
}

async fn run_once(app: &AppState) {
    match upkeep_hour(app).await {
        Ok(Some(gone)) => tracing::info!(rows = gone, "the hour's upkeep is done"),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the hour's upkeep"),
    }
}

/// Makes partitions ahead and drops what is past keeping. `None` when another instance does it.
async fn upkeep_hour(app: &AppState) -> Result<Option<u64>, Error> {
    let now: DateTime<Utc> = app.clock.now();
    let hour = now.duration_trunc(chrono::Duration::hours(1)).unwrap_or(now);
    if !super::claim(app, "upkeep", hour).await? {
        return Ok(None);
    }
    upkeep::make_partitions(&app.pool, now.date_naive()).await?;
    let gone = upkeep::drop_old(&app.pool, now.date_naive()).await?;
    accounts::table::drop_session_changes(&app.pool).await?;
    ranking::table::drop_old(&app.pool, now).await?;
    delivery::table::operator::drop_old(&app.pool).await?;
    for (endpoint, hours) in delivery::table::operator::late(&app.pool).await? {
        tracing::warn!(
            endpoint,
            hours,
            "messages wait for delivery; does an instance still know the endpoint?"
        );
    }
    for shard in app.journal.shards.all() {
        for _ in 0..FORGET_ROUNDS {
            match payments::recovery::forget(app, shard).await {
                Ok(0) => break,
                Ok(_) => {}
                // One that is being rebuilt must not keep the others from it.
                Err(error) => {
                    tracing::warn!(%shard, %error, "forgetting decisions");
                    break;
                }
            }
        }
    }
    Ok(Some(gone))
}
