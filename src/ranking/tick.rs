//! Hours that leave the window.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::model::{Hour, window_at};
use super::store;
use crate::app::App;
use crate::error::Error;
use crate::journal::refusal;
use crate::redis::Shard;

/// Hours of menus that one tick takes out of a shard.
const SUBTRACT_MAX: u32 = 1_000;

/// Up to which hour all is taken out, by shard, in its epoch: nothing is asked again before the next one.
#[derive(Default)]
pub struct Subtracted(Mutex<HashMap<Shard, (u64, Hour)>>);

/// Takes out what has left the window. One step of the schedule.
pub async fn subtract(app: &App, shard: Shard) -> Result<(), Error> {
    let epoch = app.journal.shards.known(shard).0.epoch;
    let now = (epoch, window_at(app.clock.now_ms()));
    let done = || app.subtracted.0.lock().unwrap_or_else(PoisonError::into_inner);
    if done().get(&shard) == Some(&now) {
        return Ok(());
    }
    let reply = app.journal.ask(shard, |space| store::subtract(space, SUBTRACT_MAX)).await?;
    if reply.word() != "done" {
        return Err(refusal(&reply));
    }
    let (begin, taken): (Hour, i64) = (reply.parse(0)?, reply.int(1)?);
    if taken < i64::from(SUBTRACT_MAX) {
        done().insert(shard, (epoch, begin));
    }
    Ok(())
}
