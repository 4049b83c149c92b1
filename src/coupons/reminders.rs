//! “쿠폰이 3일 후 만료됩니다.”: at nine each morning who holds a coupon that expires three calendar days
//! later is told. A page of notices, and how far the day is, are one transaction, so each coupon is told of
//! once, however many instances are at it and whatever dies. A day that was missed is caught up, as long as
//! its coupons have not expired. Pages come at a pace: a million notices take half an hour, and nobody else
//! notices them.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, Utc};
use serde_json::json;
use uuid::Uuid;

use super::model::Coupon;
use super::table::coupon::read;
use super::table::expiring::{Stretch, advance_reminders, lock_reminders};
use crate::app::{App, AppState};
use crate::clock::{at_hour, midnight, rfc3339};
use crate::delivery::notice::Notice;
use crate::delivery::table::{Outbox, wanted};
use crate::error::Error;
use crate::journal::table::statements::Statements;
use crate::metrics;

/// Hour of the day at which holders are told.
const HOUR: u32 = 9;
/// What was decided before that hour is durable so much later, or nobody was told that it is.
const GRACE: chrono::TimeDelta = chrono::TimeDelta::seconds(15);
/// Days between that day and the one on which coupons expire.
const DAYS_AHEAD: u64 = 3;
/// Notices of a page.
const PAGE: i64 = 500;
/// Pause after a page.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause between two looks whether a day is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Namespace of coupons as things that are told of (UUID v5).
const COUPONS: Uuid = Uuid::from_u128(0x6f6e_7275_7368_4370_a07b_64d1_93c2_0e45);
/// What is told.
const MESSAGE: &str = "쿠폰이 3일 후 만료됩니다.";

/// Tells, until the task ends.
pub async fn keep(app: AppState) {
    loop {
        // A page that was begun is told to its end, and to the log.
        let telling = app.clone();
        let told = app.tasks.spawn(async move { tell_next(&telling).await }).await;
        let pause = match told.unwrap_or_else(|panic| Err(Error::internal(panic))) {
            Ok(0) => LOOK_EVERY,
            Ok(_) => PAUSE,
            Err(error) => {
                tracing::warn!(%error, "telling of coupons that expire soon");
                LOOK_EVERY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// A page of the oldest day that is due: how many were told.
pub async fn tell_next(app: &App) -> Result<usize, Error> {
    let today = app.clock.today(app.config.zone);
    for back in (0..=DAYS_AHEAD).rev() {
        let Some(day) = today.checked_sub_days(Days::new(back)) else { continue };
        let due = at_hour(day, HOUR, app.config.zone);
        if due + GRACE > app.clock.now() {
            continue;
        }
        match tell_page(app, day, due).await? {
            0 => {}
            told => return Ok(told),
        }
    }
    Ok(0)
}

async fn tell_page(app: &App, day: NaiveDate, due: DateTime<Utc>) -> Result<usize, Error> {
    let Some(expiry) = day.checked_add_days(Days::new(DAYS_AHEAD)) else { return Ok(0) };
    let Some(beyond) = expiry.succ_opt() else { return Ok(0) };
    let (from, until) = (midnight(expiry, app.config.zone), midnight(beyond, app.config.zone));
    let whole = Stretch { had_before: due, ..Stretch::new(from, until) };
    let mut tx = app.pool.begin().await?;
    let Some(mut stretch) = lock_reminders(&mut tx, day, &whole).await? else { return Ok(0) };
    // What has expired meanwhile is passed over.
    stretch.from = stretch.from.max(app.clock.now());
    let rows = stretch.rows(&mut *tx, PAGE).await?;
    let count = stretch.go_on(&rows)?;
    let coupons: Vec<Coupon> = rows.iter().map(read).collect::<Result<_, _>>()?;
    let mut outbox = Outbox::default();
    coupons.iter().filter_map(|coupon| notice(coupon, due)).for_each(|notice| outbox.push(notice));
    let mut each = Statements::each();
    outbox.say(&mut each);
    each.make(&mut tx).await?;
    // Asked before the commit: what happens after it must not fail.
    let kinds = wanted(&mut *tx).await?;
    advance_reminders(&mut tx, day, &stretch, count, (count as i64) < PAGE).await?;
    tx.commit().await?;
    outbox.log(&kinds);
    for coupon in &coupons {
        let user = coupon.user_id.map(|user| user.to_string());
        tracing::info!(code = hidden(&coupon.code), user, expires_at = %coupon.expires_at, "{MESSAGE}");
    }
    metrics::coupon("reminded", count as u64);
    Ok(count)
}

/// What is told of one; a user's arrive in order.
fn notice(coupon: &Coupon, at: DateTime<Utc>) -> Option<Notice> {
    let (coupon, user) = (coupon.clone(), coupon.user_id?);
    let about = Uuid::new_v5(&COUPONS, coupon.code.as_bytes());
    let body = move |at| {
        json!({
            "code": coupon.code,
            "campaignId": coupon.campaign_id,
            "userId": coupon.user_id,
            "expiresAt": rfc3339(coupon.expires_at),
            "message": MESSAGE,
            "dueAt": rfc3339(at),
        })
    };
    Some(Notice { kind: "coupon.expiring", about, aggregate: user.uuid(), at, body: Box::new(body) })
}

/// A code is worth money: the log gets its beginning.
fn hidden(code: &str) -> String {
    format!("{}…", code.chars().take(4).collect::<String>())
}
