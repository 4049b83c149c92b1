//! Seats in their shard.

use chrono::NaiveDate;

use crate::ids::{ConcertId, QueueId, ReservationId, ShowId, UserId};
use crate::redis::{Key, Space, script};

/// Seat → `h:reservation` held, `s:reservation` sold.
pub fn state(space: &Space, show: ShowId) -> Key {
    space.key("seats", &[&show, &"state"])
}

/// Bit n is set when seat n is taken.
pub fn taken(space: &Space, show: ShowId) -> Key {
    space.key("seats", &[&show, &"taken"])
}

/// User → seats that he holds and has bought.
pub fn users(space: &Space, show: ShowId) -> Key {
    space.key("seats", &[&show, &"users"])
}

/// Reservation → `user|show|seats|amount|deadline`.
pub fn holds(space: &Space, concert: ConcertId) -> Key {
    space.key("seats", &[&concert, &"holds"])
}

/// User → reservations that he holds.
pub fn holders(space: &Space, concert: ConcertId) -> Key {
    space.key("seats", &[&concert, &"holders"])
}

/// `concert|show|reservation` by deadline.
pub fn deadlines(space: &Space) -> Key {
    space.key("seats", &[&"deadlines"])
}

script! {
    /// Holds seats.
    Hold = "seats/hold" {
        keys {
            room, waiting, passes, active, fresh, ended,
            policy, shows, state, taken, users, free, holds, holders, deadlines,
        }
        args {
            queue: QueueId, concert: ConcertId, show: ShowId, date: NaiveDate, today: NaiveDate, user: UserId,
            number: i64, reservation: ReservationId, seats: String,
        }
    }

    /// Gives a hold up.
    Cancel = "seats/cancel" {
        keys { state, taken, users, free, holds, holders, deadlines }
        args { concert: ConcertId, user: UserId, reservation: ReservationId, deadline: i64 }
    }

    /// Holds that are over.
    Due = "seats/due" { keys { deadlines } args { limit: u32 } }

    /// Frees the seats of holds that are over.
    Sweep = "seats/sweep" {
        keys { state, taken, users, free, holds, holders, deadlines }
        args { concert: ConcertId, show: ShowId, reservations: String }
    }

    /// Which seats are taken.
    Read = "seats/read" {
        keys { room, waiting, passes, active, ended, shows, taken }
        args { user: UserId, number: i64, show: ShowId }
    }
}
