//! What the world outside is told of payments.

use serde_json::json;

use super::event::PaymentConfirmed;
use crate::clock::rfc3339;
use crate::delivery::notice::Notice;
use crate::journal::entry::Entry;

/// It arrives after the notice of its reservation.
pub fn confirmed(entry: &Entry, fact: &PaymentConfirmed) -> Notice {
    let (fact, at) = (fact.clone(), rfc3339(entry.at()));
    Notice {
        kind: "payment.confirmed",
        about: fact.payment.uuid(),
        aggregate: fact.reservation.uuid(),
        at: entry.at(),
        body: Box::new(move || {
            json!({
                "paymentId": fact.payment,
                "reservationId": fact.reservation,
                "concertId": fact.concert,
                "showId": fact.show,
                "userId": fact.user,
                "seatNumbers": fact.seats,
                "amount": fact.amount,
                "paidAt": at,
            })
        }),
    }
}
