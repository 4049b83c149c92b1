//! What the world outside is told of payments.

use serde_json::json;

use super::event::PaymentConfirmed;
use crate::clock::rfc3339;
use crate::delivery::notice::Notice;
use crate::journal::entry::Entry;

/// It arrives after the notice of its reservation.
pub fn confirmed(entry: &Entry, fact: &PaymentConfirmed) -> Notice {
    let fact = fact.clone();
    let (payment, reservation) = (fact.payment.uuid(), fact.reservation.uuid());
    Notice::of(entry, "payment.confirmed", payment, reservation, move |at| {
        json!({
            "paymentId": fact.payment,
            "reservationId": fact.reservation,
            "concertId": fact.concert,
            "showId": fact.show,
            "userId": fact.user,
            "seatNumbers": fact.seats,
            "amount": fact.amount,
            "paidAt": rfc3339(at),
        })
    })
}
