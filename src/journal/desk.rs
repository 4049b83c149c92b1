//! Calls of scripts that take many in a run: what is called while runs are under way goes in with the next.
//! A run costs Redis and the connection much the same for one call as for many; each call in it decides for
//! itself, in order, as if it had come alone.
//!
//! One desk for all shards, so that their runs leave together: a Redis that is woken for each of sixteen runs
//! takes twice the time for them, with caches that hold what others did meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::ids::InstanceId;
use crate::redis::{Args, Key, Redis, RedisError, Reply, Run, Source};

/// Calls of one run, which takes less than about two milliseconds.
const CALLS_MAX: usize = 64;
/// Calls that leave together.
const TOGETHER_MAX: usize = 1_024;
/// Calls that may wait; beyond them `call` waits for room.
const WAITING_MAX: usize = 10_000;
/// How long a call may wait for room. From then on it is answered soon: what waits leaves every
/// [`NEXT_AFTER`], and Redis has a limit of its own.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// Runs that take longer do not hold up the next.
pub const NEXT_AFTER: Duration = Duration::from_millis(20);

/// What the calls of a run have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Once {
    /// In which epoch its keys are named.
    pub epoch: u64,
    /// The time that a test says it is.
    pub clock: String,
    /// Of a script that journals.
    pub writes: Option<Writes>,
}

/// What the calls of a run of a script that journals have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Writes {
    /// Who calls.
    pub origin: InstanceId,
    /// How far behind Postgres may be, in milliseconds, or they are refused as busy.
    pub gate_ms: Option<u128>,
}

/// A call of a script that takes many.
#[derive(Debug)]
pub struct Call {
    /// Which script.
    pub source: &'static Source,
    /// Its keys.
    pub keys: Vec<Key>,
    /// What it may have in common with others.
    pub once: Once,
    /// When the operation of a script that journals was looked up, in milliseconds.
    pub asked_ms: i64,
    /// What it says for itself, packed.
    pub said: Bytes,
}

impl Call {
    fn goes_with(&self, other: &Call) -> bool {
        std::ptr::eq(self.source, other.source) && self.once == other.once && self.keys == other.keys
    }
}

type Answer = oneshot::Sender<Result<Reply, RedisError>>;

/// Where calls are handed in.
pub struct Desk(mpsc::Sender<(Call, Answer)>);

impl Desk {
    /// Starts its task, which ends with it.
    pub fn open(redis: &Arc<Redis>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        tokio::spawn(serve(redis.clone(), receiver));
        Self(sender)
    }

    /// Makes a call.
    pub async fn call(&self, call: Call) -> Result<Reply, RedisError> {
        let (answer, answered) = oneshot::channel();
        if let Err(mpsc::error::TrySendError::Full(waits)) = self.0.try_send((call, answer)) {
            let room = Box::pin(self.0.send_timeout(waits, PATIENCE)).await;
            room.map_err(|_| RedisError::Away("too many calls wait".into()))?;
        }
        answered.await.unwrap_or_else(|_| Err(RedisError::Unknown("nobody answers any more".into())))
    }
}

async fn serve(redis: Arc<Redis>, mut receiver: mpsc::Receiver<(Call, Answer)>) {
    let mut waiting = Vec::with_capacity(TOGETHER_MAX);
    while receiver.recv_many(&mut waiting, TOGETHER_MAX).await > 0 {
        // Who called may have given up while others were under way.
        let calls = waiting.drain(..).filter(|(_, answer)| !answer.is_closed());
        let runs = sorted(calls).into_iter().map(|run| make(redis.clone(), run));
        let running = tokio::spawn(futures::future::join_all(runs.collect::<Vec<_>>()));
        drop(tokio::time::timeout(NEXT_AFTER, running).await);
    }
}

/// Calls of one run, and who waits for each.
struct Together {
    first: Call,
    calls: Vec<Bytes>,
    answers: Vec<Answer>,
}

fn sorted(calls: impl Iterator<Item = (Call, Answer)>) -> Vec<Together> {
    let mut runs: Vec<Together> = Vec::new();
    for (mut call, answer) in calls {
        let said = std::mem::take(&mut call.said);
        let fits = |run: &&mut Together| run.calls.len() < CALLS_MAX && run.first.goes_with(&call);
        match runs.iter_mut().find(fits) {
            Some(run) => {
                // The oldest look-up speaks for all.
                run.first.asked_ms = run.first.asked_ms.min(call.asked_ms);
                run.calls.push(said);
                run.answers.push(answer);
            }
            None => runs.push(Together { first: call, calls: vec![said], answers: vec![answer] }),
        }
    }
    runs
}

/// Whoever does not wait any more is not answered.
async fn make(redis: Arc<Redis>, run: Together) {
    let Together { first: Call { source, keys, once, asked_ms, .. }, calls, answers } = run;
    let mut said = Args::default();
    said.push(once.epoch);
    said.push(once.clock);
    if let Some(writes) = once.writes {
        said.push(writes.origin);
        said.push(writes.gate_ms.map(|gate| gate.to_string()).unwrap_or_default());
        said.push(asked_ms);
    }
    match redis.call_many(Run { source, keys, once: said, calls }).await {
        Ok(replies) => {
            answers.into_iter().zip(replies).for_each(|(answer, reply)| drop(answer.send(Ok(reply))))
        }
        Err(error) => answers.into_iter().for_each(|answer| drop(answer.send(Err(error.clone())))),
    }
}
