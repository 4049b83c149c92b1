//! A whole line of people in memory, so that a poll costs Redis nothing: a bit a number, as Redis keeps it
//! (`lua/lib/line`), read by one script call at most each tenth of a second, however many ask.
//!
//! Whoever polls gets an answer from a snapshot of at most [`AGE_MAX`]; one who finds it older than
//! [`REFRESH_AFTER`] has it read again, and nobody waits for that while it is young enough. A queue that
//! nobody polls costs nothing, and a lone poll costs one call, as it would without.
//!
//! What must always hold: a snapshot speaks only for tickets of its own epoch (within one, a number is one
//! person's), and only of those who wait in it. Whoever is not in it (just joined, let in, gone, to be put
//! back) is asked of Redis.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use super::store;
use super::ticket::Ticket;
use crate::app::{App, AppState};
use crate::error::Error;
use crate::ids::QueueId;
use crate::metrics;
use crate::redis::Space;

/// The oldest snapshot that answers.
const AGE_MAX: Duration = Duration::from_millis(150);
/// From this age on it is read again.
const REFRESH_AFTER: Duration = Duration::from_millis(90);
/// Pause between two readings, however often something has changed.
const READ_PAUSE: Duration = Duration::from_millis(10);
/// Bytes of a line that are read: sixteen million numbers. Polls of longer ones go to Redis.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// A line that nobody asked for so long is forgotten.
const KEEP: Duration = Duration::from_secs(60);

/// Who waits, a bit a number.
#[derive(Debug)]
pub struct Line {
    from: i64,
    words: Vec<u64>,
    /// For each word how many wait in those before it.
    before: Vec<u32>,
}

impl Line {
    /// The bits of `bytes`, highest first, are numbers from `from` on.
    pub fn new(from: i64, bytes: &[u8]) -> Self {
        let word = |chunk: &[u8]| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_be_bytes(word)
        };
        let mut line = Self { from, words: bytes.chunks(8).map(word).collect(), before: Vec::new() };
        line.count();
        line
    }

    fn count(&mut self) {
        let counts = self.words.iter().scan(0, |sum, word| {
            let before = *sum;
            *sum += word.count_ones();
            Some(before)
        });
        self.before = counts.collect();
    }

    /// Nobody up to this number waits any more: their queue was closed.
    fn close_below(&mut self, number: i64) {
        let closed = (number - self.from + 1).max(0) as usize;
        let whole = (closed / 64).min(self.words.len());
        self.words[..whole].fill(0);
        if let Some(word) = self.words.get_mut(closed / 64) {
            *word &= u64::MAX >> (closed % 64);
        }
        self.count();
    }

    /// How many wait up to this number, itself included; none when it does not wait.
    pub fn position(&self, number: i64) -> Option<i64> {
        let at = usize::try_from(number - self.from).ok()?;
        let up_to = self.words.get(at / 64)? >> (63 - at % 64);
        (up_to & 1 == 1).then(|| i64::from(self.before[at / 64]) + i64::from(up_to.count_ones()))
    }

    /// How many wait.
    fn len(&self) -> i64 {
        let last = self.words.last().map_or(0, |word| word.count_ones());
        i64::from(self.before.last().copied().unwrap_or(0)) + i64::from(last)
    }

    /// All who wait.
    pub fn numbers(&self) -> impl Iterator<Item = i64> {
        let waits = |at: &usize| self.words[at / 64] >> (63 - at % 64) & 1 == 1;
        (0..self.words.len() * 64).filter(waits).map(|at| self.from + at as i64)
    }
}

/// A line at one moment.
#[derive(Debug)]
struct Snapshot {
    /// When it was asked for, so that it is no older than this.
    asked: Instant,
    epoch: u64,
    line: Line,
    pace: f64,
    rate_tenths: i64,
}

/// Where a ticket stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// 1-based, among those who wait.
    pub position: i64,
    /// Admissions a second, measured.
    pub pace: f64,
    /// Admissions a second, set, in tenths.
    pub rate_tenths: i64,
}

/// A snapshot on its way; none when it cannot be had.
type Flight = Shared<BoxFuture<'static, Option<Arc<Snapshot>>>>;

#[derive(Debug, Default)]
struct Slot {
    last: RwLock<Option<Arc<Snapshot>>>,
    /// Only a snapshot that was asked for later answers.
    told: RwLock<Option<Instant>>,
    flight: Mutex<Option<Flight>>,
}

/// The lines that are polled here.
#[derive(Debug, Default)]
pub struct Lines {
    slots: RwLock<HashMap<QueueId, Arc<Slot>>>,
    /// Polls answered since the metric was told.
    answered: AtomicU64,
}

impl Lines {
    fn slot(&self, queue: QueueId) -> Arc<Slot> {
        if let Some(slot) = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&queue) {
            return slot.clone();
        }
        self.slots.write().unwrap_or_else(PoisonError::into_inner).entry(queue).or_default().clone()
    }

    /// Tells the metric how many polls were answered.
    pub fn tell(&self) {
        metrics::polled("snapshot", self.answered.swap(0, Ordering::Relaxed));
    }

    /// Somebody was told here how it stands now (that he has left, where he is): whoever asks here from now
    /// on is told nothing older. Elsewhere it is seen with the next snapshot.
    pub fn told(&self, queue: QueueId) {
        if let Some(slot) = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&queue) {
            let mut told = slot.told.write().unwrap_or_else(PoisonError::into_inner);
            *told = Some(Instant::now());
        }
    }

    /// Drops lines that nobody has asked for lately.
    pub fn forget_idle(&self) {
        let is_used = |slot: &Arc<Slot>| slot.last().is_some_and(|last| last.asked.elapsed() < KEEP);
        self.slots.write().unwrap_or_else(PoisonError::into_inner).retain(|_, slot| is_used(slot));
    }
}

