//! A queue in its shard.

use crate::ids::{QueueId, UserId};
use crate::redis::{Key, Space, script};

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        pub fn $name(space: &Space, queue: QueueId) -> Key {
            space.key("queue", &[&queue, &stringify!($name)])
        }
    )+};
}

keys! {
    /// Settings, counter, pace.
    room
    /// User by number.
    waiting
    /// Who waits, by when he was seen last.
    seen
    /// User → number of those who are in.
    passes
    /// Who is in, by the end of his pass.
    active
    /// Who was let in and has not been seen since, by when that ends his pass.
    fresh
    /// Soft changes that no tick has journaled yet.
    buffer
    /// `ms:count` of recent admissions.
    log
    /// User → epoch in which a place of his ended last, where a loss of Redis has left a gap.
    ended
}

/// The queues of a shard in which something goes on.
pub fn busy(space: &Space) -> Key {
    space.key("queue", &[&"busy"])
}

script! {
    /// Makes a queue.
    Create = "queue/create" {
        keys { room }
        args {
            queue: QueueId, name: crate::journal::facts::Text, rate: i64, max_active: i64, active_seconds: i64,
            max_waiting: String,
        }
    }

    /// Changes settings; empty leaves one as it is.
    Change = "queue/change" {
        keys { room, busy }
        args {
            queue: QueueId, state: String, rate: String, max_active: String, active_seconds: String,
            max_waiting: String,
        }
    }

    /// Takes a place.
    Join = "queue/join" {
        keys { room, waiting, seen, passes, active, buffer, busy }
        args { queue: QueueId, user: UserId, gate: u128 }
    }

    /// How a ticket stands.
    Poll = "queue/poll" { keys { room, waiting, passes, active, ended } args { user: UserId, number: i64 } }

    /// Puts a lost place back.
    Restore = "queue/restore" {
        keys { room, waiting, seen, passes, active, ended, buffer, busy }
        args { queue: QueueId, user: UserId, number: i64 }
    }

    /// Gives a place up.
    Leave = "queue/leave" {
        keys { room, waiting, seen, passes, active, fresh, ended, buffer, busy }
        args { queue: QueueId, user: UserId, number: i64 }
    }

    /// Marks users as seen.
    Seen = "queue/seen" { keys { seen, fresh } args { users: String } }

    /// A queue in numbers.
    Stats = "queue/stats" { keys { room, waiting, active } args { } }

    /// Queues to tick.
    Busy = "queue/busy" { keys { busy } args { } }

    /// Journals, ends, admits.
    Tick = "queue/tick" {
        keys { room, waiting, seen, passes, active, fresh, ended, buffer, log, busy }
        args { queue: QueueId, limit: usize, lapse_ms: i64, unused_ms: i64, busy_ms: u128 }
    }
}
