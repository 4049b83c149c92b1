//! What happens to points.

use uuid::Uuid;

use crate::ids::{ConcertId, PaymentId, Points, ReservationId, RewardRequestId, TransactionId, UserId};
use crate::journal::facts::events;

events! {
    /// Facts of a user's shard.
    WalletEvent {
        /// Points came in; `balance` is after it.
        PointsCharged = "points.charged" {
            transaction: TransactionId, user: UserId, amount: Points, balance: Points,
        }
        /// Points were set aside for a payment, which the seats' shard decides.
        PointsReserved = "points.reserved" {
            transaction: TransactionId, user: UserId, amount: Points, balance: Points,
            payment: PaymentId, reservation: ReservationId, concert: ConcertId,
        }
        /// Points came in as a reward, for this request.
        PointsRewarded = "points.rewarded" {
            transaction: TransactionId, user: UserId, amount: Points, balance: Points,
            request: RewardRequestId,
        }
        /// Points set aside went back, because the payment was refused.
        PointsRefunded = "points.refunded" {
            transaction: TransactionId, user: UserId, amount: Points, balance: Points,
            payment: PaymentId, transfer: Uuid,
        }
    }
}
