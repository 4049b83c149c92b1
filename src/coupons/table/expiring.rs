//! Coupons that expire in a stretch of time, in its order: read by their own index, page by page.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row};

use super::coupon::{read, select_coupons};
use crate::coupons::model::Coupon;
use crate::error::Error;
use crate::http::page::{Page, PageRequest};

/// From when to when, and after which coupon.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// First moment.
    pub from: DateTime<Utc>,
    /// First moment beyond.
    pub until: DateTime<Utc>,
    /// Only what somebody had before that.
    pub had_before: DateTime<Utc>,
    /// The last that was seen: when it expires, its canonical code.
    pub after: (DateTime<Utc>, String),
}

impl Stretch {
    /// All of it.
    pub fn new(from: DateTime<Utc>, until: DateTime<Utc>) -> Self {
        Self { from, until, had_before: DateTime::<Utc>::MAX_UTC, after: (from, String::new()) }
    }

    /// The next of them.
    pub async fn rows(&self, pg: impl PgExecutor<'_>, most: i64) -> Result<Vec<PgRow>, Error> {
        let rows = sqlx::query(concat!(
            select_coupons!(),
            "where c.status = 1 and c.expires_at >= $1 and c.expires_at < $2 and c.assigned_at < $3
                 and (c.expires_at, c.code) > ($4, $5)
             order by c.expires_at, c.code limit $6"
        ))
        .bind(self.from)
        .bind(self.until)
        .bind(self.had_before)
        .bind(self.after.0)
        .bind(&self.after.1)
        .bind(most);
        Ok(rows.fetch_all(pg).await?)
    }

    /// Goes on after these rows; how many they are.
    pub fn go_on(&mut self, rows: &[PgRow]) -> Result<usize, Error> {
        if let Some(last) = rows.last() {
            self.after = (last.try_get("expires_at")?, last.try_get("code")?);
        }
        Ok(rows.len())
    }
}

/// A page, those that expire first first.
pub async fn page(pool: &PgPool, mut stretch: Stretch, page: &PageRequest) -> Result<Page<Coupon>, Error> {
    if let Some(after) = page.after_time()? {
        stretch.after = after;
    }
    let rows = stretch.rows(pool, page.fetch()).await?;
    let cursor = |row: &PgRow| {
        let at: DateTime<Utc> = row.try_get("expires_at")?;
        Ok(format!("{} {}", at.timestamp_micros(), row.try_get::<String, _>("code")?))
    };
    page.cut(rows, cursor, read)
}

/// The stretch that a day's reminders still have to go through, for this transaction alone; `None` where they
/// are done, or another instance is at it.
pub async fn lock_reminders(
    pg: &mut PgConnection,
    day: NaiveDate,
    stretch: &Stretch,
) -> Result<Option<Stretch>, Error> {
    sqlx::query(
        "insert into coupon_reminders (day, after_at, after_code) values ($1, $2, '') on conflict do nothing",
    )
    .bind(day)
    .bind(stretch.after.0)
    .execute(&mut *pg)
    .await?;
    let row = sqlx::query(
        "select after_at, after_code from coupon_reminders where day = $1 and not is_done
         for update skip locked",
    )
    .bind(day)
    .fetch_optional(pg)
    .await?;
    row.map(|row| Ok(Stretch { after: (row.try_get(0)?, row.try_get(1)?), ..stretch.clone() })).transpose()
}

/// So many more were told; the day is done or not.
pub async fn advance_reminders(
    pg: &mut PgConnection,
    day: NaiveDate,
    stretch: &Stretch,
    more: usize,
    is_done: bool,
) -> Result<(), Error> {
    sqlx::query(
        "update coupon_reminders set after_at = $2, after_code = $3, told = told + $4, is_done = $5
         where day = $1",
    )
    .bind(day)
    .bind(stretch.after.0)
    .bind(&stretch.after.1)
    .bind(more as i64)
    .bind(is_done)
    .execute(pg)
    .await?;
    Ok(())
}
