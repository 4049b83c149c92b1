//! Model of the journal: Redis decides, Postgres remembers, and nobody is told yes for what may be lost.
//!
//! One shard. Clients send operations; a handler looks in Postgres for the operation and the epoch, or
//! remembers that it was not there, then calls a script on whichever node it reaches; the script journals the
//! outcome and changes the state. Two writers read the journal after the cursor and commit it in order; a
//! handler answers when its own entry is durable. Meanwhile Redis is emptied, or fails over to a replica that
//! lags by some effects while the old primary goes on serving those who still reach it; replies get lost and
//! the driver repeats the call; writers and rebuilders are paused between any two steps and wake up late.
//!
//! What must always hold:
//!
//! - what a client was told is in Postgres, with the very outcome that he was told;
//! - Postgres holds a legal history: no seat sold twice, no balance below zero, no operation applied twice;
//! - nothing that Postgres lacks is trimmed from the stream;
//! - at rest Redis and Postgres hold the same, and no points came from nowhere;
//! - in the whole protocol, the constraints of Postgres never fire: they are the last wall, not a tool.
//!
//! The defences are the fields of [`Defences`]. Each says what it does; each has a test below that takes it
//! out. Where a defence is held up by a second one, the test takes out both and says so in its name.

mod play;
mod postgres;
mod rebuild;
mod redis;
mod world;

