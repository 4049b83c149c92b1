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
        let at = rfc3339(entry.at());
        Notice {
            kind,
            about: id.uuid(),
            aggregate: id.uuid(),
            at: entry.at(),
            body: Box::new(move || json!({"reservationId": id, "endedAt": at})),
        }
    };
    match event {
        SeatEvent::SeatsHeld(fact) => {
            let (fact, at) = (fact.clone(), rfc3339(entry.at()));
            Notice {
                kind: "reservation.held",
                about: fact.reservation.uuid(),
                aggregate: fact.reservation.uuid(),
                at: entry.at(),
                body: Box::new(move || {
                    json!({
                        "reservationId": fact.reservation,
                        "concertId": fact.concert,
                        "showId": fact.show,
                        "date": fact.date,
                        "userId": fact.user,
                        "seatNumbers": fact.seats,
                        "amount": fact.amount,
                        "expiresAt": rfc3339(from_millis(fact.deadline_ms)),
                        "heldAt": at,
                    })
                }),
            }
        }
        SeatEvent::HoldLapsed(fact) => ended("reservation.expired", fact.reservation),
        SeatEvent::HoldCancelled(fact) => ended("reservation.cancelled", fact.reservation),
    }
}
