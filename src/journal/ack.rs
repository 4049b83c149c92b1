//! Waiting for Postgres: a handler is told yes only when its very entry (shard, epoch, number, hash) is
//! committed.
//!
//! Never "the cursor has passed my number": after a fork that number may be another's. On the writer's own
//! instance the news comes through memory, elsewhere by a message; messages are hints and may be lost, so
//! whoever still waits is also looked up in Postgres, in one query a tick.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::{Notify, oneshot};

use super::entry::{OpStep, Receipt};
use super::table::recall;
use crate::error::Error;
use crate::metrics;
use crate::redis::Shard;

/// How long a waiter trusts the writer's news before Postgres is asked, and the first pause between
/// questions.
const ASK_AFTER: Duration = Duration::from_millis(100);
/// The longest pause between questions.
const ASK_PAUSE_MAX: Duration = Duration::from_millis(800);
/// Waiters asked for in one query.
const ASK_MAX: usize = 1_000;

struct Waiter {
    id: u64,
    sender: oneshot::Sender<Receipt>,
    ask_at: Instant,
    pause: Duration,
}

/// Who waits for what.
#[derive(Default)]
pub struct Acks {
    waiting: Mutex<HashMap<OpStep, Vec<Waiter>>>,
    next_id: AtomicU64,
    hurry: Notify,
}

/// A registration, made before the script is called; dropping it ends it.
pub struct Pending {
    acks: Arc<Acks>,
    op: OpStep,
    id: u64,
    receiver: oneshot::Receiver<Receipt>,
}

impl Acks {
    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<OpStep, Vec<Waiter>>> {
        // The map is whole between statements, whoever panicked.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers for the commit of a step.
    pub fn expect(self: &Arc<Self>, op: OpStep) -> Pending {
        let (sender, receiver) = oneshot::channel();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let waiter = Waiter { id, sender, ask_at: Instant::now() + ASK_AFTER, pause: ASK_AFTER };
        self.waiting().entry(op).or_default().push(waiter);
        Pending { acks: self.clone(), op, id, receiver }
    }

    /// A step was committed: whoever waits for it learns where.
    pub fn committed(&self, op: OpStep, receipt: Receipt) {
        let waiters = self.waiting().remove(&op).unwrap_or_default();
        // Who waited may have gone.
        for waiter in waiters {
            let _ = waiter.sender.send(receipt);
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting().len()
    }

    fn due(&self) -> Vec<OpStep> {
        let now = Instant::now();
        let mut due = Vec::new();
        for (op, waiters) in self.waiting().iter_mut() {
            if due.len() >= ASK_MAX {
                break;
            }
            let ripe = waiters.iter_mut().filter(|waiter| waiter.ask_at <= now);
            let asked = ripe.map(|waiter| {
                waiter.ask_at = now + waiter.pause;
                waiter.pause = (waiter.pause * 2).min(ASK_PAUSE_MAX);
            });
            if asked.count() > 0 {
                due.push(*op);
            }
        }
        due
    }

    /// One step of the tick: asks Postgres for all that have waited long.
    pub async fn ask_postgres(&self, pool: &PgPool) -> Result<(), Error> {
        let due = self.due();
        if due.is_empty() {
            return Ok(());
        }
        let receipts = recall::receipts(pool, &due).await?;
        for (op, receipt) in due.into_iter().zip(receipts) {
            if let Some(receipt) = receipt {
                self.committed(op, receipt);
            }
        }
        Ok(())
    }

    /// Asks Postgres on every tick, and at once when somebody is in a hurry; ends with the task.
    pub async fn keep_asking(self: Arc<Self>, pool: PgPool) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(ASK_AFTER) => {}
                () = self.hurry.notified() => {}
            }
            if let Err(error) = self.ask_postgres(&pool).await {
                tracing::debug!(%error, "asking postgres for acknowledgements");
            }
        }
    }
}

