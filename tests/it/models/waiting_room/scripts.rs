//! The queue as Redis has it, and the scripts that serve it.

use super::room::{Change, Room};
use super::{Defences, Memory, Pause};
use std::collections::BTreeMap;

pub const POLL_EVERY: u64 = 12;
pub const WINDOW: u64 = 5;
pub const ADMITTED_PER_WINDOW: usize = 2;
pub const ACTIVE_MAX: usize = 3;
/// Long enough for every client to poll once after a loss, and some more.
const PAUSE: u64 = POLL_EVERY + 3;
const GHOST_AFTER: u64 = 16;
const LAPSES_AFTER: u64 = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Waiting(u64),
    Active(u64),
    Gone,
}

#[derive(Debug)]
pub struct Redis {
    pub room: Room,
    epoch: u64,
    live_since: u64,
    /// When a number was last polled. Nothing keeps it but Redis.
    seen: BTreeMap<u64, u64>,
    /// Soft changes that no tick has journaled yet.
    pub buffer: Vec<Change>,
    /// Journaled, and not yet durable.
    pub journal: Vec<Change>,
}

impl Redis {
    pub fn new(durable: &Room, epoch: u64, now: u64) -> Redis {
        let (buffer, journal) = (Vec::new(), Vec::new());
        Redis { room: durable.clone(), epoch, live_since: now, seen: BTreeMap::new(), buffer, journal }
    }

    /// The same epoch goes on from an earlier state: what a replica that lags makes of it.
    pub fn fall_back(&mut self, durable: &Room, kept: usize) {
        self.journal.truncate(kept);
        self.buffer.clear();
        self.room = durable.clone();
        for change in &self.journal {
            self.room.apply(change);
        }
    }

    fn softly(&mut self, change: Change) {
        self.room.apply(&change);
        self.buffer.push(change);
    }

    fn journaled(&mut self, change: Change) {
        self.room.apply(&change);
        self.journal.push(change);
    }

    /// One place a user: joining again gives the same.
    pub fn join(&mut self, user: usize, now: u64) -> u64 {
        let number = self.room.number_of(user).unwrap_or_else(|| {
            let number = self.room.counter + 1;
            self.softly(Change::Joined { user, number, at: now });
            number
        });
        self.seen.insert(number, now);
        number
    }

    pub fn poll(&mut self, user: usize, ticket: u64, now: u64, defences: &Defences) -> Answer {
        let by_user = if defences.scripts_match_the_number { None } else { self.room.number_of(user) };
        let number = by_user.unwrap_or(ticket);
        if let Some(pass) = self.room.active.get(&number) {
            self.seen.insert(number, now);
            return if now < pass.deadline { Answer::Active(number) } else { Answer::Gone };
        }
        if self.room.waiting.get(&number).is_some_and(|place| place.user == user)
            || self.put_back(user, number, now, defences)
        {
            self.seen.insert(number, now);
            return Answer::Waiting(number);
        }
        Answer::Gone
    }

    fn is_over(&self, user: usize, number: u64, defences: &Defences) -> bool {
        let Some(gap) = self.room.gap_of(number) else {
            return true;
        };
        match defences.memory {
            Memory::OfTheLastEnd => self.room.last_end.get(&user).is_some_and(|&epoch| epoch > gap.epoch),
            Memory::OfRestoredNumbers => self.room.restored.contains(&number),
            Memory::None => false,
        }
    }

    /// A ticket whose number was lost gets its place back, at its own number.
    fn put_back(&mut self, user: usize, number: u64, now: u64, defences: &Defences) -> bool {
        if self.is_over(user, number, defences) || self.room.active_number(user).is_some() {
            return false;
        }
        let other = self.room.waiting_number(user);
        let gives_way = |other: u64| other > number && defences.the_lower_number_wins;
        if other.is_some_and(|other| !gives_way(other)) {
            return false;
        }
        self.softly(Change::Restored { user, number, instead_of: other, at: now });
        true
    }

