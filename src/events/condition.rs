//! What an event asks of a user, and how far he is.

use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::model::Window;
use super::table::facts;
use crate::error::Error;
use crate::ids::{CampaignId, ConcertId, POINTS_MAX, UserId};

/// How deep conditions may stand in one another.
const DEPTH_MAX: usize = 3;
/// How many of them an event may have.
const COUNT_MAX: usize = 20;
/// Conditions of one ALL or ANY.
const OF_MAX: usize = 10;

/// What an event asks of a user, inside its window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum Condition {
    /// Nothing.
    None {},
    /// Sign-ins on so many days of the configured zone.
    LoginDays {
        /// 1..=366.
        #[schema(minimum = 1, maximum = 366)]
        days: i64,
    },
    /// So many orders.
    OrderCount {
        /// 1..=1 000 000.
        #[schema(minimum = 1, maximum = 1_000_000)]
        count: i64,
    },
    /// So many points for orders and seats.
    PointsSpent {
        /// 1..=2^53 − 1.
        #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
        amount: i64,
    },
    /// So many seats that were paid, of one concert or of any.
    TicketsBought {
        /// 1..=1 000 000.
        #[schema(minimum = 1, maximum = 1_000_000)]
        count: i64,
        /// Of which concert; of any when absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        concert_id: Option<ConcertId>,
    },
    /// A coupon of this campaign is used.
    CouponUsed {
        /// Of which campaign.
        campaign_id: CampaignId,
    },
    /// All of these.
    All {
        /// 1 to 10.
        #[serde(deserialize_with = "crate::http::object::list")]
        #[schema(no_recursion, min_items = 1, max_items = 10)]
        of: Vec<Condition>,
    },
    /// Any of these.
    Any {
        /// 1 to 10.
        #[serde(deserialize_with = "crate::http::object::list")]
        #[schema(no_recursion, min_items = 1, max_items = 10)]
        of: Vec<Condition>,
    },
}

impl Validate for Condition {
    type Context = ();

    fn validate_into(&self, (): &(), parent: &mut dyn FnMut() -> garde::Path, report: &mut garde::Report) {
        if self.count() > COUNT_MAX || self.depth() > DEPTH_MAX {
            let most =
                format!("has more than {COUNT_MAX} conditions, or more than {DEPTH_MAX} in one another");
            report.append(parent(), garde::Error::new(most));
        } else {
            self.check(&parent(), report);
        }
    }
}

impl Condition {
    fn of(&self) -> &[Condition] {
        match self {
            Self::All { of } | Self::Any { of } => of,
            _ => &[],
        }
    }

    fn count(&self) -> usize {
        1 + self.of().iter().map(Self::count).sum::<usize>()
    }

    fn depth(&self) -> usize {
        1 + self.of().iter().map(Self::depth).max().unwrap_or(0)
    }

    /// It and those in it.
    pub fn each(&self, visit: &mut impl FnMut(&Condition)) {
        visit(self);
        self.of().iter().for_each(|one| one.each(visit));
    }

    fn check(&self, path: &garde::Path, report: &mut garde::Report) {
        let mut range = |member: &'static str, value: i64, most: i64| {
            if !(1..=most).contains(&value) {
                report.append(path.join(member), garde::Error::new(format!("must be between 1 and {most}")));
            }
        };
        match self {
            Self::None {} | Self::CouponUsed { .. } => {}
            Self::LoginDays { days } => range("days", *days, 366),
            Self::OrderCount { count } | Self::TicketsBought { count, .. } => {
                range("count", *count, 1_000_000)
            }
            Self::PointsSpent { amount } => range("amount", *amount, POINTS_MAX),
            Self::All { of } | Self::Any { of } => {
                range("of", of.len() as i64, OF_MAX as i64);
                let of_path = path.join("of");
                of.iter().enumerate().for_each(|(at, one)| one.check(&of_path.join(at), report));
            }
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::None {} => "NONE",
            Self::LoginDays { .. } => "LOGIN_DAYS",
            Self::OrderCount { .. } => "ORDER_COUNT",
            Self::PointsSpent { .. } => "POINTS_SPENT",
            Self::TicketsBought { .. } => "TICKETS_BOUGHT",
            Self::CouponUsed { .. } => "COUPON_USED",
            Self::All { .. } => "ALL",
            Self::Any { .. } => "ANY",
        }
    }

    /// How far a user is, by what is committed of him.
    pub async fn progress(
        &self,
        pg: &mut PgConnection,
        user: UserId,
        window: &Window,
    ) -> Result<Progress, Error> {
        let (required, actual) = match self {
            Self::None {} => return Ok(Progress::new(self, None, true)),
            Self::All { of } | Self::Any { of } => {
                let mut parts = Vec::new();
                for one in of {
                    parts.push(Box::pin(one.progress(pg, user, window)).await?);
                }
                let met = match self {
                    Self::All { .. } => parts.iter().all(|part| part.met),
                    _ => parts.iter().any(|part| part.met),
                };
                return Ok(Progress { of: parts, ..Progress::new(self, None, met) });
            }
            Self::LoginDays { days } => (*days, facts::login_days(pg, user, window).await?),
            Self::OrderCount { count } => (*count, facts::orders(pg, user, window).await?),
            Self::PointsSpent { amount } => (*amount, facts::points_spent(pg, user, window).await?),
            Self::TicketsBought { count, concert_id } => {
                (*count, facts::tickets(pg, user, window, *concert_id).await?)
            }
            Self::CouponUsed { campaign_id } => {
                (1, facts::coupons_used(pg, user, window, *campaign_id).await?)
            }
        };
        Ok(Progress::new(self, Some((required, actual)), actual >= required))
    }
}

