//! The scripts of the two shards: the wallet's and the seats'.

use super::shard::{DECISION, Entry, RESERVE, Shard, State, VOID};
use super::{Defences, LaterSteps};
use std::collections::BTreeMap;

pub const USERS: usize = 3;
pub const SEATS: usize = 3;
pub const PRICE: i32 = 10;
pub const BALANCE_AT_START: i32 = 25;
const HOLD_LIFE: u64 = 60;
/// The oldest entry that is not durable may be this old before first steps are refused.
const BUSY_AFTER: u64 = 12;
/// A call is refused when the reading of Postgres that justified it is older: the engine's hour.
const CALL_LIFE: u64 = 40;
/// Steps are forgotten this long after the payment was closed in Postgres: the engine's day.
pub const KEPT_AFTER_CLOSING: u64 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Confirmed,
    Aborted,
}

#[derive(Clone, Copy, Debug)]
pub enum WalletFact {
    Reserved { operation: usize, user: usize },
    Voided { operation: usize, user: usize },
}

#[derive(Clone, Copy, Debug)]
pub enum SeatFact {
    Held { hold: Hold },
    Confirmed { operation: usize, hold: Hold },
    Aborted { operation: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    pub reservation: usize,
    pub seat: usize,
    pub user: usize,
    until: u64,
}

#[derive(Clone, Debug)]
struct Transfer {
    user: usize,
    reserved_by: usize,
    voided_by: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct Wallets {
    pub balances: [i32; USERS],
    transfers: BTreeMap<usize, Transfer>,
}

#[derive(Clone, Debug, Default)]
pub struct Seats {
    pub holds: [Option<Hold>; SEATS],
    sold: [bool; SEATS],
    decisions: BTreeMap<usize, (Decision, usize)>,
}

/// The answer of a step: the entry to wait for, and what it says.
pub enum Step<Said> {
    Done(usize, Said),
    Busy,
    /// The reading that justified the call is too old. Nothing was written, and nothing is decided by it.
    TooOld,
    Refused,
}

impl Wallets {
    pub fn new() -> Wallets {
        Wallets { balances: [BALANCE_AT_START; USERS], transfers: BTreeMap::new() }
    }
}

impl State for Wallets {
    type Fact = WalletFact;

    fn apply(&mut self, entry: &Entry<WalletFact>) {
        match entry.fact {
            WalletFact::Reserved { operation, user } => {
                self.balances[user] -= PRICE;
                let transfer = Transfer { user, reserved_by: entry.identity, voided_by: None };
                self.transfers.insert(operation, transfer);
            }
            WalletFact::Voided { operation, user } => {
                self.balances[user] += PRICE;
                if let Some(transfer) = self.transfers.get_mut(&operation) {
                    transfer.voided_by = Some(entry.identity);
                }
            }
        }
    }

    fn forget(&mut self, operation: usize) {
        self.transfers.remove(&operation);
    }
}

impl State for Seats {
    type Fact = SeatFact;

    fn apply(&mut self, entry: &Entry<SeatFact>) {
        match entry.fact {
            SeatFact::Held { hold } => self.holds[hold.seat] = Some(hold),
            SeatFact::Confirmed { operation, hold } => {
                self.holds[hold.seat] = None;
                self.sold[hold.seat] = true;
                self.decisions.insert(operation, (Decision::Confirmed, entry.identity));
            }
            SeatFact::Aborted { operation } => {
                self.decisions.insert(operation, (Decision::Aborted, entry.identity));
            }
        }
    }

    fn forget(&mut self, operation: usize) {
        self.decisions.remove(&operation);
    }
}

impl Shard<Wallets> {
    /// The first step, and the only one that busy may refuse.
    pub fn reserve(
        &mut self,
        operation: usize,
        user: usize,
        (now, read_at): (u64, u64),
        defences: &Defences,
    ) -> Step<()> {
        if defences.late_reserves_are_refused && now - read_at > CALL_LIFE {
            return Step::TooOld;
        }
        if let (true, Some(transfer)) = (defences.steps_are_idempotent, self.live.transfers.get(&operation)) {
            return Step::Done(transfer.reserved_by, ());
        }
        if self.is_busy(now, BUSY_AFTER) {
            return Step::Busy;
        }
        if self.live.balances[user] < PRICE {
            return Step::Refused;
        }
        Step::Done(self.write(now, Some((operation, RESERVE)), WalletFact::Reserved { operation, user }), ())
    }

    pub fn void(&mut self, operation: usize, now: u64, defences: &Defences) -> Step<()> {
        let Some(transfer) = self.live.transfers.get(&operation) else {
            return Step::Refused;
        };
        if let (true, Some(identity)) = (defences.steps_are_idempotent, transfer.voided_by) {
            return Step::Done(identity, ());
        }
        if defences.later_steps != LaterSteps::AreExempt && self.is_busy(now, BUSY_AFTER) {
            return Step::Busy;
        }
        let fact = WalletFact::Voided { operation, user: transfer.user };
        Step::Done(self.write(now, Some((operation, VOID)), fact), ())
    }
}

impl Shard<Seats> {
    pub fn hold(&mut self, seat: usize, user: usize, reservation: usize, now: u64) {
        let open = self.live.holds[seat].is_none_or(|hold| now >= hold.until);
        if open && !self.live.sold[seat] && !self.is_busy(now, BUSY_AFTER) {
            let hold = Hold { reservation, seat, user, until: now + HOLD_LIFE };
            self.write(now, None, SeatFact::Held { hold });
        }
    }

    /// Confirms while the hold is valid, aborts otherwise; said once, and the same for ever after.
    pub fn decide(
        &mut self,
        operation: usize,
        hold: &Hold,
        (now, read_at): (u64, u64),
        defences: &Defences,
    ) -> Step<Decision> {
        if defences.late_decides_are_refused && now - read_at > CALL_LIFE {
            return Step::TooOld;
        }
        self.decide_once(operation, Some(hold), now, defences)
    }

    /// What recovery calls: the decision, or a tombstone so that none can come later.
    pub fn abort_or_get(
        &mut self,
        operation: usize,
        (now, read_at): (u64, u64),
        defences: &Defences,
    ) -> Step<Decision> {
        if defences.late_aborts_are_refused && now - read_at > CALL_LIFE {
            return Step::TooOld;
        }
        self.decide_once(operation, None, now, defences)
    }

    fn decide_once(
        &mut self,
        operation: usize,
        hold: Option<&Hold>,
        now: u64,
        defences: &Defences,
    ) -> Step<Decision> {
        if let (true, Some(&(decision, identity))) =
            (defences.steps_are_idempotent, self.live.decisions.get(&operation))
        {
            return Step::Done(identity, decision);
        }
        if defences.later_steps != LaterSteps::AreExempt && self.is_busy(now, BUSY_AFTER) {
            return Step::Busy;
        }
        let slot = Some((operation, DECISION));
        match hold.filter(|hold| self.live.holds[hold.seat] == Some(**hold) && now < hold.until) {
            Some(&hold) => {
                let identity = self.write(now, slot, SeatFact::Confirmed { operation, hold });
                Step::Done(identity, Decision::Confirmed)
            }
            None => Step::Done(self.write(now, slot, SeatFact::Aborted { operation }), Decision::Aborted),
        }
    }
}
