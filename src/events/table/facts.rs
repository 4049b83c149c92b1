//! What Postgres remembers of a user inside an event's window. Asked while the event runs, so nothing that it
//! finds is later than the window.

use sqlx::{PgConnection, Row};

use crate::error::Error;
use crate::events::model::Window;
use crate::ids::{CampaignId, ConcertId, UserId};

/// Days on which he signed in.
pub async fn login_days(pg: &mut PgConnection, user: UserId, window: &Window) -> Result<i64, Error> {
    one(
        pg,
        "select count(*) from login_days where user_id = $1 and last_at >= $2 and last_at < $3",
        user,
        window,
    )
    .await
}

/// His orders.
pub async fn orders(pg: &mut PgConnection, user: UserId, window: &Window) -> Result<i64, Error> {
    let sql = "select count(*) from orders where user_id = $1 and created_at >= $2 and created_at < $3";
    one(pg, sql, user, window).await
}

/// Points that he spent for orders and seats.
pub async fn points_spent(pg: &mut PgConnection, user: UserId, window: &Window) -> Result<i64, Error> {
    let sql = "select (coalesce((select sum(total) from orders
                                 where user_id = $1 and created_at >= $2 and created_at < $3), 0)
                       + coalesce((select sum(amount) from payments
                                   where user_id = $1 and paid_at >= $2 and paid_at < $3), 0))::bigint";
    one(pg, sql, user, window).await
}

async fn one(pg: &mut PgConnection, sql: &'static str, user: UserId, window: &Window) -> Result<i64, Error> {
    let row = sqlx::query(sql).bind(user).bind(window.from).bind(window.until).fetch_one(pg).await?;
    Ok(row.try_get(0)?)
}

/// Seats that he paid for, of one concert or of all.
pub async fn tickets(
    pg: &mut PgConnection,
    user: UserId,
    window: &Window,
    concert: Option<ConcertId>,
) -> Result<i64, Error> {
    let row = sqlx::query(
        "select coalesce(sum(cardinality(r.seats)), 0)::bigint
         from payments p join reservations r on r.reservation_id = p.reservation_id
         where p.user_id = $1 and p.paid_at >= $2 and p.paid_at < $3
             and ($4::uuid is null or r.concert_id = $4)",
    )
    .bind(user)
    .bind(window.from)
    .bind(window.until)
    .bind(concert)
    .fetch_one(pg)
    .await?;
    Ok(row.try_get(0)?)
}

/// Coupons of a campaign that he has used and did not take back.
pub async fn coupons_used(
    pg: &mut PgConnection,
    user: UserId,
    window: &Window,
    campaign: CampaignId,
) -> Result<i64, Error> {
    let row = sqlx::query(
        "select count(*) from coupons c join coupon_ordinals o on o.ordinal = c.ordinal
         where c.user_id = $1 and c.status = 2 and c.used_at >= $2 and c.used_at < $3 and o.campaign_id = $4",
    )
    .bind(user)
    .bind(window.from)
    .bind(window.until)
    .bind(campaign)
    .fetch_one(pg)
    .await?;
    Ok(row.try_get(0)?)
}
