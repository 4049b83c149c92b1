//! Coupons, one by one and a user's.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use super::status;
use crate::clock::{from_millis, rfc3339};
use crate::coupons::model::{Coupon, shown};
use crate::error::Error;
use crate::http::page::{Page, PageRequest};
use crate::ids::UserId;

/// What `read` needs, of all coupons or of those that are called `c` in the argument.
macro_rules! select_coupons {
    () => {
        $crate::coupons::table::coupon::select_coupons!("coupons c")
    };
    ($from:literal) => {
        concat!(
            "select c.code, c.spelled, c.number, c.status, c.user_id, c.expires_at, c.assigned_at, c.used_at,
                 o.campaign_id, c.ordinal from ",
            $from,
            " join coupon_ordinals o on o.ordinal = c.ordinal "
        )
    };
}
pub(crate) use select_coupons;

/// Reads a coupon.
pub fn read(row: &PgRow) -> Result<Coupon, Error> {
    let code: String = row.try_get("code")?;
    Ok(Coupon {
        code: shown(&code, row.try_get("spelled")?, row.try_get("number")?),
        campaign_id: row.try_get("campaign_id")?,
        status: status(row)?,
        user_id: row.try_get("user_id")?,
        expires_at: row.try_get("expires_at")?,
        assigned_at: row.try_get("assigned_at")?,
        used_at: row.try_get("used_at")?,
    })
}

/// A coupon by its canonical code; a look-up costs the same, whatever is there.
pub async fn by_code(pool: &PgPool, code: &str) -> Result<Option<Coupon>, Error> {
    let query = sqlx::query(concat!(select_coupons!(), "where c.code = $1")).bind(code);
    query.fetch_optional(pool).await?.as_ref().map(read).transpose()
}

/// A page of a user's coupons, those that he got last first.
pub async fn page(pool: &PgPool, user: UserId, page: &PageRequest) -> Result<Page<Coupon>, Error> {
    let (at, code) = page.after_time()?.unwrap_or((from_millis(i64::MAX), String::new()));
    let rows = sqlx::query(concat!(
        select_coupons!(),
        "where c.user_id = $1 and (c.assigned_at < $2 or (c.assigned_at = $2 and c.code > $3))
         order by c.assigned_at desc, c.code limit $4"
    ))
    .bind(user)
    .bind(at)
    .bind(code)
    .bind(page.fetch())
    .fetch_all(pool)
    .await?;
    let cursor = |row: &PgRow| {
        let at: DateTime<Utc> = row.try_get("assigned_at")?;
        Ok(format!("{} {}", at.timestamp_micros(), row.try_get::<String, _>("code")?))
    };
    page.cut(rows, cursor, read)
}

/// For lists that go out as text.
pub fn line(coupon: &Coupon) -> [String; 5] {
    let time = |time: Option<DateTime<Utc>>| time.map(rfc3339).unwrap_or_default();
    let id = |id: Option<String>| id.unwrap_or_default();
    [
        coupon.code.clone(),
        id(coupon.campaign_id.map(|id| id.to_string())),
        id(coupon.user_id.map(|id| id.to_string())),
        rfc3339(coupon.expires_at),
        time(coupon.assigned_at),
    ]
}
