//! The words of events.

use chrono::{DateTime, NaiveDate, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::condition::{Condition, Progress};
use crate::clock;
use crate::http::name::{is_name, name};
use crate::ids::{CampaignId, EventId, RewardId};
use crate::rewards::model::{Kind, RequestStatus};
use crate::words::words;

/// Rewards of one event.
const REWARDS_MAX: usize = 20;

words! {
    /// By whose leave a reward is granted.
    Approval {
        /// Nobody's.
        Auto = "AUTO",
        /// An operator's.
        Manual = "MANUAL",
    }
}

words! {
    /// How often a user may have each reward.
    Recurrence {
        /// Once.
        Once = "ONCE",
        /// Once a day of the configured zone.
        Daily = "DAILY",
    }
}

/// When an event runs.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// From here on …
    pub from: DateTime<Utc>,
    /// … and no more from here on.
    pub until: DateTime<Utc>,
}

/// `POST /v1/events`, `PUT /v1/events/{eventId}`.
#[derive(Clone, Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventBody {
    /// 1 to 200 characters.
    #[garde(custom(is_name))]
    #[schema(schema_with = name)]
    pub name: String,
    /// When it begins.
    #[garde(custom(is_time))]
    #[serde(serialize_with = "clock::millis::serialize")]
    pub starts_at: DateTime<Utc>,
    /// When it ends; after it begins, and ahead.
    #[garde(custom(is_time), custom(is_after(&self.starts_at)))]
    #[serde(serialize_with = "clock::millis::serialize")]
    pub ends_at: DateTime<Utc>,
    /// Whether anybody may take part.
    #[garde(skip)]
    pub active: bool,
    /// What it gives out: 1 to 20 rewards, each once.
    #[garde(length(min = 1, max = REWARDS_MAX), custom(are_different))]
    #[schema(min_items = 1, max_items = 20)]
    pub reward_ids: Vec<RewardId>,
    /// What it asks of a user.
    #[garde(dive)]
    #[serde(deserialize_with = "crate::http::object::deserialize")]
    pub condition: Condition,
    /// By whose leave it gives.
    #[garde(skip)]
    pub approval: Approval,
    /// How often it gives.
    #[garde(skip)]
    pub recurrence: Recurrence,
}

fn is_time(time: &DateTime<Utc>, context: &()) -> garde::Result {
    clock::is_instant(&Some(*time), context)
}

fn is_after(start: &DateTime<Utc>) -> impl FnOnce(&DateTime<Utc>, &()) -> garde::Result + '_ {
    // What is told, and stored, has milliseconds.
    move |end, ()| match end.timestamp_millis() > start.timestamp_millis() {
        true => Ok(()),
        false => Err(garde::Error::new("must be after startsAt")),
    }
}

fn are_different(rewards: &[RewardId], (): &()) -> garde::Result {
    let different: std::collections::BTreeSet<_> = rewards.iter().collect();
    match different.len() == rewards.len() {
        true => Ok(()),
        false => Err(garde::Error::new("names a reward twice")),
    }
}

/// An event.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its id.
    pub event_id: EventId,
    /// Counts changes, from 1.
    pub version: i64,
    /// What it is called.
    pub name: String,
    /// When it begins.
    #[serde(serialize_with = "clock::millis::serialize")]
    pub starts_at: DateTime<Utc>,
    /// When it ends.
    #[serde(serialize_with = "clock::millis::serialize")]
    pub ends_at: DateTime<Utc>,
    /// Whether anybody may take part.
    pub active: bool,
    /// What it gives out.
    pub reward_ids: Vec<RewardId>,
    /// What it asks of a user.
    pub condition: Condition,
    /// By whose leave it gives.
    pub approval: Approval,
    /// How often it gives.
    pub recurrence: Recurrence,
}

impl Event {
    /// When it runs.
    pub fn window(&self) -> Window {
        Window { from: self.starts_at, until: self.ends_at }
    }
}

/// A reward as who takes part sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpenReward {
    /// Its id.
    pub reward_id: RewardId,
    /// What it is called.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Points; null where it is not POINTS.
    pub amount: Option<i64>,
    /// Whose coupon; null where it is not COUPON.
    pub campaign_id: Option<CampaignId>,
    /// How many are left.
    pub remaining: i64,
    /// How one's own request stands (in a daily event, today's); null without one.
    pub status: Option<RequestStatus>,
}

/// An event that one may take part in now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpenEvent {
    /// Its id.
    pub event_id: EventId,
    /// What it is called.
    pub name: String,
    /// When it began.
    #[serde(serialize_with = "clock::millis::serialize")]
    pub starts_at: DateTime<Utc>,
    /// When it ends.
    #[serde(serialize_with = "clock::millis::serialize")]
    pub ends_at: DateTime<Utc>,
    /// By whose leave it gives.
    pub approval: Approval,
    /// How often it gives.
    pub recurrence: Recurrence,
    /// What it gives out.
    pub rewards: Vec<OpenReward>,
    /// How far one is.
    pub progress: Progress,
}

/// A user's chance to ask for a reward of an event, as far as Postgres knows.
#[derive(Clone, Debug, Default)]
pub struct Chance {
    /// The event's version.
    pub event_version: i64,
    /// The day, where it gives daily.
    pub period: Option<NaiveDate>,
    /// From when all of this holds, in milliseconds …
    pub from_ms: i64,
    /// … and until when it does.
    pub till_ms: i64,
    /// Nobody is asked for his leave.
    pub auto: bool,
    /// How he meets the condition, or not.
    pub evidence: Progress,
}
