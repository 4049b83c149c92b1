//! The words of concerts and shows.

use chrono::{DateTime, NaiveDate, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock;
use crate::http::name::{is_name, name};
use crate::ids::{ConcertId, POINTS_MAX, Points, ShowId};
use crate::queue::model::QueueSettings;

/// Seats that one reservation may hold.
pub const SEATS_A_RESERVATION: usize = 10;
/// The dearest seat: a full reservation of them is still an amount of points.
pub const PRICE_MAX: i64 = POINTS_MAX / SEATS_A_RESERVATION as i64;
/// The largest show.
pub const SEATS_MAX: i64 = 100_000;

/// `POST /v1/concerts`.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateConcert {
    /// 1 to 200 characters.
    #[garde(custom(is_name))]
    #[schema(schema_with = name)]
    pub title: String,
    /// The queue before it.
    #[serde(deserialize_with = "crate::http::object::deserialize")]
    #[garde(dive)]
    pub queue: QueueSettings,
    /// Seats that a user may hold and have bought in one show.
    #[serde(default = "one")]
    #[garde(range(min = 1, max = 1_000))]
    #[schema(minimum = 1, maximum = 1_000, default = 1)]
    pub max_seats_per_user: i64,
    /// How long a hold lasts.
    #[serde(default = "five_minutes")]
    #[garde(range(min = 1, max = 86_400))]
    #[schema(minimum = 1, maximum = 86_400, default = 300)]
    pub hold_seconds: i64,
}

fn one() -> i64 {
    1
}

fn five_minutes() -> i64 {
    300
}

/// A concert.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Concert {
    /// Its id, and its queue's.
    pub concert_id: ConcertId,
    /// What it is called.
    pub title: String,
    /// Its queue's settings.
    pub queue: QueueSettings,
    /// Seats that a user may hold and have bought in one show.
    pub max_seats_per_user: i64,
    /// How long a hold lasts.
    pub hold_seconds: i64,
    /// When it was made.
    #[serde(with = "crate::clock::millis")]
    pub created_at: DateTime<Utc>,
}

/// A concert with its shows.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConcertWithShows {
    /// The concert.
    #[serde(flatten)]
    pub concert: Concert,
    /// By date.
    pub shows: Vec<Show>,
}

/// `POST /v1/concerts/{concertId}/shows`.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct CreateShow {
    /// A calendar day in the configured zone.
    #[serde(deserialize_with = "clock::day")]
    pub date: NaiveDate,
    /// Points for a seat.
    #[garde(range(min = 0, max = PRICE_MAX))]
    #[schema(minimum = 0)]
    pub price: i64,
    /// Seats, numbered from 1.
    #[serde(default = "fifty")]
    #[garde(range(min = 1, max = SEATS_MAX))]
    #[schema(minimum = 1, maximum = 100_000, default = 50)]
    pub seat_count: i64,
    /// When the sale begins; at once when absent.
    #[garde(custom(clock::is_instant))]
    pub opens_at: Option<DateTime<Utc>>,
    /// When the sale ends; with the day when absent.
    #[garde(custom(clock::is_instant), custom(closes_after(&self.opens_at)))]
    pub closes_at: Option<DateTime<Utc>>,
}

fn fifty() -> i64 {
    50
}

/// For `#[garde(custom(…))]`: a window closes after it opens.
pub fn closes_after(
    opens: &Option<DateTime<Utc>>,
) -> impl FnOnce(&Option<DateTime<Utc>>, &()) -> garde::Result + '_ {
    move |closes, _| match (opens, closes) {
        (Some(opens), Some(closes)) if closes <= opens => Err(garde::Error::new("must be after opensAt")),
        _ => Ok(()),
    }
}

/// A show.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Show {
    /// Its id.
    pub show_id: ShowId,
    /// Of which concert.
    pub concert_id: ConcertId,
    /// On which day.
    pub date: NaiveDate,
    /// Points for a seat.
    pub price: Points,
    /// Seats, numbered from 1.
    pub seat_count: i64,
    /// When the sale begins.
    #[serde(with = "crate::clock::millis_option")]
    pub opens_at: Option<DateTime<Utc>>,
    /// When the sale ends.
    #[serde(with = "crate::clock::millis_option")]
    pub closes_at: Option<DateTime<Utc>>,
}

impl Show {
    /// Whether it can be bought now: its day is not past, its window is open.
    pub fn is_on_sale(&self, now: DateTime<Utc>, today: NaiveDate) -> bool {
        let begun = self.opens_at.is_none_or(|opens| opens <= now);
        let over = self.closes_at.is_some_and(|closes| closes <= now);
        self.date >= today && begun && !over
    }
}

/// `GET /v1/concerts/{concertId}/dates`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dates {
    /// Days on which a seat can be had now, earliest first.
    pub dates: Vec<NaiveDate>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::from_millis;

    #[test]
    fn a_show_is_on_sale_within_its_window_until_its_day_is_past() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let show = Show {
            show_id: ShowId::mint(),
            concert_id: ConcertId::mint(),
            date: day("2026-03-01"),
            price: Points::ZERO,
            seat_count: 50,
            opens_at: Some(from_millis(1_000)),
            closes_at: Some(from_millis(2_000)),
        };
        let on_sale = |now, today: &str| show.is_on_sale(from_millis(now), day(today));
        assert!(!on_sale(999, "2026-03-01") && on_sale(1_000, "2026-03-01"));
        assert!(on_sale(1_999, "2026-03-01") && !on_sale(2_000, "2026-03-01"));
        assert!(on_sale(1_500, "2026-02-01") && !on_sale(1_500, "2026-03-02"));
    }

    #[test]
    fn a_sale_ends_after_it_begins() {
        let show = |opens: i64, closes: i64| CreateShow {
            date: "2026-03-01".parse().unwrap(),
            price: 0,
            seat_count: 1,
            opens_at: Some(from_millis(opens)),
            closes_at: Some(from_millis(closes)),
        };
        assert!(show(1, 2).validate().is_ok());
        assert!(show(2, 2).validate().is_err());
    }
}
