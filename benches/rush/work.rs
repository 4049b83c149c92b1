//! What a load is about: whom, where, and which seats.

use std::cell::Cell;

use clap::ValueEnum;

use crate::lines::{Lines, Users};
use crate::stats::Kind;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Flow {
    /// `GET /livez`: what the generator and the service cost at least.
    Livez,
    /// `GET /bare` of `rush postgres-only`.
    Bare,
    /// A charge of `rush postgres-only`.
    PostgresCharge,
    /// A place in a queue that many wait in, by the tickets of a file.
    Poll,
    /// The same, each of the file once: its place is given up.
    Leave,
    /// Another user joins a queue.
    Join,
    /// Points, with a key of its own.
    Charge,
    /// A coupon of a campaign.
    Claim,
    /// One thing of the menu.
    Order,
    /// Join, poll until let in, look at dates or seats, hold a seat that nobody else is after, pay.
    Purchase,
    /// Of a hundred requests 80 polls, 5 joins, 5 holds, 10 charges, orders and claims.
    Mixed,
}

impl Flow {
    /// Whether this flow is the other, or has it among others.
    pub fn has(self, other: Flow) -> bool {
        let is_mixed = self == Flow::Mixed;
        let never = matches!(other, Flow::Livez | Flow::Bare | Flow::PostgresCharge | Flow::Leave);
        self == other || is_mixed && !never
    }
}

/// What is looked at before a seat is chosen.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Browse {
    /// Days: a short answer.
    Dates,
    /// All free seats of a day: half a megabyte for the largest show.
    Seats,
}

/// Who is let in already and may hold seats.
pub struct Holder {
    pub token: String,
    pub ticket: String,
}

/// A seat of a show.
pub struct Seat<'a> {
    pub concert: &'a str,
    pub date: &'a str,
    pub number: u64,
}

/// The whole load, as all threads know it. What a flow does not need is empty.
pub struct Work {
    pub flow: Flow,
    /// Begins each idempotency key, so that no run has the keys of another.
    pub run: String,
    pub users: Users,
    pub tickets: Lines,
    /// Whose tickets are polled.
    pub queue: String,
    pub join_queue: String,
    pub campaign: String,
    pub menu: String,
    pub concerts: Vec<String>,
    pub dates: Vec<String>,
    pub seats_per_show: u64,
    /// The first seat of each show that nobody has.
    pub first_seat: u64,
    pub browse: Browse,
    pub holders: Vec<Holder>,
    /// Users of the baseline.
    pub postgres_users: u64,
}

impl Work {
    /// A seat that no other turn has; none when the shows are sold out. Turns go over the concerts first, so
    /// that their shards share the load.
    pub fn seat(&self, turn: u64) -> Option<Seat<'_>> {
        let (concerts, dates) = (self.concerts.len() as u64, self.dates.len() as u64);
        let (concert, show_turn) = (turn % concerts, turn / concerts);
        let number = self.first_seat + show_turn / dates;
        (number <= self.seats_per_show).then(|| Seat {
            concert: &self.concerts[concert as usize],
            date: &self.dates[(show_turn % dates) as usize],
            number,
        })
    }
}

/// Numbers that each thread gives its requests: the same kind never has the same number twice.
pub struct Turns {
    thread: u64,
    threads: u64,
    taken: [Cell<u64>; Kind::ALL.len()],
}

impl Turns {
    /// Of one of these threads.
    pub fn new(thread: u64, threads: u64) -> Turns {
        Turns { thread, threads, taken: Default::default() }
    }

    /// The next number of a kind.
    pub fn next(&self, kind: Kind) -> u64 {
        let taken = self.taken[kind as usize].get();
        self.taken[kind as usize].set(taken + 1);
        self.thread + taken * self.threads
    }
}
