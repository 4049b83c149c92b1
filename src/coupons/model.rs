//! The words of coupons.

use chrono::{DateTime, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock;
use crate::concerts::model::closes_after;
use crate::error::Error;
use crate::http::name::{is_name, name};
use crate::ids::{BatchId, CampaignId, ImportId, UserId};
use crate::words::words;

use super::codes::{self, QUANTITY_MAX};

/// Coupons of a campaign that one user may claim.
pub const PER_USER_MAX: i64 = 100;
/// Coupons that one request may make.
pub const COUNT_MAX: i64 = 1_000;
/// Coupons that one batch may make.
pub const BATCH_MAX: i64 = 10_000_000;

/// `POST /v1/coupon-campaigns`.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateCampaign {
    /// 1 to 200 characters.
    #[garde(custom(is_name))]
    #[schema(schema_with = name)]
    pub name: String,
    /// Coupons that can be claimed, 0..=10 000 000 000.
    #[garde(range(min = 0, max = QUANTITY_MAX as i64))]
    #[schema(minimum = 0, maximum = 10_000_000_000_i64)]
    pub quantity: i64,
    /// When its coupons expire; ahead.
    #[garde(custom(is_time))]
    pub expires_at: DateTime<Utc>,
    /// When claiming begins; at once when absent.
    #[garde(custom(clock::is_instant))]
    pub opens_at: Option<DateTime<Utc>>,
    /// When claiming ends; when the coupons expire when absent.
    #[garde(custom(clock::is_instant), custom(closes_after(&self.opens_at)))]
    pub closes_at: Option<DateTime<Utc>>,
    /// Coupons that a user may claim, 1..=100.
    #[garde(range(min = 1, max = PER_USER_MAX))]
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 100, default = 1)]
    pub per_user: i64,
}

fn one() -> i64 {
    1
}

fn is_time(time: &DateTime<Utc>, context: &()) -> garde::Result {
    clock::is_instant(&Some(*time), context)
}

/// `expiresAt` must lie ahead.
pub fn ahead(expires_at: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Error> {
    if expires_at > now { Ok(()) } else { Err(Error::invalid("expiresAt", "must lie ahead")) }
}

/// A campaign in numbers.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Campaign {
    /// Its id.
    pub campaign_id: CampaignId,
    /// What it is called.
    pub name: String,
    /// Coupons that can be claimed.
    pub quantity: i64,
    /// Coupons that were.
    pub claimed: i64,
    /// Coupons that still can be.
    pub remaining: i64,
    /// Coupons that are used now, claimed or not.
    pub used: i64,
    /// When its coupons expire.
    #[serde(serialize_with = "clock::millis::serialize")]
    pub expires_at: DateTime<Utc>,
    /// When claiming begins.
    #[serde(serialize_with = "clock::millis_option::serialize")]
    pub opens_at: Option<DateTime<Utc>>,
    /// When claiming ends.
    #[serde(serialize_with = "clock::millis_option::serialize")]
    pub closes_at: Option<DateTime<Utc>>,
    /// Coupons that a user may claim.
    pub per_user: i64,
}

/// What a claim came to.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Claimed {
    /// The coupon's code, grouped for reading.
    pub code: String,
    /// Of which campaign.
    pub campaign_id: CampaignId,
    /// The coupon's number in the campaign, from 1.
    pub number: i64,
    /// How many claims came first, and this one.
    pub rank: i64,
    /// Coupons that were left after it.
    pub remaining: i64,
    /// `ASSIGNED`.
    pub status: Status,
    /// When it expires.
    #[serde(with = "crate::clock::millis")]
    pub expires_at: DateTime<Utc>,
}

/// How a coupon stands. That it has expired is told by `expiresAt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// It is nobody's yet.
    Created,
    /// It is somebody's.
    Assigned,
    /// He has used it.
    Used,
    /// An operator took it away.
    Deleted,
}

impl Status {
    /// As Postgres has it.
    pub fn number(self) -> i16 {
        self as i16
    }

    /// As Postgres has it.
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Created, Self::Assigned, Self::Used, Self::Deleted]
            .into_iter()
            .find(|one| one.number() == number)
    }
}

/// A coupon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Coupon {
    /// Its code, grouped for reading, or as it was imported.
    pub code: String,
    /// Of which campaign; null for one of none.
    pub campaign_id: Option<CampaignId>,
    /// How it stands.
    pub status: Status,
    /// Whose it is; null while it is nobody's.
    pub user_id: Option<UserId>,
    /// When it expires.
    #[serde(serialize_with = "clock::millis::serialize")]
    pub expires_at: DateTime<Utc>,
    /// Since when it is his.
    #[serde(serialize_with = "clock::millis_option::serialize")]
    pub assigned_at: Option<DateTime<Utc>>,
    /// When he used it; null while he has not.
    #[serde(serialize_with = "clock::millis_option::serialize")]
    pub used_at: Option<DateTime<Utc>>,
}

/// How a stored code is shown.
pub fn shown(code: &str, spelled: Option<String>, number: Option<i64>) -> String {
    match (spelled, number) {
        (Some(spelled), _) => spelled,
        (None, Some(_)) => codes::grouped(code),
        (None, None) => code.to_owned(),
    }
}

/// `PUT /v1/coupons/{code}/assign`.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct AssignCoupon {
    /// Whose it is to be.
    pub user_id: UserId,
}

/// `POST /v1/coupons`.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateCoupons {
    /// 1..=1000.
    #[garde(range(min = 1, max = COUNT_MAX))]
    #[schema(minimum = 1, maximum = 1_000)]
    pub count: i64,
    /// When they expire; ahead.
    #[garde(custom(is_time))]
    pub expires_at: DateTime<Utc>,
    /// Of which campaign; of none when absent.
    #[garde(skip)]
    pub campaign_id: Option<CampaignId>,
}

/// What was made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedCoupons {
    /// Of which campaign; null for none.
    pub campaign_id: Option<CampaignId>,
    /// Their codes.
    pub codes: Vec<String>,
}

/// `POST /v1/coupon-campaigns/{campaignId}/batches`.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
pub struct CreateBatch {
    /// 1..=10 000 000.
    #[garde(range(min = 1, max = BATCH_MAX))]
    #[schema(minimum = 1, maximum = 10_000_000)]
    pub count: i64,
}

/// A batch that was begun.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchStarted {
    /// Ask for its progress by it.
    pub batch_id: BatchId,
}

words! {
    /// How far a job is.
    JobState {
        /// It goes on.
        Running = "RUNNING",
        /// It has ended.
        Done = "DONE",
        /// It has ended early; what was done stays.
        Failed = "FAILED",
    }
}

/// How far a batch is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Batch {
    /// RUNNING or DONE.
    pub state: JobState,
    /// Coupons that are there.
    pub done: i64,
    /// Coupons that were asked for.
    pub count: i64,
}

/// An import that was read.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportStarted {
    /// Ask for its counters by it.
    pub import_id: ImportId,
}

/// A line that was not imported.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ImportError {
    /// From 1.
    pub line: i64,
    /// Why.
    pub reason: String,
}

/// How far an import is.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Import {
    /// RUNNING while it is read, DONE at its end, FAILED when the upload ended early: send it again.
    pub state: JobState,
    /// Rows that were read.
    pub rows_read: i64,
    /// Rows that are coupons now.
    pub inserted: i64,
    /// Rows whose code was there before.
    pub duplicate: i64,
    /// Rows that say nothing that can be imported.
    pub invalid: i64,
    /// The first 1 000 of them.
    pub errors: Vec<ImportError>,
}
