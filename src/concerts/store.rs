//! A concert in its shard.

use chrono::{DateTime, NaiveDate, Utc};

use super::model::{CreateConcert, Show};
use crate::ids::{ConcertId, Points, QueueId, ShowId, UserId};
use crate::journal::facts::Text;
use crate::queue;
use crate::queue::ticket::Ticket;
use crate::redis::{Key, Space, script};

/// Seats a user, length of a hold.
pub fn policy(space: &Space, concert: ConcertId) -> Key {
    space.key("concerts", &[&concert, &"policy"])
}

/// Show → `date|price|seats|opens|closes`.
pub fn shows(space: &Space, concert: ConcertId) -> Key {
    space.key("concerts", &[&concert, &"shows"])
}

/// Date → show.
pub fn dates(space: &Space, concert: ConcertId) -> Key {
    space.key("concerts", &[&concert, &"dates"])
}

/// Show → free seats.
pub fn free(space: &Space, concert: ConcertId) -> Key {
    space.key("concerts", &[&concert, &"free"])
}

script! {
    /// Makes a concert and its queue.
    Create = "concerts/create" {
        keys { room, policy }
        args {
            queue: QueueId, name: Text, rate: i64, max_active: i64, active_seconds: i64, max_waiting: String,
            seats_per_user: i64, hold_seconds: i64,
        }
    }

    /// Adds a show.
    AddShow = "concerts/add_show" {
        keys { policy, shows, dates, free }
        args {
            concert: ConcertId, show: ShowId, date: NaiveDate, price: Points, seats: i64, opens: String,
            closes: String,
        }
    }

    /// Shows and their free seats.
    Dates = "concerts/dates" {
        keys { room, waiting, passes, active, ended, shows, free }
        args { user: UserId, number: i64 }
    }
}

/// Makes a concert and its queue.
pub fn create(space: &Space, concert: ConcertId, body: &CreateConcert) -> Create {
    let room = queue::store::create(space, concert.into(), &body.title, &body.queue);
    Create {
        room: room.room,
        policy: policy(space, concert),
        queue: room.queue,
        name: room.name,
        rate: room.rate,
        max_active: room.max_active,
        active_seconds: room.active_seconds,
        max_waiting: room.max_waiting,
        seats_per_user: body.max_seats_per_user,
        hold_seconds: body.hold_seconds,
    }
}

/// Adds a show.
pub fn add_show(space: &Space, added: &Show) -> AddShow {
    let millis =
        |time: Option<DateTime<Utc>>| crate::redis::or_empty(time.map(|time| time.timestamp_millis()));
    AddShow {
        policy: policy(space, added.concert_id),
        shows: shows(space, added.concert_id),
        dates: dates(space, added.concert_id),
        free: free(space, added.concert_id),
        concert: added.concert_id,
        show: added.show_id,
        date: added.date,
        price: added.price,
        seats: added.seat_count,
        opens: millis(added.opens_at),
        closes: millis(added.closes_at),
    }
}

/// Shows and their free seats, for a ticket of the concert's queue.
pub fn free_by_show(space: &Space, ticket: &Ticket) -> Dates {
    let concert = ConcertId::from(ticket.queue);
    let pass = queue::store::poll(space, ticket);
    Dates {
        room: pass.room,
        waiting: pass.waiting,
        passes: pass.passes,
        active: pass.active,
        ended: pass.ended,
        shows: shows(space, concert),
        free: free(space, concert),
        user: pass.user,
        number: pass.number,
    }
}
