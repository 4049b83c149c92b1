//! A concert in its shard.

use chrono::NaiveDate;

use crate::ids::{ConcertId, Points, QueueId, ShowId, UserId};
use crate::journal::facts::Text;
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
