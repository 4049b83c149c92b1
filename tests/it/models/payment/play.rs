//! One run: payments, retries, recoveries, pauses and losses, in an order that the seed decides.

use super::scripts::{
    BALANCE_AT_START, Decision, Hold, KEPT_AFTER_CLOSING, PRICE, SEATS, SeatFact, Seats, Step, USERS,
    WalletFact, Wallets,
};
use super::shard::{DECISION, RESERVE, Shard, Slot, VOID};
use super::{Defences, LaterSteps, Outcome, Violation};
use fastrand::Rng;
use std::collections::BTreeMap;

const STEPS: usize = 300;
const ROUNDS_TO_REST: usize = 80;

#[derive(Clone, Copy, Debug)]
enum Stage {
    Reserve,
    AwaitReserve(usize),
    Decide,
    AwaitDecision(usize, Decision),
    Void,
    AwaitVoid(usize),
}

/// Somebody who drives a payment: a request, a retry of it, or recovery. Any number of them may be at it.
#[derive(Clone, Copy, Debug)]
struct Task {
    operation: usize,
    stage: Stage,
    /// When it read in Postgres how far the payment had come.
    read_at: u64,
    is_recovery: bool,
}

struct Model<'run> {
    rng: Rng,
    defences: &'run Defences,
    now: u64,
    wallets: Shard<Wallets>,
    seats: Shard<Seats>,
    /// The unique key of operations in Postgres, with the entry that took it.
    slots: BTreeMap<Slot, usize>,
    /// Payments closed in Postgres, and when.
    closed: BTreeMap<usize, u64>,
    /// The hold that each operation pays for.
    payments: Vec<Hold>,
    tasks: Vec<Task>,
    told: Vec<(usize, Decision)>,
    reservations: usize,
    outcome: Outcome,
}

pub fn play(seed: u64, defences: &Defences) -> Outcome {
    let mut model = Model::new(seed, defences);
    for _ in 0..STEPS {
        model.step();
    }
    model.come_to_rest();
    model.outcome.violation = model.judge().err();
    model.outcome.last_walls_hit = model.wallets.last_walls_hit + model.seats.last_walls_hit;
    model.outcome
}

