//! Time. Scripts take it from Redis; everything else asks this clock, which tests can set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;

/// The system's time, or a test's.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's; scripts use Redis `TIME`.
    #[default]
    System,
    /// Milliseconds since 1970, set by a test; scripts are told it.
    Test(Arc<AtomicI64>),
}

impl Clock {
    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        match self {
            Self::System => Utc::now().timestamp_millis(),
            Self::Test(millis) => millis.load(Ordering::SeqCst),
        }
    }

    /// Now.
    pub fn now(&self) -> DateTime<Utc> {
        from_millis(self.now_ms())
    }

    /// The calendar day in a zone.
    pub fn today(&self, zone: Tz) -> NaiveDate {
        zone.from_utc_datetime(&self.now().naive_utc()).date_naive()
    }

    /// What scripts get as `clock`: nothing (they ask Redis), or the test's time.
    pub fn argument(&self) -> String {
        match self {
            Self::System => String::new(),
            Self::Test(_) => self.now_ms().to_string(),
        }
    }
}

/// Milliseconds since 1970 as a time; times that no calendar holds become its ends.
pub fn from_millis(millis: i64) -> DateTime<Utc> {
    let edge = if millis < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
    DateTime::from_timestamp_millis(millis).unwrap_or(edge)
}

/// When a day begins in a zone; where its clocks skip midnight, when the day's first hour does.
pub fn midnight(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    at_hour(day, 0, zone)
}

/// When a day's clocks show this hour for the first time, or the next hour that they show.
pub fn at_hour(day: NaiveDate, hour: u32, zone: Tz) -> DateTime<Utc> {
    let shown =
        (hour..24).find_map(|hour| zone.from_local_datetime(&day.and_hms_opt(hour, 0, 0)?).earliest());
    // No zone skips a whole day's hours; were there one, its day would be that of UTC.
    shown.map_or_else(|| day.and_time(chrono::NaiveTime::MIN).and_utc(), |time| time.to_utc())
}

/// A time as the contract writes it: RFC 3339, UTC, milliseconds.
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// A calendar day as the contract writes it, `yyyy-mm-dd`, and nothing that only looks like one.
pub fn parse_day(text: &str) -> Option<NaiveDate> {
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let day = if shape { text.parse::<NaiveDate>().ok()? } else { return None };
    (!text.starts_with("0000")).then_some(day)
}

/// For `#[serde(deserialize_with = "clock::day")]`.
pub fn day<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<NaiveDate, D::Error> {
    let text: String = serde::Deserialize::deserialize(deserializer)?;
    parse_day(&text).ok_or_else(|| serde::de::Error::custom("must be a day as yyyy-mm-dd"))
}

/// For `#[garde(custom(is_instant))]`: within what the contract's times can say.
pub fn is_instant(time: &Option<DateTime<Utc>>, _: &()) -> garde::Result {
    use chrono::Datelike;
    match time {
        Some(time) if !(1970..=9999).contains(&time.year()) => {
            Err(garde::Error::new("must be between the years 1970 and 9999"))
        }
        _ => Ok(()),
    }
}

/// For `#[serde(with = "clock::millis")]`: times as the contract writes them.
pub mod millis {
    use chrono::{DateTime, Utc};
    use serde::Serializer;

    /// Writes a time.
    pub fn serialize<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&super::rfc3339(*time))
    }
}

/// The same for a time that may be absent.
pub mod millis_option {
    use chrono::{DateTime, Utc};
    use serde::Serializer;

    /// Writes a time or null.
    pub fn serialize<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::millis::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_of_the_zone() {
        let clock = Clock::Test(Arc::new(AtomicI64::new(0)));
        let set = |text: &str| {
            let time = DateTime::parse_from_rfc3339(text).unwrap();
            if let Clock::Test(millis) = &clock {
                millis.store(time.timestamp_millis(), Ordering::SeqCst);
            }
        };
        set("2026-03-01T14:59:59.999Z");
        assert_eq!(clock.today(chrono_tz::Asia::Seoul).to_string(), "2026-03-01");
        set("2026-03-01T15:00:00.000Z");
        assert_eq!(clock.today(chrono_tz::Asia::Seoul).to_string(), "2026-03-02");
    }

    #[test]
    fn a_day_is_written_one_way() {
        assert_eq!(parse_day("2026-02-28").map(|day| day.to_string()).as_deref(), Some("2026-02-28"));
        for loose in
            ["2026-2-28", " 2026-02-28", "2026-02-30", "+2026-02-28", "-00026-02-1", "0000-01-01", ""]
        {
            assert_eq!(parse_day(loose), None, "{loose:?}");
        }
    }

    #[test]
    fn times_are_written_with_milliseconds() {
        assert_eq!(rfc3339(from_millis(1_700_000_000_000)), "2023-11-14T22:13:20.000Z");
    }
}
