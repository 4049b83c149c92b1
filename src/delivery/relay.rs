//! Carries messages from the outbox to an endpoint. Every instance runs one for each endpoint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::settings::{Delivery, Endpoint};
use super::sink::{Failure, Sink, wire_id};
use super::table::operator::backlog;
use super::table::{self, Claimed, Failed, breaker};
use crate::error::Error;
use crate::metrics;

/// Messages of an endpoint that an instance tries at once.
const FLYING_MAX: usize = 64;
/// Room that is worth asking for more.
const ROOM_MIN: usize = 16;
/// Pause between two looks when there is nothing to do.
const IDLE: Duration = Duration::from_millis(200);
/// Pause after Postgres failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause between two looks at how much waits.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// A try that has ended.
struct Tried {
    message: Claimed,
    took: Duration,
    outcome: Result<u16, Failure>,
    is_trial: bool,
}

/// The relay of one endpoint.
pub struct Relay {
    pool: PgPool,
    delivery: Arc<Delivery>,
    name: String,
    sink: Arc<Sink>,
    flying: JoinSet<Tried>,
    done: Vec<Tried>,
    measured: Option<Instant>,
}

impl Relay {
    /// One that has not begun.
    pub fn new(pool: PgPool, delivery: Arc<Delivery>, endpoint: &Endpoint) -> anyhow::Result<Self> {
        Ok(Self {
            pool,
            name: endpoint.name.clone(),
            sink: Arc::new(Sink::new(endpoint, &delivery)?),
            delivery,
            flying: JoinSet::new(),
            done: Vec::new(),
            measured: None,
        })
    }

