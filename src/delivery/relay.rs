//! Carries messages from the outbox to an endpoint. Every instance runs one for each endpoint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::settings::{Delivery, Endpoint};
use super::sink::{Failure, Sink, wire_id};
use super::table::breaker::{self, Breaker};
use super::table::operator::backlog;
use super::table::{self, Ended, Failed, Message};
use crate::error::Error;
use crate::metrics;

/// Lanes of an endpoint that an instance works on at once.
const FLYING_MAX: usize = 64;
/// Room that is worth asking for more.
const ROOM_MIN: usize = 16;
/// Pause between two looks when there is nothing to do.
const IDLE: Duration = Duration::from_millis(200);
/// Pause after Postgres failed.
const PAUSE: Duration = Duration::from_secs(1);
/// How long Postgres may take.
const STEP_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks at how much waits.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// What came of a lane: tries in order, of which only the last may have failed.
struct Landed {
    aggregate: Uuid,
    claim: Uuid,
    is_trial: bool,
    tries: Vec<(Message, Duration, Result<u16, Failure>)>,
}

/// The relay of one endpoint.
pub struct Relay {
    pool: PgPool,
    delivery: Arc<Delivery>,
    name: String,
    sink: Arc<Sink>,
    flying: JoinSet<Landed>,
    landed: Vec<Landed>,
    /// Lanes that may be worked on at once: halved when something fails, doubled when nothing does.
    pace: usize,
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
            landed: Vec::new(),
            pace: FLYING_MAX,
            measured: None,
        })
    }

    /// Steps until stopped; then what is under way is waited for and noted.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let stepped = tokio::time::timeout(STEP_MAX, self.step()).await;
            let pause = match stepped.unwrap_or_else(|_| Err(Error::unavailable("postgres is slow"))) {
                Ok(true) => continue,
                Ok(false) => IDLE,
                Err(error) => {
                    tracing::debug!(endpoint = self.name, %error, "the relay");
                    PAUSE
                }
            };
            tokio::select! {
                Some(Ok(landed)) = self.flying.join_next() => self.landed.push(landed),
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        let all_land = async {
            while let Some(landed) = self.flying.join_next().await {
                self.landed.extend(landed);
            }
        };
        let in_time = tokio::time::timeout(self.delivery.timeout(), all_land).await;
        if in_time.is_err() || self.note().await.is_err() {
            tracing::warn!(endpoint = self.name, "some messages may be delivered twice");
        }
    }

    /// Notes what has landed and launches what is due. False when there was nothing to do.
    pub async fn step(&mut self) -> Result<bool, Error> {
        while let Some(landed) = self.flying.try_join_next() {
            self.landed.extend(landed);
        }
        let noted = !self.landed.is_empty();
        self.note().await?;
        if self.measured.is_none_or(|then| then.elapsed() >= MEASURE_EVERY) {
            self.measured = Some(Instant::now());
            metrics::delivery_backlog(&self.name, &backlog(&self.pool, &self.name).await?);
        }
        Ok(self.launch().await? || noted)
    }

    async fn launch(&mut self) -> Result<bool, Error> {
        let room = self.pace.saturating_sub(self.flying.len());
        if room < ROOM_MIN.min(self.pace) {
            return Ok(false);
        }
        let (looked, lease) = (Instant::now(), self.delivery.lease());
        let standing = breaker::look(&self.pool, &self.name).await?;
        metrics::delivery_breaker(&self.name, standing == Breaker::Open);
        let is_trial = match standing {
            Breaker::Closed => false,
            Breaker::Open => return Ok(false),
            Breaker::Trial if !self.flying.is_empty() => return Ok(false),
            Breaker::Trial if !breaker::take_trial(&self.pool, &self.name, lease).await? => return Ok(false),
            Breaker::Trial => true,
        };
        let lanes = if is_trial { 1 } else { room };
        let (claim, claimed) = table::claim(&self.pool, &self.name, lanes, lease).await?;
        if claimed.is_empty() && is_trial {
            breaker::return_trial(&self.pool, &self.name).await?;
        }
        // A process that was stopped meanwhile leaves them to others.
        if claimed.is_empty() || looked.elapsed() > lease / 4 {
            return Ok(false);
        }
        for (aggregate, messages) in claimed {
            let (sink, until) = (self.sink.clone(), looked + lease / 2);
            self.flying.spawn(async move {
                let tries = work(&sink, messages, if is_trial { 1 } else { usize::MAX }, until).await;
                Landed { aggregate, claim, is_trial, tries }
            });
        }
        Ok(true)
    }

    /// Writes down what came of lanes. Where that fails they are worked on again: their claims lapse.
    async fn note(&mut self) -> Result<(), Error> {
        let landed = std::mem::take(&mut self.landed);
        if landed.is_empty() {
            return Ok(());
        }
        let is_trial = landed.iter().any(|lane| lane.is_trial);
        let (mut away, mut there) = (0, 0);
        for (_, took, outcome) in landed.iter().flat_map(|lane| &lane.tries) {
            metrics::delivery_tried(&self.name, *took, outcome.is_ok());
            let is_away = outcome.as_ref().err().is_some_and(|failure| failure.is_endpoints);
            *(if is_away { &mut away } else { &mut there }) += 1;
        }
        let mut rest = Duration::ZERO;
        if there > 0 {
            breaker::close(&self.pool, &self.name).await?;
        } else if let Some(open) =
            breaker::fail(&self.pool, &self.name, away, is_trial, self.delivery.breaker()).await?
        {
            let seconds = open.as_secs_f64();
            tracing::warn!(
                endpoint = self.name,
                seconds,
                "the endpoint does not answer: its breaker is open"
            );
            rest = open;
        }
        self.pace = if away == 0 { (self.pace * 2).min(FLYING_MAX) } else { (self.pace / 2).max(1) };
        let ended: Vec<Ended> = landed.iter().map(|lane| self.judge(lane, rest)).collect();
        table::note(&self.pool, &self.name, &ended).await?;
        landed.iter().zip(&ended).for_each(|(lane, ended)| self.tell(lane, ended));
        Ok(())
    }

    /// What follows from a lane's tries. A breaker's trial that says nothing of the message does not count,
    /// and leaves the next trials to other lanes.
    fn judge(&self, lane: &Landed, rest: Duration) -> Ended {
        let arrived = lane.tries.iter().filter(|(_, _, outcome)| outcome.is_ok());
        let failed = lane.tries.last().and_then(|(message, _, outcome)| {
            let failure = outcome.as_ref().err()?;
            let counts = !(lane.is_trial && failure.is_endpoints);
            let pause = match self.delivery.pause(message.attempts + 1) {
                _ if !counts => Some(rest * 2),
                pause => pause.map(|pause| pause.max(failure.not_before)),
            };
            Some(Failed { message_id: message.message_id, why: failure.why.clone(), counts, pause })
        });
        Ended {
            aggregate: lane.aggregate,
            claim: lane.claim,
            arrived: arrived.map(|(message, ..)| message.message_id).collect(),
            failed,
        }
    }

    /// A line each in the log, and the metrics.
    fn tell(&self, lane: &Landed, ended: &Ended) {
        let endpoint = &self.name;
        for (message, took, outcome) in &lane.tries {
            let (id, kind, tries) = (wire_id(message.message_id), &message.kind, message.attempts + 1);
            let ms = took.as_millis() as u64;
            match (outcome, ended.failed.as_ref().and_then(|failed| failed.pause)) {
                (Ok(status), _) => {
                    let lag = (Utc::now() - message.at).to_std().unwrap_or_default();
                    metrics::delivery_lag(endpoint, lag);
                    let lag_ms = lag.as_millis() as u64;
                    tracing::info!(target: "onrush::delivery", id, endpoint, kind, status, tries, ms, lag_ms,
                        "delivered");
                }
                (Err(Failure { why, .. }), Some(pause)) => {
                    let seconds = pause.as_secs_f64();
                    tracing::info!(target: "onrush::delivery", id, endpoint, kind, tries, ms, why, seconds,
                        "not delivered yet");
                }
                (Err(Failure { why, .. }), None) => {
                    metrics::delivery_dead(endpoint);
                    tracing::warn!(target: "onrush::delivery", id, endpoint, kind, tries, ms, why, "dead");
                }
            }
        }
    }
}

/// Sends a lane's messages one after the other, until one fails or the time is over.
async fn work(
    sink: &Sink,
    messages: Vec<Message>,
    most: usize,
    until: Instant,
) -> Vec<(Message, Duration, Result<u16, Failure>)> {
    let mut tries = Vec::new();
    for message in messages.into_iter().take(most) {
        let began = Instant::now();
        if began > until {
            break;
        }
        let outcome = sink.send(&message).await;
        let failed = outcome.is_err();
        tries.push((message, began.elapsed(), outcome));
        if failed {
            break;
        }
    }
    tries
}

/// Relays to each endpoint until stopped.
pub async fn keep(pool: PgPool, delivery: Arc<Delivery>, stop: CancellationToken) {
    let mut relays = JoinSet::new();
    for endpoint in &delivery.endpoints {
        match Relay::new(pool.clone(), delivery.clone(), endpoint) {
            Ok(relay) => drop(relays.spawn(relay.run(stop.clone()))),
            Err(error) => tracing::error!(endpoint = endpoint.name, %error, "this endpoint is told nothing"),
        }
    }
    while relays.join_next().await.is_some() {}
}
