//! Models of the protocols: the rules of the engine played as small state machines, in memory, under faults.
//!
//! A model is not the code; it is the argument that the code follows. Each one plays a protocol with a
//! seeded random scheduler that loses Redis, fails over to a replica that lags, pauses and wakes tasks, and
//! repeats commands. Three things make it worth having beside the tests on real servers:
//!
//! - it reaches orders of events that a test on real servers meets once a year;
//! - each defence of a protocol can be taken out, and a test shows that something then breaks; a defence
//!   whose loss changes nothing would be decoration, and is said to be so where there is one;
//! - a change of the protocol is tried here first, where a counterexample is a seed, not an incident.
//!
//! What must always hold: the whole protocol breaks in none of [`seeds`] runs, each ablation in at least one.
//! The models use no clock, no thread and no file: the same seed plays the same run on every machine.

mod journal;
mod payment;
mod waiting_room;

use std::fmt::Debug;

use crate::harness::setting;

/// How many seeds a protocol must survive, and within how many an ablation must be caught; `MODEL_SEEDS`
/// plays more.
pub fn seeds() -> u64 {
    setting("MODEL_SEEDS", 20_000)
}

/// Plays seeds until one is broken, and fails if none is: the defence that was taken out did nothing.
pub fn assert_caught<Violation: Debug>(play: impl Fn(u64) -> Option<Violation>) {
    let found = (0..seeds()).find_map(|seed| play(seed).map(|violation| (seed, violation)));
    let (seed, violation) = found.expect("a run is broken when this defence is missing");
    println!("caught at seed {seed}: {violation:?}");
}

/// Fails on a broken run; the message is all that is needed to play it again.
pub fn assert_unbroken<Violation: Debug>(seed: u64, violation: Option<Violation>) {
    assert!(violation.is_none(), "seed {seed} breaks the protocol: {violation:?}");
}
