//! What a queue remembers, in Redis and in Postgres alike, and the changes that make it.

use std::collections::{BTreeMap, BTreeSet};

pub const PASS_LIFE: u64 = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub user: usize,
    pub since: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    pub user: usize,
    pub since: u64,
    pub deadline: u64,
}

/// The numbers that a loss took with it lie between the two ends, and neither end was issued in `epoch`,
/// the epoch that was lost.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    pub low: u64,
    pub high: u64,
    pub epoch: u64,
    pub recorded_at: u64,
    pub settled: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Change {
    Joined {
        user: usize,
        number: u64,
        at: u64,
    },
    /// A ticket from a gap, back at its own number; the user's later place goes in the same change.
    Restored {
        user: usize,
        number: u64,
        instead_of: Option<u64>,
        at: u64,
    },
    Admitted {
        number: u64,
        at: u64,
    },
    /// Left, spent, expired, lapsed: the ticket is over.
    Ended {
        user: usize,
        number: u64,
        epoch: u64,
    },
}

#[derive(Clone, Debug, Default)]
pub struct Room {
    /// The highest number issued.
    pub counter: u64,
    pub waiting: BTreeMap<u64, Place>,
    pub active: BTreeMap<u64, Pass>,
    pub gaps: Vec<Gap>,
    /// The last epoch in which a place of this user ended.
    pub last_end: BTreeMap<usize, u64>,
    /// What the ablation remembers instead: the numbers that were put back.
    pub restored: BTreeSet<u64>,
    /// When people were let in, for the rate.
    pub admissions: Vec<u64>,
    /// For the judge alone, no script reads them: tickets that ended, and that gave way to a lower one.
    pub ended: BTreeSet<u64>,
    pub replaced: BTreeSet<u64>,
}

impl Room {
    pub fn apply(&mut self, change: &Change) {
        match *change {
            Change::Joined { user, number, at } => {
                self.counter = self.counter.max(number);
                self.waiting.insert(number, Place { user, since: at });
            }
            Change::Restored { user, number, instead_of, at } => {
                if let Some(higher) = instead_of {
                    self.waiting.remove(&higher);
                    self.replaced.insert(higher);
                }
                self.waiting.insert(number, Place { user, since: at });
                self.restored.insert(number);
            }
            Change::Admitted { number, at } => {
                if let Some(place) = self.waiting.remove(&number) {
                    let pass = Pass { user: place.user, since: at, deadline: at + PASS_LIFE };
                    self.active.insert(number, pass);
                    self.admissions.push(at);
                }
            }
            Change::Ended { user, number, epoch } => {
                self.waiting.remove(&number);
                self.active.remove(&number);
                self.restored.insert(number);
                self.last_end.insert(user, epoch);
                self.ended.insert(number);
            }
        }
    }

    pub fn gap_of(&self, number: u64) -> Option<&Gap> {
        self.gaps.iter().find(|gap| gap.low < number && number < gap.high)
    }

    pub fn waiting_number(&self, user: usize) -> Option<u64> {
        self.waiting.iter().find(|(_, place)| place.user == user).map(|(&number, _)| number)
    }

    pub fn active_number(&self, user: usize) -> Option<u64> {
        self.active.iter().find(|(_, pass)| pass.user == user).map(|(&number, _)| number)
    }

    pub fn number_of(&self, user: usize) -> Option<u64> {
        self.active_number(user).or_else(|| self.waiting_number(user))
    }

    /// A ticket of a user that some other place of his makes void: he is in already, waits at a lower
    /// number, gave this one up for a lower one, or ended a place after this number was lost.
    pub fn is_superseded(&self, user: usize, number: u64, issued_in: u64) -> bool {
        let other = self.active_number(user).is_some_and(|active| active != number)
            || self.waiting_number(user).is_some_and(|waiting| waiting < number);
        other
            || self.replaced.contains(&number)
            || self.last_end.get(&user).is_some_and(|&epoch| epoch > issued_in)
    }
}