    /// Steps until stopped; then what is under way is waited for and noted.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pause = match self.step().await {
                Ok(true) => continue,
                Ok(false) => IDLE,
                Err(error) => {
                    tracing::debug!(endpoint = self.name, %error, "the relay");
                    PAUSE
                }
            };
            tokio::select! {
                Some(Ok(tried)) = self.flying.join_next() => self.done.push(tried),
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        let landed = async {
            while let Some(tried) = self.flying.join_next().await {
                self.done.extend(tried);
            }
        };
        let in_time = tokio::time::timeout(self.delivery.timeout(), landed).await;
        if in_time.is_err() || self.note().await.is_err() {
            tracing::warn!(endpoint = self.name, "some messages may be delivered twice");
        }
    }

    /// Notes what has ended and launches what is due. False when there was nothing to do.
    pub async fn step(&mut self) -> Result<bool, Error> {
        while let Some(tried) = self.flying.try_join_next() {
            self.done.extend(tried);
        }
        let noted = !self.done.is_empty();
        self.note().await?;
        if self.measured.is_none_or(|then| then.elapsed() >= MEASURE_EVERY) {
            self.measured = Some(Instant::now());
            metrics::delivery_backlog(&self.name, &backlog(&self.pool, &self.name).await?);
        }
        Ok(self.launch().await? || noted)
    }

    async fn launch(&mut self) -> Result<bool, Error> {
        let room = FLYING_MAX - self.flying.len();
        if room < ROOM_MIN {
            return Ok(false);
        }
        let (looked, lease) = (Instant::now(), self.delivery.lease());
        let standing = breaker::look(&self.pool, &self.name).await?;
        metrics::delivery_breaker(&self.name, standing.is_open);
        let is_trial = standing.failures >= self.delivery.breaker_failures;
        if standing.is_open || is_trial && !self.flying.is_empty() {
            return Ok(false);
        }
        if is_trial && !breaker::take_trial(&self.pool, &self.name, lease).await? {
            return Ok(false);
        }
        let limit = if is_trial { 1 } else { room };
        let claimed = table::claim(&self.pool, &self.name, limit, lease).await?;
        if claimed.is_empty() && is_trial {
            breaker::set(&self.pool, &self.name, standing.failures).await?;
        }
        // A process that was stopped meanwhile leaves them to others.
        if claimed.is_empty() || looked.elapsed() > lease / 4 {
            return Ok(false);
        }
        for message in claimed {
            let sink = self.sink.clone();
            self.flying.spawn(async move {
                let began = Instant::now();
                let outcome = sink.send(&message).await;
                Tried { message, took: began.elapsed(), outcome, is_trial }
            });
        }
        Ok(true)
    }

    /// Writes down what came of tries. Where that fails they are made again: their claims lapse.
    async fn note(&mut self) -> Result<(), Error> {
        let tried = std::mem::take(&mut self.done);
        if tried.is_empty() {
            return Ok(());
        }
        tried.iter().for_each(|one| metrics::delivery_tried(&self.name, one.took, one.outcome.is_ok()));
        let is_trial = tried.iter().any(|one| one.is_trial);
        let is_there = |one: &Tried| one.outcome.as_ref().err().is_none_or(|failure| !failure.is_endpoints);
        let away = tried.iter().filter(|one| !is_there(one)).count() as i64;
        let (arrived, lost): (Vec<_>, Vec<_>) = tried.into_iter().partition(|one| one.outcome.is_ok());
        let positions: Vec<i64> = arrived.iter().map(|one| one.message.position).collect();
        table::delivered(&self.pool, &positions).await?;
        arrived.iter().for_each(|one| self.told(one));
        if away < (arrived.len() + lost.len()) as i64 {
            breaker::set(&self.pool, &self.name, 0).await?;
        }
        let mut rest = Duration::ZERO;
        if away > 0
            && let Some(failures) = breaker::add_failures(&self.pool, &self.name, away, is_trial).await?
            && let Some(pause) = self.delivery.open_for(failures)
        {
            rest = pause;
            tracing::warn!(endpoint = self.name, failures, seconds = pause.as_secs_f64(), "breaker open");
            breaker::open(&self.pool, &self.name, pause).await?;
        }
        let failed: Vec<Failed> = lost.into_iter().filter_map(|one| self.judge(one, rest)).collect();
        table::failed(&self.pool, &failed).await
    }

    /// A try that failed: the next one, or the end. A breaker's trial that says nothing of the message does
    /// not count, and leaves the next trial to another message.
    fn judge(&self, tried: Tried, rest: Duration) -> Option<Failed> {
        let Tried { message, outcome, is_trial, .. } = tried;
        let failure = outcome.err()?;
        let counts = !(is_trial && failure.is_endpoints);
        let tries = message.attempts + i32::from(counts);
        let pause = if counts { self.delivery.pause(tries) } else { Some(rest * 2) };
        let (id, why) = (wire_id(message.message_id), &failure.why);
        let (endpoint, kind) = (&self.name, &message.kind);
        match pause {
            Some(pause) => {
                let seconds = pause.as_secs_f64();
                tracing::info!(target: "onrush::delivery", id, endpoint, kind, tries, why, seconds, "later");
            }
            None => {
                metrics::delivery_dead(endpoint);
                tracing::warn!(target: "onrush::delivery", id, endpoint, kind, tries, why, "dead");
            }
        }
        Some(Failed { why: failure.why, message, counts, pause })
    }

    fn told(&self, tried: &Tried) {
        let Tried { message, took, outcome, .. } = tried;
        let lag = (Utc::now() - message.at).to_std().unwrap_or_default();
        metrics::delivery_lag(&self.name, lag);
        let (id, status) = (wire_id(message.message_id), outcome.as_ref().ok());
        let (endpoint, kind, tries) = (&self.name, &message.kind, message.attempts + 1);
        let (ms, lag) = (took.as_millis() as u64, lag.as_millis() as u64);
        tracing::info!(target: "onrush::delivery", id, endpoint, kind, status, tries, ms, lag, "delivered");
    }
}

/// Registers the endpoints and relays to each until stopped.
pub async fn keep(pool: PgPool, delivery: Arc<Delivery>, stop: CancellationToken) {
    while let Err(error) = table::register(&pool, &delivery.endpoints).await {
        tracing::warn!(%error, "registering the endpoints of delivery");
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return,
        }
    }
    let mut relays = JoinSet::new();
    for endpoint in &delivery.endpoints {
        match Relay::new(pool.clone(), delivery.clone(), endpoint) {
            Ok(relay) => drop(relays.spawn(relay.run(stop.clone()))),
            Err(error) => tracing::error!(endpoint = endpoint.name, %error, "this endpoint is told nothing"),
        }
    }
    while relays.join_next().await.is_some() {}
}
