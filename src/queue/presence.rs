//! Marks of who polled: gathered here, carried to Redis a few times a second, so that a poll costs it
//! nothing.
//!
//! Who waits is marked by his number, once in [`REPEAT_AFTER_MS`] however often he polls; who is in, by his
//! name, which tells Redis that the pass is in use.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::store;
use super::ticket::Ticket;
use crate::app::App;
use crate::error::Error;
use crate::ids::{QueueId, UserId};
use crate::redis::Space;

/// A number that was marked is marked again after this: who polled counts as having polled so much earlier,
/// at most.
pub const REPEAT_AFTER_MS: i64 = 4_000;
/// Marks that one call carries.
const CARRY_MAX: usize = 500;
/// Users who are in and wait to be marked, of one queue; more are dropped, and the next poll marks again.
const INSIDE_MAX: usize = 200_000;

/// A set of numbers, a bit each, in blocks of 4 096.
#[derive(Debug, Default)]
struct Numbers(HashMap<i64, Box<[u64; 64]>>);

impl Numbers {
    /// True when it was not in it.
    fn insert(&mut self, number: i64) -> bool {
        let block = self.0.entry(number >> 12).or_insert_with(|| Box::new([0; 64]));
        let (word, bit) = (&mut block[(number >> 6 & 63) as usize], 1 << (number & 63));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

#[derive(Debug, Default)]
struct Marks {
    /// Marked since the first time that some were carried.
    marked: Numbers,
    since_ms: Option<i64>,
    waiting: Vec<i64>,
    inside: HashSet<UserId>,
}

/// Who polled since the marks were last carried to Redis.
#[derive(Debug, Default)]
pub struct Presence(Mutex<HashMap<QueueId, Marks>>);

impl Presence {
    fn marks(&self) -> MutexGuard<'_, HashMap<QueueId, Marks>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This number is there, and waits.
    pub fn waits(&self, queue: QueueId, number: i64) {
        let mut queues = self.marks();
        let marks = queues.entry(queue).or_default();
        if marks.marked.insert(number) {
            marks.waiting.push(number);
        }
    }

    /// Whoever has this ticket is there, and in.
    pub fn is_in(&self, ticket: &Ticket) {
        let mut queues = self.marks();
        let marks = queues.entry(ticket.queue).or_default();
        if marks.inside.len() < INSIDE_MAX {
            marks.inside.insert(ticket.user);
        }
    }

    /// What is to be carried; what was marked long ago is forgotten, with queues that nobody polls.
    fn take(&self, now_ms: i64) -> Vec<(QueueId, Vec<i64>, Vec<UserId>)> {
        let mut queues = self.marks();
        let mut taken = Vec::new();
        queues.retain(|queue, marks| {
            let (waiting, inside) = (std::mem::take(&mut marks.waiting), std::mem::take(&mut marks.inside));
            if !(waiting.is_empty() && inside.is_empty()) {
                taken.push((*queue, waiting, inside.into_iter().collect()));
            }
            // Also where the clock went back.
            (0..REPEAT_AFTER_MS).contains(&(now_ms - *marks.since_ms.get_or_insert(now_ms)))
        });
        taken
    }
}

/// Carries the marks to Redis, of each queue for itself. What is lost is marked again by the next poll. Fails
/// with the last error, if there was any.
pub async fn carry_marks(app: &App) -> Result<(), Error> {
    let mut failed = Ok(());
    for (queue, numbers, users) in app.presence.take(app.clock.now_ms()) {
        if let Err(error) = carry_all(app, queue, &numbers, &users).await {
            app.presence.marks().remove(&queue);
            failed = Err(error);
        }
    }
    failed
}

/// The same for what is given.
pub async fn carry_all(app: &App, queue: QueueId, numbers: &[i64], users: &[UserId]) -> Result<(), Error> {
    for numbers in numbers.chunks(CARRY_MAX) {
        carry(app, queue, numbers, &[]).await?;
    }
    for users in users.chunks(CARRY_MAX) {
        carry(app, queue, &[], users).await?;
    }
    Ok(())
}

async fn carry(app: &App, queue: QueueId, numbers: &[i64], users: &[UserId]) -> Result<(), Error> {
    let script = |space: &Space| store::Seen {
        room: store::room(space, queue),
        waiting: store::waiting(space, queue),
        line: store::line(space, queue),
        presence: store::presence(space, queue),
        fresh: store::fresh(space, queue),
        numbers: listed(numbers),
        users: listed(users),
    };
    app.journal.ask(super::ops::shard(app, queue), script).await?;
    Ok(())
}

fn listed(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_carried_once_in_a_while() {
        let (presence, queue) = (Presence::default(), QueueId::mint());
        for number in [1, 64, 4_095, 4_096, 1_000_001, 1, 64] {
            presence.waits(queue, number);
        }
        let taken = presence.take(0);
        assert_eq!(taken[0].1, [1, 64, 4_095, 4_096, 1_000_001]);
        presence.waits(queue, 1);
        assert!(presence.take(3_999).is_empty() && presence.take(4_000).is_empty());
        presence.waits(queue, 1);
        assert_eq!(presence.take(4_001)[0].1, [1]);
        assert!(presence.take(0).is_empty(), "the clock went back");
        presence.waits(queue, 1);
        assert_eq!(presence.take(1)[0].1, [1]);
    }
}
