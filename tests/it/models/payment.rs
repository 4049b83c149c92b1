//! Model of a payment across two shards: points in the user's, the seat in the concert's, never one without
//! the other.
//!
//! A payment is one operation in three steps, each once, by operation and step: (1) the wallet's shard
//! reserves the points; (2) the seats' shard decides, and it alone: confirmed while the hold is valid,
//! aborted otherwise; (3) after an abort the wallet's shard gives the points back. Each step waits until the
//! one before is durable, and the answer waits for the last. A shard is a committed prefix, which is never
//! lost, and a suffix, of which a loss takes any part: that is what the model of the journal leaves to this
//! one.
//!
//! Any number of tasks drive one payment at once: the first request, retries with the same key on any
//! instance, recovery. Each reads in Postgres how far the payment has come and goes on from there, may be
//! paused before any step for as long as the seed likes, and may wait for ever for an entry that was lost.
//! Recovery takes whatever is reserved and not closed in Postgres, does not know who else drives it, and
//! never debits: it asks for the decision, and where there is none writes a tombstone that stands for one.
//!
//! What must always hold, read from what is committed when the run has come to rest:
//!
//! - a seat is sold once, and to a payment that was debited once;
//! - a payment that got no seat has its points back: nothing is pending for ever;
//! - what a client was told is so, and no balance was ever below zero;
//! - each step of a payment was taken once, and in the whole protocol the unique key that Postgres has on
//!   operation and step never fires: it is the last wall.
//!
//! The defences are the fields of [`Defences`]; each has a test that takes it out.

mod play;
mod scripts;
mod shard;

use super::{assert_caught, assert_unbroken, seeds};
use play::play;

/// What a busy shard does with a step that is not the first of its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LaterSteps {
    /// It takes them: refusing them would keep points locked up, and relieve nobody.
    AreExempt,
    /// It refuses them, and the task asks again. Slower, and safe.
    BusyMeansAskAgain,
    /// It refuses them, and the task takes that for a decision.
    BusyMeansRefused,
}

#[derive(Clone, Debug)]
struct Defences {
    reserve_is_awaited: bool,
    decision_is_awaited_before_the_answer: bool,
    decision_is_awaited_before_the_void: bool,
    /// Recovery gives points back only after the seats' shard has said that there is no seat for them.
    void_needs_a_tombstone: bool,
    steps_are_idempotent: bool,
    later_steps: LaterSteps,
    /// Both shards keep the steps of a payment for long after it was closed in Postgres: longer than a call
    /// that was justified before can still be under way.
    steps_are_kept_long: bool,
    /// A call carries the time of the reading of Postgres that justified it, and a shard refuses what is
    /// older than an hour, because it may have forgotten the payment since. This holds for every first
    /// writing of a step: the reserve, the decision and the tombstone.
    late_reserves_are_refused: bool,
    late_decides_are_refused: bool,
    late_aborts_are_refused: bool,
    /// The unique key of operation and step in Postgres, the last wall.
    operations_are_unique: bool,
}

#[derive(Debug)]
enum Violation {
    SoldTwice,
    SoldButNotPaid,
    PaidOrPendingWithoutSeat,
    MoneyNotConserved,
    NegativeBalance,
    ToldOtherwise,
    StepTakenTwice,
}

#[derive(Debug, Default)]
struct Outcome {
    violation: Option<Violation>,
    confirmed: usize,
    refunded: usize,
    aborts_asked: usize,
    late_calls: usize,
    busy: usize,
    last_walls_hit: usize,
}

impl Default for Defences {
    fn default() -> Defences {
        Defences {
            reserve_is_awaited: true,
            decision_is_awaited_before_the_answer: true,
            decision_is_awaited_before_the_void: true,
            void_needs_a_tombstone: true,
            steps_are_idempotent: true,
            later_steps: LaterSteps::AreExempt,
            steps_are_kept_long: true,
            late_reserves_are_refused: true,
            late_decides_are_refused: true,
            late_aborts_are_refused: true,
            operations_are_unique: true,
        }
    }
}

impl Defences {
    fn without_the_last_wall() -> Defences {
        Defences { operations_are_unique: false, ..Defences::default() }
    }
}

fn assert_ablation_is_caught(defences: &Defences) {
    assert_caught(|seed| play(seed, defences).violation);
}

