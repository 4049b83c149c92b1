//! Seats in their shard.

use chrono::NaiveDate;

use super::model;
use crate::concerts;
use crate::concerts::model::Show;
use crate::ids::{ConcertId, Points, QueueId, ReservationId, ShowId, UserId};
use crate::queue;
use crate::queue::ticket::Ticket;
use crate::redis::{Key, Space, by_commas, script};

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

    /// What a user who is in holds under an id.
    Held = "seats/held" {
        keys { room, waiting, passes, active, ended, holds }
        args { user: UserId, number: i64, reservation: ReservationId }
    }

    /// Which seats are taken.
    Read = "seats/read" {
        keys { room, waiting, passes, active, ended, shows, taken }
        args { user: UserId, number: i64, show: ShowId }
    }
}

/// Seats that a user who is in asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Of which show.
    pub show: Show,
    /// Today, in the configured zone.
    pub today: NaiveDate,
    /// The id of the hold.
    pub reservation: ReservationId,
    /// Numbers.
    pub seats: Vec<u32>,
}

/// Holds seats.
pub fn hold(space: &Space, ticket: &Ticket, wanted: &Wanted) -> Hold {
    let pass = queue::store::leave(space, ticket);
    let (concert, show) = (wanted.show.concert_id, wanted.show.show_id);
    Hold {
        room: pass.room,
        waiting: pass.waiting,
        passes: pass.passes,
        active: pass.active,
        fresh: pass.fresh,
        ended: pass.ended,
        policy: concerts::store::policy(space, concert),
        shows: concerts::store::shows(space, concert),
        state: state(space, show),
        taken: taken(space, show),
        users: users(space, show),
        free: concerts::store::free(space, concert),
        holds: holds(space, concert),
        holders: holders(space, concert),
        deadlines: deadlines(space),
        queue: ticket.queue,
        concert,
        show,
        date: wanted.show.date,
        today: wanted.today,
        user: ticket.user,
        number: ticket.number,
        reservation: wanted.reservation,
        seats: by_commas(&wanted.seats),
    }
}

/// Gives a hold up.
pub fn cancel(space: &Space, hold: &model::Hold) -> Cancel {
    let (concert, show) = (hold.concert_id, hold.show_id);
    Cancel {
        state: state(space, show),
        taken: taken(space, show),
        users: users(space, show),
        free: concerts::store::free(space, concert),
        holds: holds(space, concert),
        holders: holders(space, concert),
        deadlines: deadlines(space),
        concert,
        user: hold.user_id,
        reservation: hold.reservation_id,
        deadline: hold.deadline_ms,
    }
}

/// What the ticket's user holds under this id in the concert of its queue.
pub fn held(space: &Space, ticket: &Ticket, reservation: ReservationId) -> Held {
    let pass = queue::store::poll(space, ticket);
    Held {
        room: pass.room,
        waiting: pass.waiting,
        passes: pass.passes,
        active: pass.active,
        ended: pass.ended,
        holds: holds(space, ConcertId::from(ticket.queue)),
        user: pass.user,
        number: pass.number,
        reservation,
    }
}

/// A hold as scripts write and read it.
pub fn hold_record(of: &model::Hold) -> String {
    format!("{}|{}|{}|{}|{}", of.user_id, of.show_id, of.seats, of.amount, of.deadline_ms)
}

/// Reads what `seats/held` found; `None` where there is no hold.
pub fn read_hold(concert: ConcertId, reservation: ReservationId, record: &str) -> Option<model::Hold> {
    let [user, show, seats, amount, deadline] = record.split('|').collect::<Vec<_>>()[..] else {
        return None;
    };
    Some(model::Hold {
        reservation_id: reservation,
        concert_id: concert,
        show_id: show.parse().ok()?,
        user_id: user.parse().ok()?,
        seats: seats.to_owned(),
        amount: Points::new(amount.parse().ok()?)?,
        deadline_ms: deadline.parse().ok()?,
    })
}

/// Frees the seats of holds that are over; `reservations` by commas.
pub fn sweep(space: &Space, concert: ConcertId, show: ShowId, reservations: &str) -> Sweep {
    Sweep {
        state: state(space, show),
        taken: taken(space, show),
        users: users(space, show),
        free: concerts::store::free(space, concert),
        holds: holds(space, concert),
        holders: holders(space, concert),
        deadlines: deadlines(space),
        concert,
        show,
        reservations: reservations.to_owned(),
    }
}

/// Which seats are taken, for a ticket of the concert's queue.
pub fn read(space: &Space, ticket: &Ticket, show: &Show) -> Read {
    let pass = queue::store::poll(space, ticket);
    Read {
        room: pass.room,
        waiting: pass.waiting,
        passes: pass.passes,
        active: pass.active,
        ended: pass.ended,
        shows: concerts::store::shows(space, show.concert_id),
        taken: taken(space, show.show_id),
        user: pass.user,
        number: pass.number,
        show: show.show_id,
    }
}
