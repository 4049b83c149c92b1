//! Ids and amounts: newtypes that can only be made by parsing, minting or reading a trusted store.
//!
//! A seat number cannot be passed where an amount is meant, and an id that exists is well-formed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Declares UUID newtypes: `id!(UserId, ReservationId)`.
macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type,
            utoipa::ToSchema,
        )]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh, time-ordered id (UUID v7).
            pub fn mint() -> Self {
                Self(Uuid::now_v7())
            }

            /// The plain UUID, for hashing and storage.
            pub fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            /// Hyphenated form only: one id has one spelling.
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                uuid::fmt::Hyphenated::from_str(text).map(|id| Self(id.into_uuid()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

id! {
    /// Who acts.
    UserId,
    /// A waiting room; equal to its concert's id where it stands before a concert.
    QueueId,
    /// A concert: policy, shows and one queue.
    ConcertId,
    /// One evening of a concert, with numbered seats.
    ShowId,
    /// A hold on seats and what became of it.
    ReservationId,
    /// A payment, paid or refused.
    PaymentId,
    /// One row of a user's ledger.
    TransactionId,
    /// A thing on the menu.
    MenuId,
    /// An order.
    OrderId,
    /// Coupons of one kind, claimed first come first served.
    CampaignId,
    /// Coupons that are generated together.
    BatchId,
    /// Coupons that are imported together.
    ImportId,
    /// What an event gives out.
    RewardId,
    /// An event: when which rewards are to be had, and under which condition.
    EventId,
    /// A user's request for a reward.
    RewardRequestId,
    /// One running server process.
    InstanceId,
}

impl From<ConcertId> for QueueId {
    /// A concert's queue has the concert's id.
    fn from(id: ConcertId) -> Self {
        Self(id.0)
    }
}

impl From<QueueId> for ConcertId {
    fn from(id: QueueId) -> Self {
        Self(id.0)
    }
}

/// The largest number that Lua, JavaScript and JSON carry exactly: 2^53 − 1. No balance is above it.
pub const POINTS_MAX: i64 = (1 << 53) - 1;

/// An amount of points (1 point = 1 KRW), 0..=2^53 − 1.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, sqlx::Type, utoipa::ToSchema,
)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct Points(i64);

impl Points {
    /// Nothing.
    pub const ZERO: Points = Points(0);

    /// `None` when negative or above [`POINTS_MAX`].
    pub fn new(points: i64) -> Option<Self> {
        (0..=POINTS_MAX).contains(&points).then_some(Self(points))
    }

    /// The plain number.
    pub fn get(self) -> i64 {
        self.0
    }

    /// `None` when the product leaves the range of points.
    pub fn times(self, count: usize) -> Option<Self> {
        self.0.checked_mul(i64::try_from(count).ok()?).and_then(Self::new)
    }

    /// `None` when the sum leaves the range of points.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(Self::new)
    }
}

impl FromStr for Points {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().and_then(Self::new).ok_or("not an amount of points")
    }
}

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Points {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let points = i64::deserialize(deserializer)?;
        Self::new(points)
            .ok_or_else(|| serde::de::Error::custom(format_args!("must be between 0 and {POINTS_MAX}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_stay_between_zero_and_what_a_double_carries_exactly() {
        assert_eq!(Points::new(-1), None);
        assert_eq!(Points::new(POINTS_MAX).map(Points::get), Some(POINTS_MAX));
        assert_eq!(Points::new(POINTS_MAX + 1), None);
        assert_eq!(Points::new(i64::MAX / 2).and_then(|p| p.times(3)), None);
        assert_eq!(Points::new(1_000).and_then(|p| p.times(3)), Points::new(3_000));
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = UserId::mint();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().replace('-', "").parse::<UserId>().is_err());
        assert!(format!("{{{id}}}").parse::<UserId>().is_err());
    }
}