impl Pending {
    /// Asks Postgres now: what is waited for may have been committed before.
    pub fn hurry(&self) {
        if let Some(waiters) = self.acks.waiting().get_mut(&self.op) {
            let mine = waiters.iter_mut().filter(|waiter| waiter.id == self.id);
            mine.for_each(|waiter| waiter.ask_at = Instant::now());
        }
        self.acks.hurry.notify_one();
    }

    /// Waits until this very entry is committed. `outcome_unknown` after `timeout`, or when the step was
    /// committed with another outcome: the same key then tells which.
    pub async fn wait(mut self, receipt: Receipt, timeout: Duration) -> Result<(), Error> {
        let committed = self.wait_any(timeout).await?;
        if committed != receipt {
            return Err(Error::outcome_unknown("the step was committed with another outcome"));
        }
        Ok(())
    }

    /// Waits until the step is committed, whatever it came to; for when its script did not answer.
    pub async fn wait_any(&mut self, timeout: Duration) -> Result<Receipt, Error> {
        let started = Instant::now();
        let answer = tokio::time::timeout(timeout, &mut self.receiver).await;
        metrics::ack_wait(started.elapsed());
        match answer {
            Ok(Ok(receipt)) => Ok(receipt),
            Ok(Err(_)) | Err(_) => Err(Error::outcome_unknown("postgres has not confirmed in time")),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut waiting = self.acks.waiting();
        if let Some(waiters) = waiting.get_mut(&self.op) {
            waiters.retain(|waiter| waiter.id != self.id);
            if waiters.is_empty() {
                waiting.remove(&self.op);
            }
        }
    }
}

/// A message to another instance: its steps that were committed, a line each.
pub fn message<'a>(committed: impl Iterator<Item = (OpStep, &'a Receipt)>) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for (op, at) in committed {
        let line = writeln!(text, "{} {} {} {} {} {}", op.op, op.step, at.shard.0, at.epoch, at.seq, at.hash);
        line.unwrap_or_default();
    }
    text
}

/// Reads a message; lines that are none are skipped: it is only a hint.
pub fn read_message(text: &str) -> impl Iterator<Item = (OpStep, Receipt)> + '_ {
    text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let op = OpStep { op: words.next()?.parse().ok()?, step: words.next()?.parse().ok()? };
        let receipt = Receipt {
            shard: Shard(words.next()?.parse().ok()?),
            epoch: words.next()?.parse().ok()?,
            seq: words.next()?.parse().ok()?,
            hash: words.next()?.parse().ok()?,
        };
        Some((op, receipt))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::entry::marker_hash;
    use uuid::Uuid;

    fn step() -> OpStep {
        OpStep { op: Uuid::now_v7(), step: 1 }
    }

    fn receipt(epoch: u64) -> Receipt {
        Receipt { shard: Shard(3), epoch, seq: 9, hash: marker_hash(epoch) }
    }

    #[tokio::test]
    async fn the_very_entry_is_waited_for() {
        let acks = Arc::new(Acks::default());
        let op = step();
        let (mine, other) = (acks.expect(op), acks.expect(op));
        acks.committed(op, receipt(1));
        assert!(mine.wait(receipt(1), Duration::ZERO).await.is_ok());
        let error = other.wait(receipt(2), Duration::ZERO).await.unwrap_err();
        assert_eq!(error.code(), crate::error::Code::OutcomeUnknown);
    }

    #[tokio::test]
    async fn nobody_is_kept_who_has_gone() {
        let acks = Arc::new(Acks::default());
        drop(acks.expect(step()));
        assert!(acks.expect(step()).wait(receipt(1), Duration::ZERO).await.is_err());
        assert_eq!(acks.len(), 0);
    }

    #[test]
    fn a_message_carries_what_was_committed() {
        let sent = [(step(), receipt(4)), (step(), receipt(5))];
        let text = message(sent.iter().map(|(op, at)| (*op, at)));
        assert_eq!(read_message(&text).collect::<Vec<_>>(), sent);
        assert_eq!(read_message("nonsense\n\n1 2 3").count(), 0);
    }
}