use super::{assert_caught, assert_unbroken, seeds};
use play::play;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acknowledgement {
    /// A handler waits for its operation, epoch, number and hash.
    ByIdentity,
    /// A handler waits until the committed number has passed its own.
    ByCommittedNumber,
    WhenRedisAnswers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duplicates {
    /// An operation that is there already is an alarm.
    Alarm,
    /// `ON CONFLICT DO NOTHING`.
    Skipped,
    /// No unique key at all.
    Unnoticed,
}

#[derive(Clone, Debug)]
struct Defences {
    acknowledgement: Acknowledgement,
    /// The hash of an entry covers its outcome, not only which operation it was.
    hash_covers_facts: bool,
    /// Each entry names the hash of the one before, and the first of a batch that of the cursor.
    entries_are_chained: bool,
    /// The numbers of a batch follow the cursor without a gap, and a stream that ends before it is a loss.
    numbers_are_contiguous: bool,
    /// The entry at the cursor is compared too, so that a fork shows before the next write.
    looks_at_the_head_when_idle: bool,
    /// A commit moves the cursor from where its reader found it, or not at all.
    cursor_is_compared_and_set: bool,
    /// A commit names its epoch, and the shard must be live in it.
    commits_check_epoch: bool,
    /// A script runs only on a shard that is live in the caller's epoch.
    scripts_check_epoch_and_state: bool,
    /// A handler that met a stale epoch looks for its operation again, not only for the epoch.
    looks_up_again_when_stale: bool,
    /// A look-up that a handler remembers counts in its epoch alone.
    remembers_in_one_epoch: bool,
    trims_after_the_commit: bool,
    /// A rebuild begins the new epoch in Postgres before it reads its snapshot there.
    fences_before_the_snapshot: bool,
    /// A chunk is loaded only after the one before it.
    chunks_are_numbered: bool,
    /// Going live is refused unless the last chunk was loaded.
    going_live_counts_chunks: bool,
    /// The constraints of the tables, the last wall.
    constraints: bool,
    /// The unique key of operations, the last wall too.
    duplicates: Duplicates,
}

#[derive(Debug)]
enum Violation {
    ToldButNotInPostgres,
    ToldOtherwise,
    IllegalHistory,
    AppliedTwice,
    TrimmedBeforeCommitted,
    RedisDiffersAtRest,
    MoneyNotConserved,
}

#[derive(Debug, Default)]
struct Outcome {
    violation: Option<Violation>,
    acknowledged: usize,
    forks_caught: usize,
    last_walls_hit: usize,
    rebuilds: usize,
    rebuild_steps_refused: usize,
    replies_lost: usize,
}

impl Default for Defences {
    fn default() -> Defences {
        Defences {
            acknowledgement: Acknowledgement::ByIdentity,
            hash_covers_facts: true,
            entries_are_chained: true,
            numbers_are_contiguous: true,
            looks_at_the_head_when_idle: true,
            cursor_is_compared_and_set: true,
            commits_check_epoch: true,
            scripts_check_epoch_and_state: true,
            looks_up_again_when_stale: true,
            remembers_in_one_epoch: true,
            trims_after_the_commit: true,
            fences_before_the_snapshot: true,
            chunks_are_numbered: true,
            going_live_counts_chunks: true,
            constraints: true,
            duplicates: Duplicates::Alarm,
        }
    }
}

impl Defences {
    fn without_the_last_wall() -> Defences {
        Defences { constraints: false, duplicates: Duplicates::Unnoticed, ..Defences::default() }
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
        total.acknowledged += run.acknowledged;
        total.forks_caught += run.forks_caught;
        total.rebuilds += run.rebuilds;
        total.rebuild_steps_refused += run.rebuild_steps_refused;
        total.replies_lost += run.replies_lost;
    }
    // A model in which nothing happens holds too: these say that it does happen.
    assert!(total.acknowledged > 100_000, "clients are told yes: {total:?}");
    assert!(total.forks_caught > 100, "Redis forks, and is caught: {total:?}");
    assert!(total.rebuilds > 50_000, "shards are rebuilt: {total:?}");
    assert!(total.rebuild_steps_refused > 50_000, "rebuilders meet each other and losses: {total:?}");
    assert!(total.replies_lost > 100_000, "the driver sends calls again: {total:?}");
}

#[test]
fn the_protocol_holds_without_the_constraints_of_postgres() {
    for seed in 0..seeds() {
        assert_unbroken(seed, play(seed, &Defences::without_the_last_wall()).violation);
    }
}

#[test]
fn acknowledging_when_redis_answers_is_caught() {
    let acknowledgement = Acknowledgement::WhenRedisAnswers;
    assert_ablation_is_caught(&Defences { acknowledgement, ..Defences::default() });
}

/// After a fail-over another entry may have the number that a handler waits for.
#[test]
fn acknowledging_by_the_committed_number_is_caught() {
    let acknowledgement = Acknowledgement::ByCommittedNumber;
    assert_ablation_is_caught(&Defences { acknowledgement, ..Defences::default() });
}

/// The driver repeats a call on a promoted node, where it has another outcome at the same place in the chain:
/// the client is told of one seat and Postgres holds another.
#[test]
fn a_hash_that_leaves_out_the_outcome_is_caught() {
    assert_ablation_is_caught(&Defences { hash_covers_facts: false, ..Defences::default() });
}

#[test]
fn entries_without_a_chain_are_caught() {
    assert_ablation_is_caught(&Defences { entries_are_chained: false, ..Defences::default() });
}

#[test]
fn entries_without_a_chain_and_without_the_last_wall_are_caught() {
    let defences = Defences { entries_are_chained: false, ..Defences::without_the_last_wall() };
    assert_ablation_is_caught(&defences);
}

/// After a fail-over the stream may end before the cursor, and nothing new comes that would show it.
#[test]
fn numbers_that_need_not_be_contiguous_are_caught() {
    assert_ablation_is_caught(&Defences { numbers_are_contiguous: false, ..Defences::default() });
}

#[test]
fn not_looking_at_the_head_when_idle_is_caught() {
    assert_ablation_is_caught(&Defences { looks_at_the_head_when_idle: false, ..Defences::default() });
}

#[test]
fn a_cursor_that_is_only_a_stream_id_is_caught() {
    let defences =
        Defences { entries_are_chained: false, numbers_are_contiguous: false, ..Defences::default() };
    assert_ablation_is_caught(&defences);
}

/// Two workers commit what they read, neither compares the cursor, and a repeated operation is passed over.
#[test]
fn a_consumer_group_is_caught() {
    let defences = Defences {
        cursor_is_compared_and_set: false,
        entries_are_chained: false,
        duplicates: Duplicates::Skipped,
        ..Defences::default()
    };
    assert_ablation_is_caught(&defences);
}

/// With the constraints on, they fire in nearly every run and stop the shard; they do not keep it right.
#[test]
fn commits_that_do_not_compare_the_cursor_are_caught_without_the_last_wall() {
    let defences = Defences { cursor_is_compared_and_set: false, ..Defences::without_the_last_wall() };
    assert_ablation_is_caught(&defences);
}

#[test]
fn commits_of_an_old_epoch_are_caught() {
    assert_ablation_is_caught(&Defences { commits_check_epoch: false, ..Defences::default() });
}

#[test]
fn commits_of_an_old_epoch_without_the_last_wall_are_caught() {
    let defences = Defences { commits_check_epoch: false, ..Defences::without_the_last_wall() };
    assert_ablation_is_caught(&defences);
}

#[test]
fn scripts_that_check_neither_epoch_nor_state_are_caught() {
    assert_ablation_is_caught(&Defences { scripts_check_epoch_and_state: false, ..Defences::default() });
}

/// The operation became durable in the old epoch after the handler had looked, and runs again in the new one.
/// With the constraints on, the unique key of operations stops the shard instead.
#[test]
fn learning_only_the_epoch_when_stale_is_caught_without_the_last_wall() {
    let defences = Defences { looks_up_again_when_stale: false, ..Defences::without_the_last_wall() };
    assert_ablation_is_caught(&defences);
}

/// The operation became durable after the look-up; with the old epoch its record in Redis is gone.
#[test]
fn remembering_a_look_up_of_another_epoch_is_caught_without_the_last_wall() {
    let defences = Defences { remembers_in_one_epoch: false, ..Defences::without_the_last_wall() };
    assert_ablation_is_caught(&defences);
}

#[test]
fn trimming_before_the_commit_is_caught() {
    assert_ablation_is_caught(&Defences { trims_after_the_commit: false, ..Defences::default() });
}

#[test]
fn a_snapshot_before_the_fence_is_caught() {
    assert_ablation_is_caught(&Defences { fences_before_the_snapshot: false, ..Defences::default() });
}

/// A fail-over in the middle of a load loses a chunk, and the rebuilder goes on with the next.
#[test]
fn chunks_that_are_not_numbered_are_caught() {
    assert_ablation_is_caught(&Defences { chunks_are_numbered: false, ..Defences::default() });
}

/// Numbers alone are not enough: the last chunks may be lost between the last load and going live.
#[test]
fn going_live_without_counting_the_chunks_is_caught() {
    assert_ablation_is_caught(&Defences { going_live_counts_chunks: false, ..Defences::default() });
}
