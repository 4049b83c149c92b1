//! The words of the waiting room, and its arithmetic.

use chrono::{DateTime, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::name::{is_name, name};
use crate::ids::QueueId;
use crate::words::words;

/// The most that a queue may let in a second.
pub const RATE_MAX: f64 = 100_000.0;
/// The most that may be in, or wait.
pub const PEOPLE_MAX: i64 = 10_000_000;
/// The longest pass, in seconds.
pub const ACTIVE_SECONDS_MAX: i64 = 86_400;

/// Polls near the head come this far apart …
const POLL_NEAR_MS: i64 = 1_000;
/// … and far from it this far.
pub const POLL_FAR_MS: i64 = 15_000;
/// Each place further from the head adds so much.
const POLL_MS_A_PLACE: i64 = 5;
/// Polls are spread by so much either way, in percent.
pub const POLL_JITTER_PERCENT: i64 = 15;
/// An estimate never says more: nobody plans further.
const WAIT_SECONDS_MAX: i64 = 86_400;

words! {
    /// What a queue does.
    QueueState {
        /// Lets people in.
        Open = "OPEN",
        /// Takes people, lets nobody in.
        Paused = "PAUSED",
        /// Takes nobody; who waits is gone.
        Closed = "CLOSED",
    }
}

/// For `#[serde(serialize_with = "whole")]`: a rate without a fraction is written without one.
fn whole<S: serde::Serializer>(rate: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if rate.fract() == 0.0 { serializer.serialize_i64(*rate as i64) } else { serializer.serialize_f64(*rate) }
}

/// How fast and how many.
#[derive(Clone, Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueSettings {
    /// People let in a second, 0..=100 000; below 10 with at most one decimal, else whole.
    #[garde(custom(is_rate))]
    #[schema(minimum = 0, maximum = 100_000)]
    #[serde(serialize_with = "whole")]
    pub admit_per_second: f64,
    /// People who may be in at once.
    #[garde(range(min = 0, max = PEOPLE_MAX))]
    #[schema(minimum = 0, maximum = 10_000_000)]
    pub max_active: i64,
    /// How long a pass lasts.
    #[garde(range(min = 1, max = ACTIVE_SECONDS_MAX))]
    #[schema(minimum = 1, maximum = 86_400)]
    pub active_seconds: i64,
    /// People who may wait at once; no limit when absent.
    #[garde(inner(range(min = 0, max = PEOPLE_MAX)))]
    #[schema(minimum = 0, maximum = 10_000_000)]
    pub max_waiting: Option<i64>,
}

/// `POST /v1/queues`.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateQueue {
    /// 1 to 200 characters.
    #[garde(custom(is_name))]
    #[schema(schema_with = name)]
    pub name: String,
    /// People let in a second, 0..=100 000; below 10 with at most one decimal, else whole.
    #[garde(custom(is_rate))]
    #[schema(minimum = 0, maximum = 100_000)]
    #[serde(serialize_with = "whole")]
    pub admit_per_second: f64,
    /// People who may be in at once.
    #[garde(range(min = 0, max = PEOPLE_MAX))]
    #[schema(minimum = 0, maximum = 10_000_000)]
    pub max_active: i64,
    /// How long a pass lasts.
    #[garde(range(min = 1, max = ACTIVE_SECONDS_MAX))]
    #[schema(minimum = 1, maximum = 86_400)]
    pub active_seconds: i64,
    /// People who may wait at once; no limit when absent.
    #[garde(inner(range(min = 0, max = PEOPLE_MAX)))]
    #[schema(minimum = 0, maximum = 10_000_000)]
    pub max_waiting: Option<i64>,
}

impl CreateQueue {
    /// How fast and how many.
    pub fn settings(&self) -> QueueSettings {
        QueueSettings {
            admit_per_second: self.admit_per_second,
            max_active: self.max_active,
            active_seconds: self.active_seconds,
            max_waiting: self.max_waiting,
        }
    }
}

/// `PUT /v1/queues/{queueId}`: what is absent stays; `maxWaiting: null` lifts the limit.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeQueue {
    /// What the queue does from now on.
    #[garde(skip)]
    pub state: Option<QueueState>,
    /// People let in a second.
    #[garde(inner(custom(is_rate)))]
    #[schema(minimum = 0, maximum = 100_000)]
    pub admit_per_second: Option<f64>,
    /// People who may be in at once.
    #[garde(inner(range(min = 0, max = PEOPLE_MAX)))]
    #[schema(minimum = 0, maximum = 10_000_000)]
    pub max_active: Option<i64>,
    /// How long a pass lasts; holds for passes given from now on.
    #[garde(inner(range(min = 1, max = ACTIVE_SECONDS_MAX)))]
    #[schema(minimum = 1, maximum = 86_400)]
    pub active_seconds: Option<i64>,
    /// People who may wait at once.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[garde(inner(inner(range(min = 0, max = PEOPLE_MAX))))]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 10_000_000)]
    pub max_waiting: Option<Option<i64>>,
}

/// Tells `null` from absent.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<i64>>, D::Error> {
    Option::<i64>::deserialize(deserializer).map(Some)
}

