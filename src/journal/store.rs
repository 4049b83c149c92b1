//! The journal's own keys and scripts.

use super::entry::{Facts, Receipt};
use super::{Done, Step};
use crate::error::{Code, Error};
use crate::redis::{Key, Reply, Space, script};

/// The stream of entries.
pub fn journal(space: &Space) -> Key {
    space.key("journal", &[])
}

/// What operations came to lately.
pub fn ops(space: &Space) -> Key {
    space.key("ops", &[])
}

/// What those before came to.
pub fn past(space: &Space) -> Key {
    space.key("past", &[])
}

/// How far Postgres was, a line a minute.
pub fn marks(space: &Space) -> Key {
    space.key("marks", &[])
}

/// KEYS of `lib/shard` and `lib/journal`.
pub fn journal_keys(space: &Space) -> Vec<Key> {
    vec![space.meta(), journal(space), ops(space), past(space)]
}

script! {
    /// Opens a new epoch for loading.
    Begin = "shard/begin" { keys { meta } args { epoch: u64, deployment: uuid::Uuid } }

    /// Ends a rebuild.
    Open = "shard/open" {
        keys { meta, journal }
        args {
            epoch: u64, chunk: u64, origin: crate::ids::InstanceId, op: uuid::Uuid,
            hash: super::entry::ChainHash, root: super::entry::ChainHash, clock: String,
        }
    }

    /// Stops a shard, best effort.
    Fence = "shard/fence" { keys { meta } args { epoch: u64 } }

    /// How a shard stands.
    Tick = "shard/tick" { keys { meta, journal } args { epoch: u64, clock: String, cursor: u64 } }

    /// Accepts that much time has passed.
    Advance = "shard/advance" { keys { meta } args { epoch: u64, now: i64 } }

    /// How far Postgres is.
    Committed = "shard/committed" {
        keys { meta, journal, marks }
        args { epoch: u64, seq: u64, keep_ms: i64 }
    }

    /// Drops old records of operations.
    Forget = "shard/forget" { keys { ops, past } args { keep_ms: i64 } }
}

/// One chunk of a rebuild; its keys and commands vary, so it is not declared by the macro.
pub const LOAD: crate::redis::Source = crate::redis::Source {
    name: "shard/load",
    text: include_str!("../../lua/shard/load.lua"),
    keys: &["meta", "targets..."],
    args: &["epoch", "chunk", "commands..."],
};

/// What keys hold at one moment; its keys and what is asked of them vary.
pub const SNAPSHOT: crate::redis::Source = crate::redis::Source {
    name: "shard/snapshot",
    text: include_str!("../../lua/shard/snapshot.lua"),
    keys: &["targets..."],
    args: &["most", "asked..."],
};

/// `done` and `replayed` as what happened; `None` for a refusal. A replay of another request is refused.
pub fn read_done(space: &Space, step: &Step, reply: &Reply) -> Result<Option<Done>, Error> {
    let replayed = match reply.word() {
        "done" => false,
        "replayed" => true,
        _ => return Ok(None),
    };
    if replayed && reply.text(3)? != step.fingerprint {
        return Err(Error::refused(Code::IdempotencyKeyReused));
    }
    // What was decided long ago may have been loaded from an earlier epoch.
    let epoch = if replayed { reply.parse(5)? } else { space.epoch };
    let receipt = Receipt { shard: space.shard, epoch, seq: reply.parse(0)?, hash: reply.parse(1)? };
    let facts = Facts::new(reply.text(if replayed { 4 } else { 3 })?);
    Ok(Some(Done { receipt, at_ms: reply.int(2)?, facts, replayed }))
}

/// How a shard stands in Redis.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The epoch in `meta`; `None` when there is no shard.
    pub epoch: Option<u64>,
    /// `loading`, `live` or `fenced`.
    pub state: String,
    /// The chain's head.
    pub head: String,
    /// The last entry's number, by `meta`.
    pub last: u64,
    /// How far Postgres was, by `meta`.
    pub committed: u64,
    /// Whose Redis this is.
    pub deployment: String,
    /// The last entry's hash, by the stream.
    pub last_hash: String,
    /// The hash of the entry at the cursor; empty when it is gone.
    pub cursor_hash: String,
    /// The first entry that is still there, `<epoch>-<seq>`.
    pub first: String,
    /// Redis' time.
    pub now_ms: i64,
    /// The last time that the shard saw.
    pub seen_ms: i64,
    /// More than a minute lies between the two.
    pub clock_jumped: bool,
    /// When the oldest entry was written that Postgres lacks.
    pub pending_since_ms: Option<i64>,
}

impl Standing {
    /// Reads the answer of `shard/tick`.
    pub fn read(reply: &Reply) -> Result<Self, Error> {
        let number = |index: usize| reply.text(index).map(|text| text.parse().unwrap_or(0));
        Ok(Self {
            epoch: reply.text(0)?.parse().ok(),
            state: reply.text(1)?,
            head: reply.text(2)?,
            last: number(3)?,
            committed: number(4)?,
            deployment: reply.text(5)?,
            last_hash: reply.text(6)?,
            cursor_hash: reply.text(7)?,
            first: reply.text(8)?,
            now_ms: reply.int(9)?,
            seen_ms: reply.int(10)?,
            clock_jumped: reply.text(11)? == "1",
            pending_since_ms: reply.text(12)?.parse().ok(),
        })
    }
}
