//! What one shard sells: a few seats, balances and a coupon campaign. Small on purpose, so that runs collide.

use std::hash::{DefaultHasher, Hash, Hasher};

pub const SEATS: usize = 4;
pub const USERS: usize = 4;
pub const PRICE: i32 = 10;
const BALANCE_AT_START: i32 = 30;
const CLAIMS_MAX: usize = 2;
const HOLD_TICKS: u64 = 4;
const ROWS_PER_CHUNK: usize = 5;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seat {
    #[default]
    Free,
    Held {
        user: usize,
        until: u64,
    },
    Sold {
        user: usize,
    },
}

/// The default is what Redis makes of keys that it does not have: free seats and empty balances. That is what
/// a script sees when it runs on a shard that was emptied, or loaded with a chunk missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct World {
    pub seats: [Seat; SEATS],
    pub balances: [i32; USERS],
    pub claimed: [bool; USERS],
}

/// What a client asks for. `BuyAny` leaves the seat to the script, and what it gives depends on the clock,
/// because a lapsed hold is taken over: the same request may have another outcome when it runs again.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    BuyAny { user: usize },
    Hold { seat: usize, user: usize },
    Cancel { seat: usize, user: usize },
    Claim { user: usize },
    Give { from: usize, to: usize },
}

/// The outcome of a request, as the journal carries it and as the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Facts {
    Sold { seat: usize, user: usize, balance: i32 },
    Held { seat: usize, user: usize, until: u64 },
    Cancelled { seat: usize, user: usize },
    Claimed { user: usize },
    Given { from: usize, to: usize },
}

/// One row of the snapshot that a rebuild loads.
#[derive(Clone, Copy, Debug)]
pub enum Row {
    Seat(usize, Seat),
    Balance(usize, i32),
    Claimed(usize, bool),
}

impl World {
    pub fn at_start() -> World {
        World { balances: [BALANCE_AT_START; USERS], ..World::default() }
    }

    /// Points in balances and in seats: what must come out the same whatever happens.
    pub fn money(&self) -> i32 {
        let sold = self.seats.iter().filter(|seat| matches!(seat, Seat::Sold { .. })).count();
        self.balances.iter().sum::<i32>() + PRICE * i32::try_from(sold).expect("a handful of seats")
    }

    pub fn chunks(&self) -> Vec<Vec<Row>> {
        let seats = self.seats.iter().enumerate().map(|(seat, &state)| Row::Seat(seat, state));
        let balances = self.balances.iter().enumerate().map(|(user, &balance)| Row::Balance(user, balance));
        let claimed = self.claimed.iter().enumerate().map(|(user, &claimed)| Row::Claimed(user, claimed));
        let rows: Vec<Row> = seats.chain(balances).chain(claimed).collect();
        rows.chunks(ROWS_PER_CHUNK).map(<[Row]>::to_vec).collect()
    }

    pub fn load(&mut self, rows: &[Row]) {
        for row in rows {
            match *row {
                Row::Seat(seat, state) => self.seats[seat] = state,
                Row::Balance(user, balance) => self.balances[user] = balance,
                Row::Claimed(user, claimed) => self.claimed[user] = claimed,
            }
        }
    }

    fn seat_is_open_to(&self, seat: usize, user: usize, now: u64) -> bool {
        match self.seats[seat] {
            Seat::Free => true,
            Seat::Held { user: holder, until } => holder == user || now >= until,
            Seat::Sold { .. } => false,
        }
    }

    /// What a script does before it writes: the checks, and the outcome that it will journal.
    pub fn decide(&self, request: &Request, now: u64) -> Option<Facts> {
        match *request {
            Request::BuyAny { user } if self.balances[user] >= PRICE => {
                let seat = (0..SEATS).find(|&seat| self.seat_is_open_to(seat, user, now))?;
                Some(Facts::Sold { seat, user, balance: self.balances[user] - PRICE })
            }
            Request::Hold { seat, user } if self.seat_is_open_to(seat, user, now) => {
                Some(Facts::Held { seat, user, until: now + HOLD_TICKS })
            }
            Request::Cancel { seat, user } => Some(Facts::Cancelled { seat, user }),
            Request::Claim { user } => Some(Facts::Claimed { user }),
            Request::Give { from, to } => Some(Facts::Given { from, to }),
            _ => None,
        }
        .filter(|facts| self.allows(facts))
    }

    /// What the constraints of Postgres would let through: one sale a seat, no balance below zero, the
    /// campaign's quantity, and updates that must hit their row.
    pub fn allows(&self, facts: &Facts) -> bool {
        match *facts {
            Facts::Sold { seat, user, .. } => {
                !matches!(self.seats[seat], Seat::Sold { .. }) && self.balances[user] >= PRICE
            }
            Facts::Held { seat, .. } => !matches!(self.seats[seat], Seat::Sold { .. }),
            Facts::Cancelled { seat, user } => self.seats[seat] == Seat::Sold { user },
            Facts::Claimed { user } => {
                !self.claimed[user] && self.claimed.iter().filter(|&&claimed| claimed).count() < CLAIMS_MAX
            }
            Facts::Given { from, .. } => self.balances[from] >= PRICE,
        }
    }

    pub fn apply(&mut self, facts: &Facts) {
        match *facts {
            Facts::Sold { seat, user, .. } => {
                self.seats[seat] = Seat::Sold { user };
                self.balances[user] -= PRICE;
            }
            Facts::Held { seat, user, until } => self.seats[seat] = Seat::Held { user, until },
            Facts::Cancelled { seat, user } => {
                self.seats[seat] = Seat::Free;
                self.balances[user] += PRICE;
            }
            Facts::Claimed { user } => self.claimed[user] = true,
            Facts::Given { from, to } => {
                self.balances[from] -= PRICE;
                self.balances[to] += PRICE;
            }
        }
    }
}

/// The hash of an entry over what it is built on. With `covers_facts` off it covers the operation and its
/// kind, not the outcome: the ablation.
pub fn entry_hash(previous: u64, epoch: u64, operation: usize, facts: &Facts, covers_facts: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    (previous, epoch, operation, std::mem::discriminant(facts)).hash(&mut hasher);
    if covers_facts {
        facts.hash(&mut hasher);
    }
    hasher.finish()
}

/// The head of a chain with no entry yet. It differs from epoch to epoch, so that chains never meet.
pub fn marker_hash(epoch: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    ("marker", epoch).hash(&mut hasher);
    hasher.finish()
}
