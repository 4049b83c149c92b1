//! The words of rewards.

use chrono::{DateTime, Days, NaiveDate, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock;
use crate::error::Error;
use crate::events::condition::Progress;
use crate::http::name::{is_name, name};
use crate::ids::{CampaignId, EventId, Points, RewardId, RewardRequestId, UserId};
use crate::wallet::model::CHARGE_MAX;
use crate::words::words;

/// The most that there may be of a reward.
pub const STOCK_MAX: i64 = 1_000_000_000;

words! {
    /// What a reward is.
    Kind {
        /// Points on the user's balance.
        Points = "POINTS",
        /// A coupon of a campaign.
        Coupon = "COUPON",
        /// A thing, which others hand out.
        Item = "ITEM",
    }
}

words! {
    /// How a request stands.
    RequestStatus {
        /// An operator has not decided yet, or it is being granted.
        Pending = "PENDING",
        /// It is there.
        Granted = "GRANTED",
        /// It is not, and its stock went back.
        Rejected = "REJECTED",
    }
}

/// `POST /v1/rewards`, `PUT /v1/rewards/{rewardId}`.
#[derive(Clone, Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewardBody {
    /// 1 to 200 characters.
    #[garde(custom(is_name))]
    #[schema(schema_with = name)]
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    #[garde(skip)]
    pub kind: Kind,
    /// Points, 1..=1 000 000 000; of POINTS, and of nothing else.
    #[garde(custom(is_amount_of(&self.kind)))]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub amount: Option<i64>,
    /// Whose coupons they are; of COUPON, and of nothing else.
    #[garde(custom(is_only_of(&self.kind)))]
    pub campaign_id: Option<CampaignId>,
    /// How many there are, 0..=1 000 000 000; not fewer than are given out or asked for.
    #[garde(range(min = 0, max = STOCK_MAX))]
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    pub stock: i64,
}

fn is_amount_of(kind: &Kind) -> impl FnOnce(&Option<i64>, &()) -> garde::Result + '_ {
    move |amount, ()| match (kind, amount) {
        (Kind::Points, Some(1..=CHARGE_MAX)) | (Kind::Coupon | Kind::Item, None) => Ok(()),
        (Kind::Points, _) => Err(garde::Error::new(format!("must be between 1 and {CHARGE_MAX}"))),
        _ => Err(garde::Error::new("is only for POINTS")),
    }
}

fn is_only_of(kind: &Kind) -> impl FnOnce(&Option<CampaignId>, &()) -> garde::Result + '_ {
    move |campaign, ()| match (kind, campaign) {
        (Kind::Coupon, None) => Err(garde::Error::new("must be there for COUPON")),
        (Kind::Points | Kind::Item, Some(_)) => Err(garde::Error::new("is only for COUPON")),
        _ => Ok(()),
    }
}

/// A reward.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reward {
    /// Its id.
    pub reward_id: RewardId,
    /// Counts changes, from 1.
    pub version: i64,
    /// What it is called.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Points; null where it is not POINTS.
    pub amount: Option<i64>,
    /// Whose coupons; null where it is not COUPON.
    pub campaign_id: Option<CampaignId>,
    /// How many there are.
    pub stock: i64,
    /// How many of them are neither given out nor asked for.
    pub remaining: i64,
}

/// `POST /v1/reward-requests`.
#[derive(Clone, Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct AskReward {
    /// In which event.
    pub event_id: EventId,
    /// For which of its rewards.
    pub reward_id: RewardId,
}

/// `PUT /v1/reward-requests/{requestId}/reject`.
#[derive(Clone, Debug, Deserialize, Serialize, Validate, ToSchema)]
pub struct RejectRequest {
    /// 1 to 200 characters.
    #[garde(custom(is_name))]
    #[schema(schema_with = name)]
    pub reason: String,
}

/// A user's request for a reward.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewardRequest {
    /// Its id.
    pub request_id: RewardRequestId,
    /// In which event.
    pub event_id: EventId,
    /// The event's version at that moment.
    pub event_version: i64,
    /// For what.
    pub reward_id: RewardId,
    /// Who asked.
    pub user_id: UserId,
    /// The day of a daily event; null for one that gives once.
    #[schema(value_type = Option<String>, format = Date)]
    pub period: Option<NaiveDate>,
    /// How it stands.
    pub status: RequestStatus,
    /// Why it was rejected: an operator's words, or the code with which it was refused.
    pub reason: Option<String>,
    /// How the user met the condition at that moment.
    pub evidence: Progress,
    /// When he asked.
    #[serde(with = "crate::clock::millis")]
    pub created_at: DateTime<Utc>,
    /// When it was granted or rejected.
    #[serde(serialize_with = "clock::millis_option::serialize")]
    pub decided_at: Option<DateTime<Utc>>,
}

/// How many requests of a list there are, whatever their status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Counts {
    /// Neither granted nor rejected.
    #[serde(rename = "PENDING")]
    pub pending: i64,
    /// Granted.
    #[serde(rename = "GRANTED")]
    pub granted: i64,
    /// Rejected.
    #[serde(rename = "REJECTED")]
    pub rejected: i64,
}

/// A page of requests, and how many there are of each status that fit the other filters.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestList {
    /// Newest first.
    pub items: Vec<RewardRequest>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
    /// Of all pages.
    pub counts: Counts,
}

/// What is to be granted, and to whom.
#[derive(Clone, Debug)]
pub struct Grant {
    /// For which request.
    pub request: RewardRequestId,
    /// Whose stock it was.
    pub reward: RewardId,
    /// To whom.
    pub user: UserId,
    /// On which day, in a daily event.
    pub period: Option<NaiveDate>,
    /// What.
    pub what: What,
}

/// The first day of which marks are kept at a time: in no zone does anybody ask for an earlier one.
pub fn first_day_kept(now: DateTime<Utc>) -> NaiveDate {
    now.date_naive() - Days::new(2)
}

/// What a reward gives.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// Points.
    Points(Points),
    /// The next coupon of a campaign.
    Coupon(CampaignId),
    /// A thing, which others hand out.
    Item,
}

impl What {
    /// Of a kind with what belongs to it.
    pub fn of(kind: &str, amount: Option<i64>, campaign: Option<CampaignId>) -> Result<Self, Error> {
        let lacks = || Error::internal(format_args!("a reward of {kind} lacks what it gives"));
        Ok(match Kind::stored(kind)? {
            Kind::Points => Self::Points(amount.and_then(Points::new).ok_or_else(lacks)?),
            Kind::Coupon => Self::Coupon(campaign.ok_or_else(lacks)?),
            Kind::Item => Self::Item,
        })
    }
}
