//! Coupons that are generated in the background, by whichever instance has time: a chunk is made by all cores
//! while the one before it is stored. A chunk and the progress that counts it are one transaction, so whoever
//! goes on after a crash makes each coupon once.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;

use super::codes::{self, Codes};
use super::model::{Batch, BatchStarted, CreateBatch};
use super::ops::{missing, used_up};
use super::table;
use super::table::bulk::{self, Work};
use crate::app::{App, AppState};
use crate::audit;
use crate::audit::model::Act;
use crate::error::{Code, Error};
use crate::http::identity::Actor;
use crate::ids::{BatchId, CampaignId};
use crate::journal::{IdempotencyKey, Request};
use crate::metrics;

/// Coupons that are stored together.
const CHUNK: i64 = 100_000;
/// How long a batch stays with an instance that does not get on with it.
const LEASE: Duration = Duration::from_secs(60);
/// Pause between two looks for batches that nobody works on.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Codes that a stream gives at once.
const STREAMED: i64 = 2_000;

/// Begins a batch of coupons, which expire with their campaign's.
pub async fn begin(
    app: &App,
    by: &Actor,
    campaign: CampaignId,
    body: &CreateBatch,
    key: IdempotencyKey,
) -> Result<(BatchStarted, bool), Error> {
    let request = Request::new(by.me.user, "coupons.batch", campaign, body, Some(key));
    let batch = BatchId::mint();
    let act = Act::new(by, format_args!("coupon-campaigns/{campaign}/batches/{batch}"), Some(body));
    let (version, count, now) = (app.codes.newest()?, body.count, app.clock.now());
    let name = (request.op, request.operation);
    let done = app.journal.once(&request, 202, |pg| {
        Box::pin(async move {
            let (ordinal, expires_at) = table::ordinal(&mut *pg, campaign).await?.ok_or_else(missing)?;
            let first = table::keys::take_numbers(&mut *pg, ordinal, count).await?.ok_or_else(used_up)?;
            let run = uuid::Uuid::nil();
            let work = Work { batch, run, ordinal, first, count, done: 0, version, expires_at };
            bulk::begin(&mut *pg, &work).await?;
            audit::table::record(pg, name, &act, None, now).await?;
            Ok(BatchStarted { batch_id: batch })
        })
    });
    let done = done.await?;
    app.batch_begun.notify_one();
    Ok(done)
}

/// How far it is.
pub async fn get(app: &App, id: BatchId) -> Result<(Batch, Work), Error> {
    let found = bulk::batch(&app.pool, id).await?;
    found.ok_or_else(|| Error::because(Code::NotFound, "There is no batch with this id."))
}

/// The codes that are there, grouped for reading, a line each; they are made again as they are sent.
pub fn lines(codes: Arc<Codes>, work: Work) -> BoxStream<'static, Result<String, Error>> {
    let end = work.first + work.done;
    let starts = (work.first..end).step_by(STREAMED as usize);
    let chunk = move |from: i64| {
        let (codes, ordinal, version) = (codes.clone(), work.ordinal, work.version);
        async move {
            let made = move || bulk::codes(&codes, ordinal, from..end.min(from + STREAMED), version);
            let made = tokio::task::spawn_blocking(made).await.map_err(Error::internal)??;
            Ok(made.iter().map(|code| codes::grouped(code) + "\n").collect::<String>())
        }
    };
    futures::stream::iter(starts).then(chunk).boxed()
}

/// Works on batches until the task ends.
pub async fn keep(app: AppState) {
    loop {
        match bulk::take(&app.pool, LEASE).await {
            Ok(Some(work)) => {
                if let Err(error) = run(&app, work.clone()).await {
                    tracing::warn!(batch = %work.batch, %error, "generating coupons");
                    if matches!(error, Error::Internal(_)) {
                        drop(bulk::fail(&app.pool, &work).await);
                    }
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "looking for batches of coupons"),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = app.batch_begun.notified() => {}
        }
    }
}

async fn run(app: &App, mut work: Work) -> Result<(), Error> {
    app.codes.learn(&mut *app.pool.acquire().await?, &[work.version]).await?;
    let mut next = make(app.codes.clone(), &work, work.done);
    while work.done < work.count {
        let chunk = next.await?;
        let more = chunk.len() as i64;
        next = make(app.codes.clone(), &work, work.done + more);
        let mut tx = app.pool.begin().await?;
        bulk::copy(&mut tx, work.ordinal, &chunk, work.expires_at).await?;
        if !bulk::advance(&mut tx, &work, more, LEASE).await? {
            return Ok(());
        }
        tx.commit().await?;
        work.done += more;
        metrics::coupon("generated", more as u64);
    }
    tracing::info!(batch = %work.batch, count = work.count, "coupons are generated");
    Ok(())
}

/// The chunk after `done`, made by two threads and sorted: neighbours go to the same pages of the index.
fn make(
    codes: Arc<Codes>,
    work: &Work,
    done: i64,
) -> impl Future<Output = Result<Vec<(String, i64)>, Error>> + use<> {
    let (ordinal, version) = (work.ordinal, work.version);
    let from = work.first + done;
    let to = (work.first + work.count).min(from + CHUNK);
    let middle = from + (to - from) / 2;
    let parts = [from..middle, middle..to].map(|numbers| {
        let codes = codes.clone();
        tokio::task::spawn_blocking(move || {
            let made = bulk::codes(&codes, ordinal, numbers.clone(), version)?;
            let mut made: Vec<(String, i64)> = made.into_iter().zip(numbers).collect();
            made.sort_unstable();
            Ok::<_, Error>(made)
        })
    });
    async move {
        let [first, second] = parts;
        let mut made = first.await.map_err(Error::internal)??;
        made.extend(second.await.map_err(Error::internal)??);
        Ok(made)
    }
}
