//! A queue in its shard.

use super::model::{ChangeQueue, QueueSettings, QueueState, tenths};
use super::ticket::Ticket;
use crate::ids::{QueueId, UserId};
use crate::journal::facts::Text;
use crate::redis::{Bits, Key, Space, or_empty, script};

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
    /// Who waits, a bit a number.
    line
    /// Who waits and was not seen, likewise, until ticks have ended it all.
    silent
    /// Only within a script.
    scratch
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

/// Parts of the ring of who was seen.
pub const SEEN_PARTS: i64 = 24;
/// The time of each; `lua/lib/line` knows it, too. A place lapses when the ring has gone round without a
/// poll: three minutes, four seconds for marks to arrive, and eight at most until the next part begins.
pub const SEEN_MS: i64 = 8_000;
const _: () = assert!((SEEN_PARTS - 1) * SEEN_MS == 184_000);

/// Who was seen, a bit a number: the ring's parts.
pub fn seen(space: &Space, queue: QueueId) -> Vec<Key> {
    (0..SEEN_PARTS).map(|part| space.key("queue", &[&queue, &part, &"seen"])).collect()
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
            queue: QueueId, name: Text, rate: i64, max_active: i64, active_seconds: i64,
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

    /// Takes places.
    Join = "queue/join" {
        keys { room, waiting, line, passes, active, buffer, busy; seen }
        args { queue: QueueId, users: String, gate: u128 }
    }

    /// How a ticket stands.
    Poll = "queue/poll" { keys { room, waiting, passes, active, ended } args { user: UserId, number: i64 } }

    /// All who wait, as bits.
    Line = "queue/line" { keys { room, waiting, line } args { bytes_max: usize } }

    /// Puts a lost place back.
    Restore = "queue/restore" {
        keys { room, waiting, line, passes, active, ended, buffer, busy; seen }
        args { queue: QueueId, user: UserId, number: i64 }
    }

    /// Gives a place up.
    Leave = "queue/leave" {
        keys { room, waiting, line, passes, active, fresh, ended, buffer, busy }
        args { queue: QueueId, user: UserId, number: i64 }
    }

    /// Marks numbers, bits from a multiple of eight on, and users who are in, as seen.
    Seen = "queue/seen" {
        keys { room, line, fresh, scratch; seen }
        args { from: i64, bits: Bits, users: String }
    }

    /// A queue in numbers.
    Stats = "queue/stats" { keys { room, waiting, active } args { } }

    /// Queues to tick.
    Busy = "queue/busy" { keys { busy } args { } }

    /// Journals, ends, admits.
    Tick = "queue/tick" {
        keys { room, waiting, line, silent, passes, active, fresh, ended, buffer, log, busy; seen }
        args { queue: QueueId, limit: usize, unused_ms: i64, busy_ms: u128 }
    }
}

/// Makes a queue.
pub fn create(space: &Space, queue: QueueId, name: &str, settings: &QueueSettings) -> Create {
    Create {
        room: room(space, queue),
        queue,
        name: Text(name.to_owned()),
        rate: tenths(settings.admit_per_second),
        max_active: settings.max_active,
        active_seconds: settings.active_seconds,
        max_waiting: or_empty(settings.max_waiting),
    }
}

/// Changes settings.
pub fn change(space: &Space, queue: QueueId, change: &ChangeQueue) -> Change {
    Change {
        room: room(space, queue),
        busy: busy(space),
        queue,
        state: change.state.map_or("", QueueState::word).to_owned(),
        rate: or_empty(change.admit_per_second.map(tenths)),
        max_active: or_empty(change.max_active),
        active_seconds: or_empty(change.active_seconds),
        max_waiting: match change.max_waiting {
            Some(None) => "none".into(),
            set => or_empty(set.flatten()),
        },
    }
}

/// Takes places; refused when the shard is behind by more than `gate` milliseconds. Users as a list with
/// commas.
pub fn join(space: &Space, queue: QueueId, users: String, gate: u128) -> Join {
    Join {
        room: room(space, queue),
        waiting: waiting(space, queue),
        line: line(space, queue),
        passes: passes(space, queue),
        active: active(space, queue),
        buffer: buffer(space, queue),
        busy: busy(space),
        seen: seen(space, queue),
        queue,
        users,
        gate,
    }
}

/// How a ticket stands.
pub fn poll(space: &Space, ticket: &Ticket) -> Poll {
    Poll {
        room: room(space, ticket.queue),
        waiting: waiting(space, ticket.queue),
        passes: passes(space, ticket.queue),
        active: active(space, ticket.queue),
        ended: ended(space, ticket.queue),
        user: ticket.user,
        number: ticket.number,
    }
}

/// Puts a lost place back.
pub fn restore(space: &Space, ticket: &Ticket) -> Restore {
    Restore {
        room: room(space, ticket.queue),
        waiting: waiting(space, ticket.queue),
        line: line(space, ticket.queue),
        passes: passes(space, ticket.queue),
        active: active(space, ticket.queue),
        ended: ended(space, ticket.queue),
        buffer: buffer(space, ticket.queue),
        busy: busy(space),
        seen: seen(space, ticket.queue),
        queue: ticket.queue,
        user: ticket.user,
        number: ticket.number,
    }
}

/// Gives a place up.
pub fn leave(space: &Space, ticket: &Ticket) -> Leave {
    Leave {
        room: room(space, ticket.queue),
        waiting: waiting(space, ticket.queue),
        line: line(space, ticket.queue),
        passes: passes(space, ticket.queue),
        active: active(space, ticket.queue),
        fresh: fresh(space, ticket.queue),
        ended: ended(space, ticket.queue),
        buffer: buffer(space, ticket.queue),
        busy: busy(space),
        queue: ticket.queue,
        user: ticket.user,
        number: ticket.number,
    }
}

/// Journals, ends, admits.
pub fn tick(space: &Space, queue: QueueId, limits: TickLimits) -> Tick {
    Tick {
        room: room(space, queue),
        waiting: waiting(space, queue),
        line: line(space, queue),
        silent: silent(space, queue),
        passes: passes(space, queue),
        active: active(space, queue),
        fresh: fresh(space, queue),
        ended: ended(space, queue),
        buffer: buffer(space, queue),
        log: log(space, queue),
        busy: busy(space),
        seen: seen(space, queue),
        queue,
        limit: limits.places,
        unused_ms: limits.unused_ms,
        busy_ms: limits.busy_ms,
    }
}

/// What bounds a tick.
#[derive(Clone, Copy, Debug)]
pub struct TickLimits {
    /// Places that one call admits, ends or journals, each.
    pub places: usize,
    /// Nobody uses a new pass for so long: it ends.
    pub unused_ms: i64,
    /// Nobody is let in when the shard is behind by more.
    pub busy_ms: u128,
}
