//! Who polled: gathered here, carried to Redis a few times a second, so that a poll costs it nothing.
//!
//! Who waits is a bit at his number, so that a crowd costs hardly more than one; who is in, is told by name,
//! which tells Redis that the pass is in use.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::store;
use super::ticket::Ticket;
use crate::app::App;
use crate::error::Error;
use crate::ids::{QueueId, UserId};
use crate::redis::{Bits, Space, by_commas};

/// Users that one call carries.
const CARRY_MAX: usize = 500;
/// Users who are in and wait to be marked, of one queue; more are dropped, and the next poll marks again.
const INSIDE_MAX: usize = 200_000;
/// Numbers of a block.
const BLOCK: i64 = 4_096;
/// Blocks of one piece: two million numbers.
const BLOCKS_MAX: i64 = 512;

/// A set of numbers, a bit each, in blocks; the highest bit is the first, as Redis has them.
#[derive(Debug, Default)]
struct Numbers(HashMap<i64, Box<[u64; 64]>>);

/// Bits from a number on, a multiple of eight.
type Piece = (i64, Vec<u8>);

impl Numbers {
    fn insert(&mut self, number: i64) {
        let block = self.0.entry(number >> 12).or_insert_with(|| Box::new([0; 64]));
        block[(number >> 6 & 63) as usize] |= 1 << (63 - (number & 63));
    }

    /// All of it, in as few pieces as one call can carry each.
    fn pieces(self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for (block, words) in BTreeMap::from_iter(self.0) {
            let from = block * BLOCK;
            if pieces.last().is_none_or(|(first, _)| from - first >= BLOCKS_MAX * BLOCK) {
                pieces.push((from, Vec::new()));
            }
            if let Some((first, bytes)) = pieces.last_mut() {
                bytes.resize(((from - *first) / 8) as usize, 0);
                bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
            }
        }
        pieces.into_iter().map(trimmed).collect()
    }
}

/// Without the zeros before and after.
fn trimmed((from, bytes): Piece) -> Piece {
    let is_set = |byte: &u8| *byte != 0;
    let first = bytes.iter().position(is_set).unwrap_or(bytes.len());
    let last = bytes.iter().rposition(is_set).map_or(first, |last| last + 1);
    (from + 8 * first as i64, bytes[first..last].to_vec())
}

#[derive(Debug, Default)]
struct Marks {
    waiting: Numbers,
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
        self.marks().entry(queue).or_default().waiting.insert(number);
    }

    /// Whoever has this ticket is there, and in.
    pub fn is_in(&self, ticket: &Ticket) {
        let mut queues = self.marks();
        let marks = queues.entry(ticket.queue).or_default();
        if marks.inside.len() < INSIDE_MAX {
            marks.inside.insert(ticket.user);
        }
    }
}

/// Carries the marks to Redis, of each queue for itself. What is lost is marked again by the next poll. Fails
/// with the last error, if there was any.
pub async fn carry_marks(app: &App) -> Result<(), Error> {
    let mut failed = Ok(());
    let taken = std::mem::take(&mut *app.presence.marks());
    for (queue, marks) in taken {
        let users: Vec<UserId> = marks.inside.into_iter().collect();
        if let Err(error) = carry_all(app, queue, marks.waiting.pieces(), &users).await {
            failed = Err(error);
        }
    }
    failed
}

async fn carry_all(app: &App, queue: QueueId, pieces: Vec<Piece>, users: &[UserId]) -> Result<(), Error> {
    for piece in pieces {
        carry(app, queue, piece, &[]).await?;
    }
    for users in users.chunks(CARRY_MAX) {
        carry(app, queue, Piece::default(), users).await?;
    }
    Ok(())
}

async fn carry(app: &App, queue: QueueId, (from, bits): Piece, users: &[UserId]) -> Result<(), Error> {
    let users = by_commas(users);
    let script = |space: &Space| store::Seen {
        room: store::room(space, queue),
        line: store::line(space, queue),
        fresh: store::fresh(space, queue),
        scratch: store::scratch(space, queue),
        seen: store::seen(space, queue),
        from,
        bits: Bits(bits.clone()),
        users: users.clone(),
    };
    app.journal.ask(super::ops::shard(app, queue), script).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_carried_as_bits_from_the_first_on() {
        let mut numbers = Numbers::default();
        for number in [4_096, 9, 4_103, 20, 9] {
            numbers.insert(number);
        }
        let mut bytes = vec![0; 512];
        (bytes[0], bytes[1], bytes[511]) = (0b0100_0000, 0b0000_1000, 0b1000_0001);
        assert_eq!(numbers.pieces(), [(8, bytes)]);
    }

    #[test]
    fn who_is_far_ahead_goes_in_a_piece_of_his_own() {
        let mut numbers = Numbers::default();
        for number in [3_000_000, 0, 2_000_000] {
            numbers.insert(number);
        }
        let pieces = numbers.pieces();
        let first: Vec<(i64, usize)> = pieces.iter().map(|(from, bits)| (*from, bits.len())).collect();
        assert_eq!(first, [(0, 250_001), (3_000_000, 1)]);
        assert!(Numbers::default().pieces().is_empty());
    }
}
