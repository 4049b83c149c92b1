//! What happens to places in a queue. Joins, admissions and ends come as lists, many an entry.

use crate::ids::QueueId;
use crate::journal::facts::{Place, Text, events};

events! {
    /// Facts of a queue's shard.
    QueueEvent {
        /// A queue was made. `rate_tenths` is admissions a second, in tenths.
        QueueCreated = "queue.created" {
            queue: QueueId, name: Text, rate_tenths: i64, max_active: i64, active_seconds: i64,
            max_waiting: Option<i64>,
        }
        /// How its settings were before the change that follows.
        QueueWas = "queue.was" {
            queue: QueueId, state: Text, rate_tenths: i64, max_active: i64, active_seconds: i64,
            max_waiting: Option<i64>,
        }
        /// Its settings changed; all are told. Waiting numbers up to `closed_below` are gone.
        QueueChanged = "queue.changed" {
            queue: QueueId, state: Text, rate_tenths: i64, max_active: i64, active_seconds: i64,
            max_waiting: Option<i64>, closed_below: i64,
        }
        /// Places were taken, in this order.
        QueueJoined = "queue.joined" { queue: QueueId, places: Vec<Place> }
        /// Places that were lost with Redis were put back at their own numbers.
        QueueRestored = "queue.restored" { queue: QueueId, places: Vec<Place> }
        /// Their turn came; the passes end at `deadline_ms`.
        QueueAdmitted = "queue.admitted" { queue: QueueId, deadline_ms: i64, places: Vec<Place> }
        /// Places or passes ended: `left`, `lapsed`, `expired`, `unused`, `closed`, `replaced`.
        QueueEnded = "queue.ended" { queue: QueueId, why: Text, numbers: Vec<i64> }
        /// A hold keeps its owner's pass alive.
        PassExtended = "queue.pass_extended" { queue: QueueId, number: i64, deadline_ms: i64 }
        /// A payment ended its owner's pass.
        PassSpent = "queue.pass_spent" { queue: QueueId, number: i64 }
    }
}
