//! What the seats' shard decided about a payment: once, for ever.

use uuid::Uuid;

use crate::ids::{ConcertId, PaymentId, Points, ReservationId, ShowId, UserId};
use crate::journal::facts::{Text, events};

events! {
    /// Facts of a concert's shard.
    PaymentEvent {
        /// Yes: the seats are sold. `transfer` is the operation, `balance` what its reservation of points
        /// left.
        PaymentConfirmed = "payment.confirmed" {
            transfer: Uuid, payment: PaymentId, reservation: ReservationId, concert: ConcertId, show: ShowId,
            user: UserId, seats: Vec<u32>, amount: Points, balance: Points,
        }
        /// No, and why (`code` as in the contract): the points go back.
        PaymentRefused = "payment.refused" {
            transfer: Uuid, payment: PaymentId, reservation: ReservationId, concert: ConcertId, code: Text,
        }
    }
}
