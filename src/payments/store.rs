//! Decisions in the seats' shard.

use super::model::Transfer;
use crate::ids::{ConcertId, PaymentId, Points, QueueId, ReservationId, ShowId, UserId};
use crate::queue;
use crate::redis::{Key, Space, script};
use crate::seats;
use crate::seats::model::Hold;

/// Transfer → what was decided, in the form of an operation's record.
pub fn decided(space: &Space) -> Key {
    space.key("payments", &[&"decided"])
}

script! {
    /// Sells held seats, or says why not.
    Decide = "payments/decide" {
        keys {
            decided, state, taken, users, free, holds, holders, deadlines,
            room, passes, active, fresh, ended,
        }
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

/// Sells the seats that a transfer is for, or says why not.
pub fn decide(space: &Space, transfer: &Transfer, hold: &Hold) -> Decide {
    let points = &transfer.points;
    let (concert, queue) = (points.concert, QueueId::from(points.concert));
    let seats = seats::store::cancel(space, hold);
    Decide {
        decided: decided(space),
        state: seats.state,
        taken: seats.taken,
        users: seats.users,
        free: seats.free,
        holds: seats.holds,
        holders: seats.holders,
        deadlines: seats.deadlines,
        room: queue::store::room(space, queue),
        passes: queue::store::passes(space, queue),
        active: queue::store::active(space, queue),
        fresh: queue::store::fresh(space, queue),
        ended: queue::store::ended(space, queue),
        queue,
        concert,
        show: hold.show_id,
        seats: hold.seats.clone(),
        user: points.user,
        reservation: points.reservation,
        payment: points.payment,
        amount: points.amount,
        balance: points.balance,
        deadline: seats.deadline,
        issued: transfer.issued_ms,
    }
}

/// Says no where nothing was said.
pub fn abort(space: &Space, transfer: &Transfer) -> Abort {
    let points = &transfer.points;
    Abort {
        decided: decided(space),
        reservation: points.reservation,
        payment: points.payment,
        concert: points.concert,
    }
}
