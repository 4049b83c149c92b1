//! Model of the waiting room: a place in the queue survives the loss of Redis, and nobody is overtaken by it.
//!
//! A number is the counter plus one; a user has one place, and joining again gives the same. Joining, leaving
//! and being put back are soft: they are answered when Redis has them, and stand in a buffer until a tick
//! journals it, in order. A tick of any instance then ends what is over (passes, ghosts, people who stopped
//! polling) and lets the next in, lowest number first, within a rate for any window and a cap; this is
//! journaled in the same tick. A payment that spends a pass is journaled at once. What is committed to
//! Postgres is a prefix of the journal; a loss of Redis takes the rest with it, and the buffer.
//!
//! After a loss a new epoch begins and, in the same transaction, the highest durable number J is recorded
//! with a gap above it, and the counter jumps over the gap. So a ticket says by its number alone what became
//! of it: up to J it was durable, and if it is unknown it is over; in a gap its place was lost, and the next
//! poll puts it back, once, at its own number. The rules that make this sound are the fields of [`Defences`].
//! Nothing is recorded per ticket: a ticket from a gap is over when a place of the same user has ended in a
//! later epoch than the gap's. That forbids both coming back after the end, and a second turn with another
//! lost ticket of the same user.
//!
//! Who was let in and lost it again, because it was not durable, is told that he waits: at his own number, so
//! that he is among the first to be let in once more. Whatever he did with the pass was not durable either.
//!
//! What must always hold:
//!
//! - a number is never issued to two users, and a user never has two places;
//! - a client that polls in time keeps its place: it is never told that it is gone, nor given a higher
//!   number, unless it left, paid, its pass ran out, or another ticket of the same user took over;
//! - a ticket that was over does not come back, unless its end was lost with Redis;
//! - nobody is let in while a lower number, whose client polls in time, still waits or is lost;
//! - the rate is kept in any window, also counting those whom a lost Redis let in, and the cap at any time;
//! - when all is durable both stores hold the same, and at rest whoever kept polling got in.
//!
//! What the model does not do: tickets and gaps do not age. A ticket that is put back is signed again, so its
//! age says nothing of the gap that it is from; a gap must be kept as long as the queue.

mod play;
mod room;
mod scripts;

use super::{assert_caught, assert_unbroken, seeds};
use play::play;

/// How a ticket whose number lies in a gap is known to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// A place of the same user ended in a later epoch than the one that the gap ended.
    OfTheLastEnd,
    /// The number was put back before, or left. This forgets the user's other tickets.
    OfRestoredNumbers,
    None,
}

/// For how long after a loss, and for whom, admission rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// After each loss, for all above the lowest gap ever recorded, until every client had time to poll.
    AfterEachLossAboveEveryGap,
    /// A gap no longer counts once its pause has elapsed, though what was put back meanwhile may not be
    /// durable yet: the next loss takes it away, and those above the gap go first.
    UntilAGapIsSettled,
    /// Each gap has one pause, from when it was recorded, whatever happens in it.
    OnceAGap,
    None,
}

#[derive(Clone, Debug)]
struct Defences {
    /// The counter goes on above the gap, so that no lost number is issued again.
    numbers_jump: bool,
    /// The highest durable number is read in the transaction that stops the old epoch's commits.
    the_gap_is_taken_with_the_fence: bool,
    every_gap_is_kept: bool,
    memory: Memory,
    pause: Pause,
    /// The run of the server that went live is kept with the epoch, and no other run serves it: not a replica
    /// that was promoted, not the same server after a restart. The chain of the journal would show a fork
    /// too, but later, and only if it was committed; what was answered without waiting has no other defence.
    a_run_serves_one_epoch: bool,
    /// Scripts match the user and the number of a ticket, not the user alone.
    scripts_match_the_number: bool,
    /// A lost ticket that comes back takes the place of a later ticket of the same user.
    the_lower_number_wins: bool,
    /// A tick journals the soft changes before its own, so that the journal has the order of the changes.
    ticks_journal_the_buffer_first: bool,
    /// Rate and cap are computed in the script that lets people in, not before it.
    the_script_takes_the_budget: bool,
    /// For one window after a rebuild nobody is let in: those whom the lost Redis let in last are counted
    /// nowhere, and were told so.
    the_first_window_is_closed: bool,
    /// When a client polled last is lost with Redis: its silence counts from when the shard is live again.
    silence_counts_while_live: bool,
}

