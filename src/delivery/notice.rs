//! What a feature has to tell.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::journal::entry::Entry;

/// Namespace of messages' ids (UUID v5).
const MESSAGES: Uuid = Uuid::from_u128(0x6f6e_7275_7368_4d73_a51c_0d27_84be_93f0);

/// All kinds, in the words of the configuration.
pub const KINDS: &[&str] = &[
    "coupon.expiring",
    "order.placed",
    "payment.confirmed",
    "reservation.cancelled",
    "reservation.expired",
    "reservation.held",
    "reward.granted",
    "reward.rejected",
];

/// Something that happened.
pub struct Notice {
    /// What; one of [`KINDS`].
    pub kind: &'static str,
    /// The order, reservation … that it is about; there is one notice of a kind about a thing.
    pub about: Uuid,
    /// Whose notices stay in order: all about it are facts of one shard.
    pub aggregate: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// Makes the body, for those who are told.
    pub body: Body,
}

/// Makes a body from the time at which it happened.
type Body = Box<dyn Fn(DateTime<Utc>) -> Value + Send + Sync>;

impl Notice {
    /// What a fact has to tell.
    pub fn of(
        entry: &Entry,
        kind: &'static str,
        about: Uuid,
        aggregate: Uuid,
        body: impl Fn(DateTime<Utc>) -> Value + Send + Sync + 'static,
    ) -> Self {
        Self { kind, about, aggregate, at: entry.at(), body: Box::new(body) }
    }

    /// The same whenever the fact is read again, also after a loss.
    pub fn id(&self) -> Uuid {
        Uuid::new_v5(&MESSAGES, format!("{}\n{}", self.kind, self.about).as_bytes())
    }
}