#[test]
fn the_whole_protocol_holds() {
    let mut total = Outcome::default();
    for seed in 0..seeds() {
        let run = play(seed, &Defences::default());
        assert_unbroken(seed, run.violation);
        assert_eq!(run.last_walls_hit, 0, "seed {seed} touches the last wall");
        total.confirmed += run.confirmed;
        total.refunded += run.refunded;
        total.aborts_asked += run.aborts_asked;
        total.late_calls += run.late_calls;
        total.busy += run.busy;
    }
    assert!(total.confirmed > 50_000, "seats are sold: {total:?}");
    assert!(total.refunded > 50_000, "payments are refused and given back: {total:?}");
    assert!(total.aborts_asked > 50_000, "recovery works: {total:?}");
    assert!(total.late_calls > 10_000, "tasks wake up late: {total:?}");
    assert!(total.busy > 5_000, "shards are busy: {total:?}");
}

#[test]
fn the_protocol_holds_without_the_unique_key_of_postgres() {
    for seed in 0..seeds() {
        assert_unbroken(seed, play(seed, &Defences::without_the_last_wall()).violation);
    }
}

#[test]
fn deciding_before_the_reserve_is_durable_is_caught() {
    assert_ablation_is_caught(&Defences { reserve_is_awaited: false, ..Defences::default() });
}

#[test]
fn answering_before_the_decision_is_durable_is_caught() {
    let defences = Defences { decision_is_awaited_before_the_answer: false, ..Defences::default() };
    assert_ablation_is_caught(&defences);
}

#[test]
fn giving_back_before_the_decision_is_durable_is_caught() {
    let defences = Defences { decision_is_awaited_before_the_void: false, ..Defences::default() };
    assert_ablation_is_caught(&defences);
}

#[test]
fn waiting_for_neither_step_is_caught() {
    let defences = Defences {
        reserve_is_awaited: false,
        decision_is_awaited_before_the_answer: false,
        decision_is_awaited_before_the_void: false,
        ..Defences::default()
    };
    assert_ablation_is_caught(&defences);
}

#[test]
fn giving_back_by_time_out_is_caught() {
    assert_ablation_is_caught(&Defences { void_needs_a_tombstone: false, ..Defences::default() });
}

/// With the unique key of Postgres on, it fires all the time and stops the shards.
#[test]
fn steps_that_may_be_repeated_are_caught_without_the_last_wall() {
    let defences = Defences { steps_are_idempotent: false, ..Defences::without_the_last_wall() };
    assert_ablation_is_caught(&defences);
}

#[test]
fn taking_busy_for_a_decision_is_caught() {
    let later_steps = LaterSteps::BusyMeansRefused;
    assert_ablation_is_caught(&Defences { later_steps, ..Defences::default() });
}

/// So the exemption of later steps is for speed; it is taking busy for an answer that does harm.
#[test]
fn asking_again_when_a_later_step_is_busy_is_safe() {
    let later_steps = LaterSteps::BusyMeansAskAgain;
    for seed in 0..seeds() {
        assert_unbroken(seed, play(seed, &Defences { later_steps, ..Defences::default() }).violation);
    }
}

/// The payment was aborted, given back and forgotten; then the first request wakes up and finds its hold.
#[test]
fn tombstones_that_are_forgotten_early_are_caught_without_the_last_wall() {
    let defences = Defences { steps_are_kept_long: false, ..Defences::without_the_last_wall() };
    // A step taken twice would be found sooner; this asks for the harm that it does.
    let is_harm = |violation: &Violation| !matches!(violation, Violation::StepTakenTwice);
    assert_caught(|seed| play(seed, &defences).violation.filter(is_harm));
}

/// The payment was closed and forgotten; then a request that had found nothing in Postgres debits once more.
#[test]
fn late_reserves_are_caught_without_the_last_wall() {
    let defences = Defences { late_reserves_are_refused: false, ..Defences::without_the_last_wall() };
    assert_ablation_is_caught(&defences);
}

#[test]
fn late_decides_are_caught_without_the_last_wall() {
    let defences = Defences { late_decides_are_refused: false, ..Defences::without_the_last_wall() };
    assert_ablation_is_caught(&defences);
}

#[test]
fn late_tombstones_are_caught_without_the_last_wall() {
    let defences = Defences { late_aborts_are_refused: false, ..Defences::without_the_last_wall() };
    assert_ablation_is_caught(&defences);
}