/// A queue as it stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    /// Its id; a concert's queue has the concert's.
    pub queue_id: QueueId,
    /// What it does.
    pub state: QueueState,
    /// People who wait.
    pub waiting: i64,
    /// People who are in.
    pub active: i64,
    /// People who may be in at once.
    pub max_active: i64,
    /// People let in a second.
    #[serde(serialize_with = "whole")]
    pub admit_per_second: f64,
}

/// What a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PlaceStatus {
    /// Not yet.
    Waiting,
    /// In.
    Active,
}

/// A place in a queue.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlaceView {
    /// For the `Queue-Token` header; on a poll only when it was signed anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Which queue.
    pub queue_id: QueueId,
    /// The place's own number.
    pub number: i64,
    /// Waiting, or in.
    pub status: PlaceStatus,
    /// 1-based among those who wait; 0 when in.
    pub position: i64,
    /// People before; 0 when in.
    pub ahead: i64,
    /// From the measured pace.
    pub estimated_wait_seconds: i64,
    /// When to ask again.
    pub poll_after_ms: i64,
    /// The end of the pass; null while waiting.
    #[serde(with = "crate::clock::millis_option")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// Admissions a second, in tenths.
pub fn tenths(rate: f64) -> i64 {
    (rate * 10.0).round() as i64
}

/// Tenths as clients know the rate.
pub fn rate(tenths: i64) -> f64 {
    tenths as f64 / 10.0
}

/// Between two polls: a second near the head, fifteen far from it, and no longer than a place is likely to
/// wait, so that nobody who is in learns of it late where the line is fast. Spread so that a crowd does not
/// come at once; `spread` is 0.0..1.0.
pub fn poll_after_ms(position: i64, wait_seconds: i64, spread: f64) -> i64 {
    let far = POLL_NEAR_MS + position.saturating_mul(POLL_MS_A_PLACE);
    let base = far.min(wait_seconds.saturating_mul(1_000)).clamp(POLL_NEAR_MS, POLL_FAR_MS);
    let reach = base * POLL_JITTER_PERCENT / 100;
    base - reach + (spread * (2 * reach) as f64) as i64
}

/// How long a place is likely to wait, from the measured pace, or the set rate before anything was measured.
pub fn estimated_wait_seconds(position: i64, pace: f64, rate_tenths: i64) -> i64 {
    let pace = if pace > 0.0 { pace } else { rate(rate_tenths) };
    if position == 0 {
        return 0;
    }
    if pace <= 0.0 {
        return WAIT_SECONDS_MAX;
    }
    ((position as f64 / pace).ceil() as i64).clamp(1, WAIT_SECONDS_MAX)
}

fn is_rate(rate: &f64, _: &()) -> garde::Result {
    let tenths = rate * 10.0;
    let exact = (tenths - tenths.round()).abs() < 1e-6 && (*rate < 10.0 || rate.fract() == 0.0);
    let fits = (0.0..=RATE_MAX).contains(rate) && exact;
    let rule = "must be between 0 and 100000, whole from 10 up, with at most one decimal below";
    if fits { Ok(()) } else { Err(garde::Error::new(rule)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_grow_rarer_with_the_distance() {
        assert_eq!(poll_after_ms(1, 60, 0.5), 1_005);
        assert_eq!(poll_after_ms(1_000_000, 600, 0.0), 12_750);
        assert_eq!(poll_after_ms(1_000_000, 600, 1.0), 17_250);
        assert!((1..5_000).all(|at| poll_after_ms(at, 60, 0.5) <= poll_after_ms(at + 1, 60, 0.5)));
    }

    #[test]
    fn nobody_is_told_to_come_after_his_turn() {
        assert_eq!(poll_after_ms(2_000, 1, 0.5), 1_000);
        assert_eq!(poll_after_ms(2_000, 4, 0.5), 4_000);
        assert_eq!(poll_after_ms(2_000, WAIT_SECONDS_MAX, 0.5), 11_000);
        assert_eq!(poll_after_ms(1, 0, 0.5), 1_000);
    }

    #[test]
    fn an_estimate_follows_the_pace() {
        assert_eq!(estimated_wait_seconds(0, 5.0, 10), 0);
        assert_eq!(estimated_wait_seconds(100, 5.0, 10), 20);
        assert_eq!(estimated_wait_seconds(100, 0.0, 500), 2);
        assert_eq!(estimated_wait_seconds(1, 1_000.0, 10), 1);
        assert_eq!(estimated_wait_seconds(5, 0.0, 0), WAIT_SECONDS_MAX);
    }

    #[test]
    fn a_rate_has_a_decimal_only_when_it_is_slow() {
        for good in [0.0, 0.1, 2.5, 9.9, 10.0, 100_000.0] {
            assert!(is_rate(&good, &()).is_ok(), "{good}");
        }
        for bad in [-1.0, 0.05, 10.5, 100_001.0, f64::NAN, f64::INFINITY] {
            assert!(is_rate(&bad, &()).is_err(), "{bad}");
        }
        assert_eq!(tenths(2.5), 25);
        assert_eq!(rate(25), 2.5);
    }

    #[test]
    fn null_lifts_a_limit_and_absence_leaves_it() {
        let change = |json: &str| serde_json::from_str::<ChangeQueue>(json).unwrap().max_waiting;
        assert_eq!(change("{}"), None);
        assert_eq!(change(r#"{"maxWaiting":null}"#), Some(None));
        assert_eq!(change(r#"{"maxWaiting":7}"#), Some(Some(7)));
    }
}
