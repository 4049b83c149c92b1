//! What the world outside is told of reservations.

use serde_json::json;

use super::event::SeatEvent;
use crate::clock::{from_millis, rfc3339};
use crate::delivery::notice::Notice;
use crate::ids::ReservationId;
use crate::journal::entry::Entry;

/// A reservation's notices arrive in order.
pub fn of(entry: &Entry, event: &SeatEvent) -> Notice {
    let ended = |kind: &'static str, id: ReservationId| {
        let body = move |at| json!({"reservationId": id, "endedAt": rfc3339(at)});
        Notice::of(entry, kind, id.uuid(), id.uuid(), body)
    };
    match event {
        SeatEvent::SeatsHeld(fact) => {
            let fact = fact.clone();
            let about = fact.reservation.uuid();
            Notice::of(entry, "reservation.held", about, about, move |at| {
                json!({
                    "reservationId": fact.reservation,
                    "concertId": fact.concert,
                    "showId": fact.show,
                    "date": fact.date,
                    "userId": fact.user,
                    "seatNumbers": fact.seats,
                    "amount": fact.amount,
                    "expiresAt": rfc3339(from_millis(fact.deadline_ms)),
                    "heldAt": rfc3339(at),
                })
            })
        }
        SeatEvent::HoldLapsed(fact) => ended("reservation.expired", fact.reservation),
        SeatEvent::HoldCancelled(fact) => ended("reservation.cancelled", fact.reservation),
    }
}