/// How far a user is: the condition's own members, and `required`, `actual` and `met`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// The condition's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many days, orders, points, seats or coupons are asked for; null for NONE, ALL and ANY.
    pub required: Option<i64>,
    /// How many there are.
    pub actual: Option<i64>,
    /// Whether that is enough.
    pub met: bool,
    /// Of which concert, where the condition names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concert_id: Option<ConcertId>,
    /// Of which campaign, where the condition names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign_id: Option<CampaignId>,
    /// Of each part of ALL and ANY.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(no_recursion)]
    pub of: Vec<Progress>,
}

impl Progress {
    fn new(condition: &Condition, numbers: Option<(i64, i64)>, met: bool) -> Self {
        let (concert_id, campaign_id) = match condition {
            Condition::TicketsBought { concert_id, .. } => (*concert_id, None),
            Condition::CouponUsed { campaign_id } => (None, Some(*campaign_id)),
            _ => (None, None),
        };
        Self {
            kind: condition.word().into(),
            required: numbers.map(|(required, _)| required),
            actual: numbers.map(|(_, actual)| actual),
            met,
            concert_id,
            campaign_id,
            of: Vec::new(),
        }
    }

    /// As the journal keeps it.
    pub fn json(&self) -> String {
        json!(self).to_string()
    }

    /// As a refusal tells it.
    pub fn member(&self) -> Map<String, Value> {
        Map::from_iter([("progress".to_owned(), json!(self))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<Condition, String> {
        let read: Condition = serde_json::from_value(value).map_err(|error| error.to_string())?;
        read.validate().map_err(|report| report.to_string())?;
        Ok(read)
    }

    #[test]
    fn a_condition_is_written_as_it_is_read() {
        for value in [
            json!({"type": "NONE"}),
            json!({"type": "LOGIN_DAYS", "days": 3}),
            json!({"type": "TICKETS_BOUGHT", "count": 1, "concertId": uuid::Uuid::nil()}),
            json!({"type": "ANY", "of": [{"type": "ORDER_COUNT", "count": 1}, {"type": "ALL", "of": [
                {"type": "POINTS_SPENT", "amount": 5},
                {"type": "COUPON_USED", "campaignId": uuid::Uuid::nil()},
            ]}]}),
        ] {
            assert_eq!(serde_json::to_value(read(value.clone()).unwrap()).unwrap(), value);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let none = json!({"type": "NONE"});
        let deep = json!({"type": "ALL", "of": [{"type": "ALL", "of": [{"type": "ALL", "of": [none]}]}]});
        for value in [
            json!({"type": "SOMETHING"}),
            json!({"type": "LOGIN_DAYS"}),
            json!({"type": "LOGIN_DAYS", "days": 0}),
            json!({"type": "ORDER_COUNT", "count": 1.5}),
            json!({"type": "POINTS_SPENT", "amount": "1"}),
            json!({"type": "ALL", "of": []}),
            json!({"type": "ALL", "of": vec![none.clone(); 11]}),
            json!({"type": "ANY", "of": [["NONE"]]}),
            json!({"type": "ANY", "of": [{"type": "LOGIN_DAYS", "days": 367}]}),
            deep,
        ] {
            assert!(read(value.clone()).is_err(), "{value}");
        }
    }
}
