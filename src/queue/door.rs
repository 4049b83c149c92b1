//! Joins, many in a call: who comes while a call is under way goes in with the next. A call costs Redis much
//! the same for one as for many.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::store;
use crate::batch::{Batcher, copy};
use crate::error::Error;
use crate::ids::{QueueId, UserId};
use crate::journal::desk::{NEXT_AFTER, PATIENCE};
use crate::journal::{Journal, refusal};
use crate::redis::{Reply, Shard, by_commas};

/// Users whom one call lets join; it runs for less than half a millisecond.
const JOIN_MAX: usize = 128;
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
pub struct Door(Vec<Batcher<Asked, Result<Answer, Error>>>);

impl Door {
    /// Starts its tasks, which end with it. Joins are refused when the shard is behind by more than `gate`.
    pub fn open(journal: &Arc<Journal>, gate: Duration) -> Self {
        let of_shard = |shard: Shard| {
            let journal = journal.clone();
            Batcher::spawn_overlapping(JOIN_MAX, PATIENCE, NEXT_AFTER, move |asked: Vec<Asked>| {
                let journal = journal.clone();
                async move { Ok(join_all(&journal, shard, &asked, gate.as_millis()).await) }
            })
        };
        Self(journal.shards.all().map(of_shard).collect())
    }

    /// Takes a place, or finds it.
    pub async fn join(&self, shard: Shard, queue: QueueId, user: UserId) -> Result<Answer, Error> {
        self.0[usize::from(shard.0)].ask((queue, user)).await?
    }
}

/// Asks once for each queue, of which none waits for another, or fails with it; answers in the order of the
/// questions.
async fn join_all(
    journal: &Journal,
    shard: Shard,
    asked: &[Asked],
    gate: u128,
) -> Vec<Result<Answer, Error>> {
    let mut by_queue: BTreeMap<QueueId, Vec<usize>> = BTreeMap::new();
    for (at, (queue, _)) in asked.iter().enumerate() {
        by_queue.entry(*queue).or_default().push(at);
    }
    let calls = by_queue.into_iter().map(async |(queue, places)| {
        let users: Vec<UserId> = places.iter().map(|at| asked[*at].1).collect();
        (join_one(journal, shard, queue, &users, gate).await, places)
    });
    let mut answers: Vec<_> = asked.iter().map(|_| Err(Error::internal("a join was left out"))).collect();
    for (called, places) in futures::future::join_all(calls).await {
        match called {
            Ok(replies) => places.into_iter().zip(replies).for_each(|(at, answer)| answers[at] = Ok(answer)),
            Err(error) => places.into_iter().for_each(|at| answers[at] = Err(copy(&error))),
        }
    }
    answers
}

async fn join_one(
    journal: &Journal,
    shard: Shard,
    queue: QueueId,
    users: &[UserId],
    gate: u128,
) -> Result<Vec<Answer>, Error> {
    let users = by_commas(users);
    let reply = journal.ask(shard, |space| store::join(space, queue, users.clone(), gate)).await?;
    if reply.word() != "done" {
        return Err(refusal(&reply));
    }
    let (pace, rate_tenths) = (reply.parse(0)?, reply.int(1)?);
    Ok(reply.answers(2)?.into_iter().map(|reply| Answer { reply, pace, rate_tenths }).collect())
}