impl Slot {
    fn last(&self) -> Option<Arc<Snapshot>> {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The reading that is under way, or a new one, which goes on by itself.
    fn read(self: &Arc<Self>, app: &AppState, queue: QueueId) -> Flight {
        let mut flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = flight.as_ref() {
            return under_way.clone();
        }
        let (slot, reader) = (self.clone(), app.clone());
        let not_before = self.last().map(|last| last.asked + READ_PAUSE);
        let reading = async move {
            if let Some(at) = not_before {
                tokio::time::sleep_until(at.into()).await;
            }
            let read = read(&reader, queue).await.inspect_err(|error| {
                tracing::debug!(%queue, %error, "reading a line");
            });
            let snapshot = read.ok().flatten().map(Arc::new);
            slot.last.write().unwrap_or_else(PoisonError::into_inner).clone_from(&snapshot);
            *slot.flight.lock().unwrap_or_else(PoisonError::into_inner) = None;
            snapshot
        };
        let reading = reading.boxed().shared();
        *flight = Some(reading.clone());
        app.tasks.spawn(reading.clone());
        reading
    }

    /// A snapshot that is young enough.
    async fn young(self: &Arc<Self>, app: &AppState, queue: QueueId) -> Option<Arc<Snapshot>> {
        let told = *self.told.read().unwrap_or_else(PoisonError::into_inner);
        let oldest = Instant::now().checked_sub(AGE_MAX).max(told);
        if let Some(last) = self.last().filter(|last| Some(last.asked) >= oldest) {
            if last.asked.elapsed() >= REFRESH_AFTER {
                drop(self.read(app, queue));
            }
            return Some(last);
        }
        match self.read(app, queue).await {
            // That one was on its way before, perhaps for long.
            Some(read) if Some(read.asked) < oldest => self.read(app, queue).await,
            read => read,
        }
    }
}

/// Where a ticket stands, if it waits and a snapshot can tell.
pub async fn look(app: &AppState, ticket: &Ticket) -> Option<Standing> {
    let snapshot = app.lines.slot(ticket.queue).young(app, ticket.queue).await?;
    if snapshot.epoch != ticket.epoch {
        return None;
    }
    let position = snapshot.line.position(ticket.number)?;
    app.lines.answered.fetch_add(1, Ordering::Relaxed);
    Some(Standing { position, pace: snapshot.pace, rate_tenths: snapshot.rate_tenths })
}

async fn read(app: &App, queue: QueueId) -> Result<Option<Snapshot>, Error> {
    let asked = Instant::now();
    let script = |space: &Space| store::Line {
        room: store::room(space, queue),
        waiting: store::waiting(space, queue),
        line: store::line(space, queue),
        bytes_max: BYTES_MAX,
    };
    let reply = app.journal.ask(super::ops::shard(app, queue), script).await?;
    let nobody = Snapshot { asked, epoch: 0, line: Line::new(0, &[]), pace: 0.0, rate_tenths: 0 };
    match reply.word() {
        "done" => {}
        // Nobody is found in it; all are asked of Redis, until it is read again.
        "no_line" => return Ok(Some(nobody)),
        _ => return Ok(None),
    }
    metrics::line_read();
    let mut line = Line::new(reply.int(5)?, &reply.bytes(6)?);
    line.close_below(reply.int(3)?);
    let waiting = reply.int(4)?;
    if line.len() != waiting {
        // A program that keeps no line has written, too.
        tracing::warn!(%queue, waiting, lined = line.len(), "the line does not show who waits");
        return Ok(Some(nobody));
    }
    let (epoch, pace) = (reply.parse(0)?, reply.parse(1)?);
    Ok(Some(Snapshot { asked, epoch, line, pace, rate_tenths: reply.int(2)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(from: i64, numbers: &[i64]) -> Line {
        let mut bytes = vec![0_u8; 40];
        for number in numbers {
            let at = (number - from) as usize;
            bytes[at / 8] |= 0x80 >> (at % 8);
        }
        Line::new(from, &bytes)
    }

    #[test]
    fn a_position_counts_who_waits_up_to_it() {
        let numbers = [100, 101, 163, 164, 165, 227, 228, 419];
        let line = line(100, &numbers);
        assert_eq!(line.numbers().collect::<Vec<_>>(), numbers);
        for (at, number) in numbers.iter().enumerate() {
            assert_eq!(line.position(*number), Some(at as i64 + 1), "{number}");
        }
        for gone in [0, 99, 102, 162, 226, 229, 420, 1_000, i64::MAX] {
            assert_eq!(line.position(gone), None, "{gone}");
        }
    }

    #[test]
    fn who_was_there_when_it_closed_is_not_counted() {
        let numbers = [100, 101, 163, 164, 165, 227];
        for (closed, left) in [(0, 6), (99, 6), (100, 5), (163, 3), (164, 2), (165, 1), (227, 0), (900, 0)] {
            let mut line = line(100, &numbers);
            line.close_below(closed);
            assert_eq!(line.numbers().count(), left, "{closed}");
            assert_eq!(line.position(227), (left > 0).then_some(left as i64), "{closed}");
        }
    }
}
