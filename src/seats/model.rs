//! The words of seats and reservations.

use chrono::{DateTime, NaiveDate, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::concerts::model::SEATS_A_RESERVATION;
use crate::error::{Error, FieldError};
use crate::ids::{ConcertId, Points, ReservationId, ShowId, UserId};
use crate::redis::by_commas;
use crate::words::words;

/// `GET /v1/concerts/{concertId}/seats?date=`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Seats {
    /// Which day.
    pub date: NaiveDate,
    /// Which show.
    pub show_id: ShowId,
    /// Points for a seat.
    pub price: Points,
    /// All seats, free or not.
    pub total_seats: i64,
    /// Numbers of the free ones, ascending.
    pub available_seats: Vec<u32>,
}

/// `POST /v1/reservations`: one seat or several.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct ReserveRequest {
    /// Which concert.
    pub concert_id: ConcertId,
    /// Which of its shows.
    #[serde(deserialize_with = "crate::clock::day")]
    pub date: NaiveDate,
    /// One seat.
    #[schema(minimum = 1)]
    pub seat_number: Option<u32>,
    /// Or several, all or none.
    #[schema(min_items = 1, max_items = 10)]
    pub seat_numbers: Option<Vec<u32>>,
}

impl ReserveRequest {
    /// The seats, ascending; 400 unless there are one to ten different ones, named one way.
    pub fn seats(&self) -> Result<Vec<u32>, Error> {
        let invalid = |field: &str, message: &str| {
            Error::invalid_fields(vec![FieldError { field: field.into(), message: message.into() }])
        };
        let mut seats = match (self.seat_number, &self.seat_numbers) {
            (Some(seat), None) => vec![seat],
            (None, Some(seats)) => seats.clone(),
            (Some(_), Some(_)) => return Err(invalid("seatNumber", "and seatNumbers exclude each other")),
            (None, None) => return Err(invalid("seatNumber", "or seatNumbers is missing")),
        };
        let field = if self.seat_number.is_some() { "seatNumber" } else { "seatNumbers" };
        if !(1..=SEATS_A_RESERVATION).contains(&seats.len()) {
            return Err(invalid(field, "must name 1 to 10 seats"));
        }
        if seats.contains(&0) {
            return Err(invalid(field, "must be 1 or more"));
        }
        seats.sort_unstable();
        if seats.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(invalid(field, "must not name a seat twice"));
        }
        Ok(seats)
    }
}

words! {
    /// What became of a reservation.
    ReservationStatus {
        /// Held until `expiresAt`.
        Reserved = "RESERVED",
        /// Paid.
        Confirmed = "CONFIRMED",
        /// Given up by its owner.
        Cancelled = "CANCELLED",
        /// Not paid in time.
        Expired = "EXPIRED",
    }
}

/// A reservation.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// Its id.
    pub reservation_id: ReservationId,
    /// What became of it.
    pub status: ReservationStatus,
    /// Which concert.
    pub concert_id: ConcertId,
    /// Which show.
    pub show_id: ShowId,
    /// On which day.
    pub date: NaiveDate,
    /// Ascending.
    pub seat_numbers: Vec<u32>,
    /// Points for all of them.
    pub amount: Points,
    /// When the hold ends, or would have.
    #[serde(with = "crate::clock::millis")]
    pub expires_at: DateTime<Utc>,
    /// Whose it is; not told: only he and operators see it.
    #[serde(skip)]
    #[schema(ignore)]
    pub user_id: UserId,
}

/// A hold, as its shard has it.
#[derive(Clone, Debug)]
pub struct Hold {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// Which concert.
    pub concert_id: ConcertId,
    /// Which show.
    pub show_id: ShowId,
    /// Whose it is.
    pub user_id: UserId,
    /// Numbers by commas, ascending.
    pub seats: String,
    /// Points for all of them.
    pub amount: Points,
    /// When it ends, in milliseconds.
    pub deadline_ms: i64,
}

impl From<&Reservation> for Hold {
    fn from(of: &Reservation) -> Self {
        Self {
            reservation_id: of.reservation_id,
            concert_id: of.concert_id,
            show_id: of.show_id,
            user_id: of.user_id,
            seats: by_commas(&of.seat_numbers),
            amount: of.amount,
            deadline_ms: of.expires_at.timestamp_millis(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(one: Option<u32>, many: Option<&[u32]>) -> Option<Vec<u32>> {
        let request = ReserveRequest {
            concert_id: ConcertId::mint(),
            date: "2026-03-01".parse().unwrap(),
            seat_number: one,
            seat_numbers: many.map(<[u32]>::to_vec),
        };
        request.seats().ok()
    }

    #[test]
    fn one_to_ten_different_seats_named_one_way() {
        assert_eq!(seats(Some(7), None), Some(vec![7]));
        assert_eq!(seats(None, Some(&[3, 1])), Some(vec![1, 3]));
        assert_eq!(seats(Some(1), Some(&[2])), None);
        assert_eq!(seats(None, None), None);
        assert_eq!(seats(Some(0), None), None);
        assert_eq!(seats(None, Some(&[])), None);
        assert_eq!(seats(None, Some(&[1, 1])), None);
        let eleven: Vec<u32> = (1..=11).collect();
        assert_eq!(seats(None, Some(&eleven)), None);
        assert!(seats(None, Some(&eleven[..10])).is_some());
    }
}
