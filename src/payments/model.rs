//! The words of payments.

use chrono::{DateTime, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::Error;
use crate::ids::{PaymentId, Points, ReservationId, UserId};
use crate::journal::Done;
use crate::wallet::event::PointsReserved;

/// The step of a payment that sets points aside.
pub const RESERVE: u8 = 1;
/// The step that decides; abort shares it.
pub const DECIDE: u8 = 2;
/// The step that gives points back.
pub const VOID: u8 = 3;

/// `POST /v1/payments`.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct PayRequest {
    /// What is paid.
    pub reservation_id: ReservationId,
}

/// What a payment is; a refused one is told as a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PaymentStatus {
    /// The seats are sold, the points are gone.
    Paid,
}

/// A payment.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// Its id.
    pub payment_id: PaymentId,
    /// What was paid.
    pub reservation_id: ReservationId,
    /// Points.
    pub amount: Points,
    /// The payer's balance after it.
    pub balance: Points,
    /// `PAID`.
    pub status: PaymentStatus,
    /// When the seats were sold.
    #[serde(with = "crate::clock::millis")]
    pub paid_at: DateTime<Utc>,
    /// Who paid; not told: only he and operators see it.
    #[serde(skip)]
    #[schema(ignore)]
    pub user_id: UserId,
}

/// A payment whose points are set aside, durably.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The operation.
    pub op: Uuid,
    /// What was set aside, and for what.
    pub points: PointsReserved,
    /// When, in milliseconds.
    pub issued_ms: i64,
}

impl Transfer {
    /// Of the step that set them aside.
    pub fn of(op: Uuid, done: &Done) -> Result<Self, Error> {
        Ok(Self { op, points: done.facts.first().map_err(Error::internal)?, issued_ms: done.at_ms })
    }
}
