//! Joins, many in a call: who comes while a call is under way goes in with the next. A call costs Redis much
//! the same for one as for many.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::store;
use crate::batch::Batcher;
use crate::error::Error;
use crate::ids::{QueueId, UserId};
use crate::journal::Journal;
use crate::journal::desk::NEXT_AFTER;
use crate::redis::{Reply, Shard, Space};

/// Users whom one call lets join; it runs for less than half a millisecond.
const JOIN_MAX: usize = 128;
/// How long a call may take, with learning a new epoch and trying again.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who wants a place where.
type Asked = (QueueId, UserId);

/// What the script said to one user, and the queue's measured pace and set rate.
pub struct Answer {
    /// `joined`, `found`, `active`, or a refusal.
    pub reply: Reply,
    /// Admissions a second, as measured.
    pub pace: f64,
    /// Admissions a second, as set, in tenths.
    pub rate_tenths: i64,
}

/// One for each shard, so that none waits for another.
pub struct Door(Vec<Batcher<Asked, Result<Answer, Reply>>>);

impl Door {
    /// Starts its tasks, which end with it. Joins are refused when the shard is behind by more than `gate`.
    pub fn open(journal: &Arc<Journal>, gate: Duration) -> Self {
        let of_shard = |shard: Shard| {
            let journal = journal.clone();
            Batcher::spawn_overlapping(JOIN_MAX, PATIENCE, NEXT_AFTER, move |asked: Vec<Asked>| {
                let journal = journal.clone();
                async move { join_all(&journal, shard, &asked, gate.as_millis()).await }
            })
        };
        Self(journal.shards.all().map(of_shard).collect())
    }

    /// Takes a place, or finds it. The reply of a queue that is not there stands for the error.
    pub async fn join(
        &self,
        shard: Shard,
        queue: QueueId,
        user: UserId,
    ) -> Result<Result<Answer, Reply>, Error> {
        self.0[usize::from(shard.0)].ask((queue, user)).await
    }
}

/// Asks once for each queue; answers in the order of the questions.
async fn join_all(
    journal: &Journal,
    shard: Shard,
    asked: &[Asked],
    gate: u128,
) -> Result<Vec<Result<Answer, Reply>>, Error> {
    let mut by_queue: BTreeMap<QueueId, Vec<usize>> = BTreeMap::new();
    for (at, (queue, _)) in asked.iter().enumerate() {
        by_queue.entry(*queue).or_default().push(at);
    }
    let mut answers: Vec<Option<Result<Answer, Reply>>> = asked.iter().map(|_| None).collect();
    for (queue, places) in by_queue {
        let users = places.iter().map(|at| asked[*at].1.to_string()).collect::<Vec<_>>().join(",");
        let script = |space: &Space| store::join(space, queue, users.clone(), gate);
        let reply = journal.ask(shard, script).await?;
        if reply.word() != "done" {
            places.into_iter().for_each(|at| answers[at] = Some(Err(reply.clone())));
            continue;
        }
        let (pace, rate_tenths) = (reply.parse(0)?, reply.int(1)?);
        for (at, reply) in places.into_iter().zip(reply.answers(2)?) {
            answers[at] = Some(Ok(Answer { reply, pace, rate_tenths }));
        }
    }
    let missing = || Error::internal("queue/join left somebody without an answer");
    answers.into_iter().map(|answer| answer.ok_or_else(missing)).collect()
}
