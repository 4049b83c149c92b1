//! Calls of scripts that journal, many in a run: what is called while a run is under way goes in with the
//! next. A run costs Redis and the connection much the same for one call as for many; each call in it decides
//! for itself, in order, as if it had come alone.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::Batcher;
use crate::redis::script::RUN_ARGS;
use crate::redis::{Call, Redis, RedisError, Reply, Shard};

/// Calls of one run, which takes less than about two milliseconds.
const CALLS_MAX: usize = 64;
/// How long a call may take; Redis has a shorter limit of its own.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// Runs that take longer do not hold up the next.
pub const NEXT_AFTER: Duration = Duration::from_millis(20);

impl Call {
    /// Whether both can be made in one run: by the same script, about the same keys, at one time.
    fn goes_with(&self, other: &Call) -> bool {
        self.source.name == other.source.name
            && self.args[..RUN_ARGS] == other.args[..RUN_ARGS]
            && self.keys == other.keys
    }
}

/// A queue of calls for each shard, so that none waits for another.
pub struct Desk(Vec<Batcher<Call, Result<Reply, RedisError>>>);

impl Desk {
    /// Starts its tasks, which end with it.
    pub fn open(redis: &Arc<Redis>, shards: impl Iterator<Item = Shard>) -> Self {
        let of_shard = |_| {
            let redis = redis.clone();
            Batcher::spawn_overlapping(CALLS_MAX, PATIENCE, NEXT_AFTER, move |calls: Vec<Call>| {
                let redis = redis.clone();
                async move { Ok(run_all(&redis, calls).await) }
            })
        };
        Self(shards.map(of_shard).collect())
    }

    /// Makes a call.
    pub async fn call(&self, shard: Shard, call: Call) -> Result<Reply, RedisError> {
        let asked = self.0[usize::from(shard.0)].ask(call).await;
        asked.unwrap_or_else(|error| Err(RedisError::Unknown(error.to_string())))
    }
}

/// Runs that have nothing in common go out together.
async fn run_all(redis: &Redis, calls: Vec<Call>) -> Vec<Result<Reply, RedisError>> {
    let mut answers: Vec<Result<Reply, RedisError>> =
        calls.iter().map(|_| Err(RedisError::Broken("a call was left out".into()))).collect();
    let mut runs: Vec<(Call, Vec<usize>)> = Vec::new();
    for (at, call) in calls.into_iter().enumerate() {
        match runs.iter_mut().find(|(first, _)| first.goes_with(&call)) {
            Some((first, places)) => {
                first.args.extend(call.args.into_iter().skip(RUN_ARGS));
                places.push(at);
            }
            None => runs.push((call, vec![at])),
        }
    }
    let runs = runs.into_iter().map(async |(run, places)| (redis.call_many(run, places.len()).await, places));
    for (ended, places) in futures::future::join_all(runs).await {
        match ended {
            Ok(replies) => places.into_iter().zip(replies).for_each(|(at, reply)| answers[at] = Ok(reply)),
            Err(error) => places.into_iter().for_each(|at| answers[at] = Err(error.clone())),
        }
    }
    answers
}