impl<'run> Model<'run> {
    fn new(seed: u64, defences: &'run Defences) -> Model<'run> {
        Model {
            rng: Rng::with_seed(seed),
            defences,
            now: 0,
            wallets: Shard::new(Wallets::new()),
            seats: Shard::new(Seats::default()),
            slots: BTreeMap::new(),
            closed: BTreeMap::new(),
            payments: Vec::new(),
            tasks: Vec::new(),
            told: Vec::new(),
            reservations: 0,
            outcome: Outcome::default(),
        }
    }

    fn step(&mut self) {
        self.now += 1;
        let unique = self.defences.operations_are_unique;
        match self.rng.u8(..100) {
            0..10 => self.somebody_holds_a_seat(),
            10..20 => self.somebody_pays(),
            20..25 => self.a_client_retries(),
            25..31 => self.recovery_looks(),
            31..69 => self.a_task_goes_on(),
            69..82 => self.wallets.drain(self.rng.usize(1..=3), &mut self.slots, unique),
            82..95 => self.seats.drain(self.rng.usize(1..=3), &mut self.slots, unique),
            95..97 => self.wallets.lose(self.rng.usize(..=self.wallets.pending())),
            97..99 => self.seats.lose(self.rng.usize(..=self.seats.pending())),
            _ => self.the_writers_stall(),
        }
        self.forget_what_was_closed_long_ago();
    }

    /// Time passes and nothing becomes durable: what makes shards busy, and calls late.
    fn the_writers_stall(&mut self) {
        self.now += self.rng.u64(5..40);
    }

    fn forget_what_was_closed_long_ago(&mut self) {
        let kept = if self.defences.steps_are_kept_long { KEPT_AFTER_CLOSING } else { 0 };
        for (&operation, &at) in &self.closed {
            if self.now - at >= kept {
                self.wallets.forget(operation);
                self.seats.forget(operation);
            }
        }
    }

    fn somebody_holds_a_seat(&mut self) {
        self.reservations += 1;
        let (seat, user) = (self.rng.usize(..SEATS), self.rng.usize(..USERS));
        self.seats.hold(seat, user, self.reservations, self.now);
    }

    fn somebody_pays(&mut self) {
        let seat = self.rng.usize(..SEATS);
        if let Some(hold) = self.seats.live.holds[seat] {
            self.payments.push(hold);
            self.start_a_task(self.payments.len() - 1, false);
        }
    }

    /// The same key again, on any instance, at any time.
    fn a_client_retries(&mut self) {
        if !self.payments.is_empty() {
            let operation = self.rng.usize(..self.payments.len());
            self.start_a_task(operation, false);
        }
    }

    /// Recovery takes what Postgres holds as reserved and not closed, whoever else may be driving it.
    fn recovery_looks(&mut self) {
        let open: Vec<usize> = self.open_payments().collect();
        if !open.is_empty() {
            let operation = open[self.rng.usize(..open.len())];
            self.start_a_task(operation, true);
        }
    }

    fn open_payments(&self) -> impl Iterator<Item = usize> {
        let is_open = |&operation: &usize| {
            self.is_in_postgres(operation, RESERVE) && !self.closed.contains_key(&operation)
        };
        (0..self.payments.len()).filter(is_open)
    }

    fn is_in_postgres(&self, operation: usize, step: u8) -> bool {
        self.slots.contains_key(&(operation, step))
    }

    /// What Postgres says was decided.
    fn decided(&self, operation: usize) -> Option<Decision> {
        let identity = *self.slots.get(&(operation, DECISION))?;
        let entry = self.seats.committed.iter().find(|entry| entry.identity == identity)?;
        match entry.fact {
            SeatFact::Confirmed { .. } => Some(Decision::Confirmed),
            _ => Some(Decision::Aborted),
        }
    }

    /// Reads in Postgres how far the payment has come, and goes on from there.
    fn start_a_task(&mut self, operation: usize, is_recovery: bool) {
        let decided = self.decided(operation);
        let voided = self.is_in_postgres(operation, VOID);
        let stage = match decided {
            Some(Decision::Confirmed) => return self.answer(operation, Decision::Confirmed, is_recovery),
            _ if voided => return self.answer(operation, Decision::Aborted, is_recovery),
            Some(Decision::Aborted) => Stage::Void,
            None if self.is_in_postgres(operation, RESERVE) => Stage::Decide,
            None => Stage::Reserve,
        };
        self.tasks.push(Task { operation, stage, read_at: self.now, is_recovery });
    }

    /// Closes the payment in Postgres, where that is conditional on what is durable there, and answers.
    fn answer(&mut self, operation: usize, decision: Decision, is_recovery: bool) {
        let durable = match decision {
            Decision::Confirmed => self.decided(operation) == Some(Decision::Confirmed),
            Decision::Aborted => self.is_in_postgres(operation, VOID),
        };
        if durable {
            self.closed.entry(operation).or_insert(self.now);
        }
        if !is_recovery {
            self.told.push((operation, decision));
        }
        self.outcome.confirmed += usize::from(decision == Decision::Confirmed);
        self.outcome.refunded += usize::from(decision == Decision::Aborted);
    }

    /// Mostly one of the newest: the others are paused, some for very long.
    fn a_task_goes_on(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let window = if self.rng.u8(..10) < 8 { self.tasks.len().min(4) } else { self.tasks.len() };
        let index = self.tasks.len() - 1 - self.rng.usize(..window);
        self.drive(index);
    }

    fn drive(&mut self, index: usize) {
        let task = self.tasks[index];
        match self.next_stage(&task) {
            Some(stage) => self.tasks[index].stage = stage,
            None => drop(self.tasks.remove(index)),
        }
    }

    /// One step of a payment. None when the task has ended, with an answer or without one.
    fn next_stage(&mut self, task: &Task) -> Option<Stage> {
        let (operation, defences) = (task.operation, self.defences);
        let times = (self.now, task.read_at);
        match task.stage {
            Stage::Reserve => {
                let user = self.payments[operation].user;
                match self.wallets.reserve(operation, user, times, defences) {
                    Step::Done(identity, ()) => Some(Stage::AwaitReserve(identity)),
                    Step::TooOld => self.look_again(task),
                    Step::Busy => {
                        self.outcome.busy += 1;
                        None
                    }
                    Step::Refused => None,
                }
            }
            Stage::AwaitReserve(identity) => {
                let proceeds = !defences.reserve_is_awaited || self.wallets.is_durable(identity);
                Some(if proceeds { Stage::Decide } else { task.stage })
            }
            Stage::Decide => self.decide(task),
            Stage::AwaitDecision(identity, decision) => self.await_decision(task, identity, decision),
            Stage::Void => match self.wallets.void(operation, self.now, defences) {
                Step::Done(identity, ()) => Some(Stage::AwaitVoid(identity)),
                Step::Busy => Some(task.stage),
                Step::TooOld | Step::Refused => None,
            },
            Stage::AwaitVoid(identity) => {
                if !self.wallets.is_durable(identity) {
                    return Some(task.stage);
                }
                self.answer(operation, Decision::Aborted, task.is_recovery);
                None
            }
        }
    }

    fn decide(&mut self, task: &Task) -> Option<Stage> {
        let (operation, defences) = (task.operation, self.defences);
        let times = (self.now, task.read_at);
        if task.is_recovery && defences.void_needs_a_tombstone {
            self.outcome.aborts_asked += 1;
        } else if task.is_recovery {
            return Some(Stage::Void);
        }
        let step = if task.is_recovery {
            self.seats.abort_or_get(operation, times, defences)
        } else {
            self.seats.decide(operation, &self.payments[operation], times, defences)
        };
        match step {
            Step::Done(identity, decision) => Some(Stage::AwaitDecision(identity, decision)),
            Step::TooOld => self.look_again(task),
            Step::Busy if defences.later_steps == LaterSteps::BusyMeansRefused => Some(Stage::Void),
            Step::Busy => Some(task.stage),
            Step::Refused => None,
        }
    }

    fn await_decision(&mut self, task: &Task, identity: usize, decision: Decision) -> Option<Stage> {
        let durable = self.seats.is_durable(identity);
        match decision {
            Decision::Confirmed if durable || !self.defences.decision_is_awaited_before_the_answer => {
                self.answer(task.operation, decision, task.is_recovery);
                None
            }
            Decision::Aborted if durable || !self.defences.decision_is_awaited_before_the_void => {
                Some(Stage::Void)
            }
            _ => Some(task.stage),
        }
    }

    /// A call that came too late decides nothing: whoever drives it reads Postgres again.
    fn look_again(&mut self, task: &Task) -> Option<Stage> {
        self.outcome.late_calls += 1;
        self.start_a_task(task.operation, task.is_recovery);
        None
    }

    /// No more losses; whoever was paused wakes up, and recovery takes what is left. It does not ask whether
    /// a task drives a payment already: that one may wait for an entry that was lost.
    fn come_to_rest(&mut self) {
        let unique = self.defences.operations_are_unique;
        for _ in 0..ROUNDS_TO_REST {
            self.now += 1;
            self.wallets.drain(usize::MAX, &mut self.slots, unique);
            self.seats.drain(usize::MAX, &mut self.slots, unique);
            for index in (0..self.tasks.len()).rev() {
                self.drive(index);
            }
            let open: Vec<usize> = self.open_payments().collect();
            for operation in open {
                self.start_a_task(operation, true);
            }
        }
    }

    /// Reads the committed history alone: it is what is left when everything else is gone.
    fn judge(&self) -> Result<(), Violation> {
        let sold = self.judge_seats()?;
        let paid = self.judge_wallets()?;
        for operation in 0..self.payments.len() {
            match (sold[operation], paid[operation]) {
                (0, 0) | (1, 1) => {}
                (0, 1) => return Err(Violation::PaidOrPendingWithoutSeat),
                (1, 0) => return Err(Violation::SoldButNotPaid),
                _ => return Err(Violation::MoneyNotConserved),
            }
        }
        for &(operation, decision) in &self.told {
            if (sold[operation] == 1) != (decision == Decision::Confirmed) {
                return Err(Violation::ToldOtherwise);
            }
        }
        let slots = self.wallets.committed.iter().filter_map(|entry| entry.slot);
        let mut slots: Vec<Slot> =
            slots.chain(self.seats.committed.iter().filter_map(|entry| entry.slot)).collect();
        slots.sort_unstable();
        if slots.windows(2).any(|pair| pair[0] == pair[1]) { Err(Violation::StepTakenTwice) } else { Ok(()) }
    }

    /// How often each payment got its seat.
    fn judge_seats(&self) -> Result<Vec<i32>, Violation> {
        let mut sold_to = [None; SEATS];
        let mut sold = vec![0; self.payments.len()];
        for entry in &self.seats.committed {
            if let SeatFact::Confirmed { operation, hold } = entry.fact {
                sold[operation] += 1;
                if sold_to[hold.seat].replace(operation).is_some() {
                    return Err(Violation::SoldTwice);
                }
            }
        }
        Ok(sold)
    }

    /// How often each payment was debited, less how often it was given back.
    fn judge_wallets(&self) -> Result<Vec<i32>, Violation> {
        let mut paid = vec![0; self.payments.len()];
        let mut balances = [BALANCE_AT_START; USERS];
        for entry in &self.wallets.committed {
            let (operation, user, debit) = match entry.fact {
                WalletFact::Reserved { operation, user } => (operation, user, 1),
                WalletFact::Voided { operation, user } => (operation, user, -1),
            };
            paid[operation] += debit;
            balances[user] -= debit * PRICE;
            if balances[user] < 0 {
                return Err(Violation::NegativeBalance);
            }
        }
        Ok(paid)
    }
}
