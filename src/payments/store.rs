//! Decisions in the seats' shard.

use crate::ids::{ConcertId, PaymentId, Points, QueueId, ReservationId, ShowId, UserId};
use crate::redis::{Key, Space, script};

/// Transfer → what was decided, in the form of an operation's record.
pub fn decided(space: &Space) -> Key {
    space.key("payments", &[&"decided"])
}

script! {
    /// Sells held seats, or says why not.
    Decide = "payments/decide" {
        keys { decided, state, taken, users, free, holds, holders, deadlines, room, passes, active, fresh, ended }
        args {
            queue: QueueId, concert: ConcertId, show: ShowId, seats: String, user: UserId,
            reservation: ReservationId, payment: PaymentId, amount: Points, balance: Points, deadline: i64,
            issued: i64,
        }
    }

    /// Says no where nothing was said.
    Abort = "payments/abort" {
        keys { decided }
        args { reservation: ReservationId, payment: PaymentId, concert: ConcertId }
    }

    /// Drops decisions that were closed long ago.
    Forget = "payments/forget" { keys { decided } args { transfers: String } }
}