#[derive(Debug)]
enum Violation {
    NumberIssuedTwice,
    TwoPlaces,
    PlaceLost,
    HigherNumberGiven,
    EndedTicketCameBack,
    SecondTurn,
    EndedThoughPolling,
    Overtaken,
    RateExceeded,
    CapExceeded,
    NeverAdmitted,
    StoresDiffer,
}

#[derive(Debug, Default)]
struct Outcome {
    violation: Option<Violation>,
    admitted: usize,
    restored: usize,
    losses: usize,
}

impl Default for Defences {
    fn default() -> Defences {
        Defences {
            numbers_jump: true,
            the_gap_is_taken_with_the_fence: true,
            every_gap_is_kept: true,
            memory: Memory::OfTheLastEnd,
            pause: Pause::AfterEachLossAboveEveryGap,
            a_run_serves_one_epoch: true,
            scripts_match_the_number: true,
            the_lower_number_wins: true,
            ticks_journal_the_buffer_first: true,
            the_script_takes_the_budget: true,
            the_first_window_is_closed: true,
            silence_counts_while_live: true,
        }
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
        total.admitted += run.admitted;
        total.restored += run.restored;
        total.losses += run.losses;
    }
    assert!(total.admitted > 300_000, "people are let in: {total:?}");
    assert!(total.restored > 30_000, "lost tickets are put back: {total:?}");
    assert!(total.losses > 60_000, "Redis is lost again and again: {total:?}");
}

#[test]
fn numbers_that_do_not_jump_are_caught() {
    assert_ablation_is_caught(&Defences { numbers_jump: false, ..Defences::default() });
}

/// What commits between the reading and the fence is durable and in the gap: when it is over, it comes back.
#[test]
fn a_gap_that_is_read_before_the_fence_is_caught() {
    assert_ablation_is_caught(&Defences { the_gap_is_taken_with_the_fence: false, ..Defences::default() });
}

#[test]
fn keeping_only_the_newest_gap_is_caught() {
    assert_ablation_is_caught(&Defences { every_gap_is_kept: false, ..Defences::default() });
}

#[test]
fn remembering_nothing_of_lost_tickets_is_caught() {
    assert_ablation_is_caught(&Defences { memory: Memory::None, ..Defences::default() });
}

/// A user whose place was lost joins again, gets in and pays; then his lost ticket gets him in once more.
#[test]
fn remembering_only_the_numbers_put_back_is_caught() {
    assert_ablation_is_caught(&Defences { memory: Memory::OfRestoredNumbers, ..Defences::default() });
}

#[test]
fn admitting_without_a_pause_is_caught() {
    assert_ablation_is_caught(&Defences { pause: Pause::None, ..Defences::default() });
}

#[test]
fn a_pause_that_a_second_loss_does_not_restart_is_caught() {
    assert_ablation_is_caught(&Defences { pause: Pause::OnceAGap, ..Defences::default() });
}

#[test]
fn settling_a_gap_when_its_pause_has_elapsed_is_caught() {
    assert_ablation_is_caught(&Defences { pause: Pause::UntilAGapIsSettled, ..Defences::default() });
}

/// The promoted replica issues numbers that the old primary has issued; when they are durable, the tickets
/// that were lost lie below the gap, and their holders are told that they are gone.
#[test]
fn a_promoted_replica_that_serves_the_old_epoch_is_caught() {
    assert_ablation_is_caught(&Defences { a_run_serves_one_epoch: false, ..Defences::default() });
}

#[test]
fn scripts_that_match_only_the_user_are_caught() {
    assert_ablation_is_caught(&Defences { scripts_match_the_number: false, ..Defences::default() });
}

#[test]
fn a_lower_number_that_does_not_win_is_caught() {
    assert_ablation_is_caught(&Defences { the_lower_number_wins: false, ..Defences::default() });
}

#[test]
fn journaling_admissions_before_the_joins_is_caught() {
    assert_ablation_is_caught(&Defences { ticks_journal_the_buffer_first: false, ..Defences::default() });
}

#[test]
fn a_budget_that_is_read_before_the_script_is_caught() {
    assert_ablation_is_caught(&Defences { the_script_takes_the_budget: false, ..Defences::default() });
}

/// Loading the durable admissions is not enough: those that were not durable let people in all the same.
#[test]
fn admitting_in_the_first_window_after_a_rebuild_is_caught() {
    assert_ablation_is_caught(&Defences { the_first_window_is_closed: false, ..Defences::default() });
}

#[test]
fn counting_the_silence_of_an_outage_is_caught() {
    assert_ablation_is_caught(&Defences { silence_counts_while_live: false, ..Defences::default() });
}
