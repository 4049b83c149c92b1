//! What happens to seats before they are sold.

use chrono::NaiveDate;

use crate::ids::{ConcertId, Points, ReservationId, ShowId, UserId};
use crate::journal::facts::events;

events! {
    /// Facts of a concert's shard.
    SeatEvent {
        /// Seats are held until `deadline_ms`.
        SeatsHeld = "seats.held" {
            reservation: ReservationId, concert: ConcertId, show: ShowId, date: NaiveDate, user: UserId,
            seats: Vec<u32>, amount: Points, deadline_ms: i64,
        }
        /// A hold ended unpaid; its seats are free.
        HoldLapsed = "seats.lapsed" { reservation: ReservationId }
        /// Its owner gave a hold up; its seats are free.
        HoldCancelled = "seats.cancelled" { reservation: ReservationId }
    }
}
