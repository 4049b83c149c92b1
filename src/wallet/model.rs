//! The words of points.

use chrono::{DateTime, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::ids::{ConcertId, PaymentId, Points, ReservationId, TransactionId, UserId};
use crate::words::words;

/// The most that one charge may add.
pub const CHARGE_MAX: i64 = 1_000_000_000;

/// `POST /v1/users/{userId}/points/charge`.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
pub struct ChargeRequest {
    /// Points to add, 1..=1 000 000 000.
    #[garde(range(min = 1, max = CHARGE_MAX))]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub amount: i64,
}

/// A charge that took place.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Charged {
    /// The ledger's row.
    pub transaction_id: TransactionId,
    /// Whose points.
    pub user_id: UserId,
    /// Points added.
    pub amount: Points,
    /// Balance after it.
    pub balance: Points,
}

/// Points to be set aside for a payment.
#[derive(Clone, Copy, Debug)]
pub struct SetAside {
    /// Whose.
    pub user: UserId,
    /// How many.
    pub amount: Points,
    /// The ledger's row.
    pub transaction: TransactionId,
    /// The payment …
    pub payment: PaymentId,
    /// … of this reservation …
    pub reservation: ReservationId,
    /// … of this concert, whose shard decides.
    pub concert: ConcertId,
}

/// What a user has.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// Whose points.
    pub user_id: UserId,
    /// All that is durable.
    pub balance: Points,
}

words! {
    /// Why a balance changed.
    TransactionType {
        /// Points came in.
        Charge = "CHARGE",
        /// An order was paid.
        Order = "ORDER",
        /// Points were set aside for a payment.
        Payment = "PAYMENT",
        /// They went back.
        Refund = "REFUND",
        /// A reward was granted.
        Reward = "REWARD",
    }
}

/// One row of a ledger.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    /// Its id.
    pub transaction_id: TransactionId,
    /// Why the balance changed.
    #[serde(rename = "type")]
    pub kind: TransactionType,
    /// By how much; negative when points went out.
    pub amount: i64,
    /// Balance after it.
    pub balance_after: Points,
    /// The payment or order that it belongs to, if any.
    pub reference: Option<Uuid>,
    /// When.
    #[serde(with = "crate::clock::millis")]
    pub created_at: DateTime<Utc>,
}