    /// Leaving is for good, also for a ticket whose place is lost and not put back yet.
    pub fn leave(&mut self, user: usize, ticket: u64, defences: &Defences) {
        let by_user = if defences.scripts_match_the_number { None } else { self.room.number_of(user) };
        let number = by_user.unwrap_or(ticket);
        let is_here = self.room.waiting.contains_key(&number) || self.room.active.contains_key(&number);
        if is_here || !self.is_over(user, number, defences) {
            self.softly(Change::Ended { user, number, epoch: self.epoch });
        }
    }

    /// A payment spends the pass; it is journaled at once, before what the buffer holds.
    pub fn spend(&mut self, user: usize, number: u64, now: u64) {
        let pass = self.room.active.get(&number);
        if pass.is_some_and(|pass| pass.user == user && now < pass.deadline) {
            self.journaled(Change::Ended { user, number, epoch: self.epoch });
        }
    }

    /// What may be let in now: the rate of any window, and the cap.
    pub fn budget(&self, now: u64, defences: &Defences) -> usize {
        if defences.the_first_window_is_closed && now < self.live_since + WINDOW {
            return 0;
        }
        let recent = self.room.admissions.iter().rev().take_while(|&&at| at + WINDOW > now).count();
        let active = self.room.active.values().filter(|pass| now < pass.deadline).count();
        ADMITTED_PER_WINDOW.saturating_sub(recent).min(ACTIVE_MAX.saturating_sub(active))
    }

    /// While some lost ticket holder may not have polled yet, nobody above this number is let in.
    fn ceiling(&self, now: u64, defences: &Defences) -> u64 {
        let resting = now < self.live_since + PAUSE;
        let lows = self.room.gaps.iter().filter(|gap| match defences.pause {
            Pause::AfterEachLossAboveEveryGap => resting,
            Pause::UntilAGapIsSettled => resting && !gap.settled,
            Pause::OnceAGap => now < gap.recorded_at + PAUSE,
            Pause::None => false,
        });
        lows.map(|gap| gap.low).min().unwrap_or(u64::MAX)
    }

    pub fn has_rested(&self, now: u64) -> bool {
        now >= self.live_since + PAUSE
    }

    /// One tick of any instance: journals the buffer, ends what is over, lets the next in. Gives the numbers
    /// that lapsed or were ghosts, and those that were let in.
    pub fn tick(&mut self, now: u64, budget: Option<usize>, defences: &Defences) -> (Vec<u64>, Vec<u64>) {
        let buffered = std::mem::take(&mut self.buffer);
        if defences.ticks_journal_the_buffer_first {
            self.journal.extend(&buffered);
        }
        let silent = self.end_what_is_over(now, defences);
        let mut admitted = Vec::new();
        let ceiling = self.ceiling(now, defences);
        for _ in 0..budget.unwrap_or_else(|| self.budget(now, defences)) {
            match self.room.waiting.keys().next() {
                Some(&number) if number <= ceiling => {
                    self.journaled(Change::Admitted { number, at: now });
                    admitted.push(number);
                }
                _ => break,
            }
        }
        if !defences.ticks_journal_the_buffer_first {
            self.journal.extend(&buffered);
        }
        (silent, admitted)
    }

    fn end_what_is_over(&mut self, now: u64, defences: &Defences) -> Vec<u64> {
        let served_since = if defences.silence_counts_while_live { self.live_since } else { 0 };
        let mut over = Vec::new();
        let mut silent = Vec::new();
        for (&number, pass) in &self.room.active {
            let polled = self.seen.get(&number).is_some_and(|&seen| seen >= pass.since);
            let is_ghost = !polled && now >= pass.since.max(served_since) + GHOST_AFTER;
            if now >= pass.deadline {
                over.push((pass.user, number));
            } else if is_ghost {
                silent.push((pass.user, number));
            }
        }
        for (&number, place) in &self.room.waiting {
            let seen = self.seen.get(&number).copied().unwrap_or(place.since);
            if now >= seen.max(served_since) + LAPSES_AFTER {
                silent.push((place.user, number));
            }
        }
        for &(user, number) in over.iter().chain(&silent) {
            self.journaled(Change::Ended { user, number, epoch: self.epoch });
        }
        silent.into_iter().map(|(_, number)| number).collect()
    }
}
