//! What happens to concerts and shows.

use chrono::NaiveDate;

use crate::ids::{ConcertId, Points, ShowId};
use crate::journal::facts::{Text, events};

events! {
    /// Facts of a concert's shard.
    ConcertEvent {
        /// A concert was made; its queue is told by `queue.created`.
        ConcertCreated = "concert.created" {
            concert: ConcertId, title: Text, seats_per_user: i64, hold_seconds: i64,
        }
        /// A show was added.
        ShowAdded = "show.added" {
            show: ShowId, concert: ConcertId, date: NaiveDate, price: Points, seats: i64,
            opens_ms: Option<i64>, closes_ms: Option<i64>,
        }
    }
}
