//! Menus in Postgres.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use super::model::Menu;
use crate::error::Error;
use crate::ids::{MenuId, Points};

/// Adds a menu: when.
pub async fn insert(pg: &mut PgConnection, menu: &Menu) -> Result<DateTime<Utc>, Error> {
    take_turn(pg).await?;
    let row = sqlx::query(
        "insert into menus (menu_id, name, price, changed_at) values ($1, $2, $3, greatest(clock_timestamp(), (select max(changed_at) from menus) + interval '1 microsecond'))
         returning changed_at",
    )
    .bind(menu.menu_id)
    .bind(&menu.name)
    .bind(menu.price)
    .fetch_one(pg)
    .await?;
    Ok(row.try_get(0)?)
}

/// Gives a menu another name and price: how it was, and when; `None` where there is none.
pub async fn change(pg: &mut PgConnection, menu: &Menu) -> Result<Option<(Menu, DateTime<Utc>)>, Error> {
    let Some(before) = lock(pg, menu.menu_id).await? else { return Ok(None) };
    let row = sqlx::query(
        "update menus set name = $2, price = $3, changed_at = greatest(clock_timestamp(), (select max(changed_at) from menus) + interval '1 microsecond') where menu_id = $1
         returning changed_at",
    )
    .bind(menu.menu_id)
    .bind(&menu.name)
    .bind(menu.price)
    .fetch_one(pg)
    .await?;
    Ok(Some((before, row.try_get(0)?)))
}

/// Takes a menu off: how it was, and when; `None` where there is none.
pub async fn remove(pg: &mut PgConnection, id: MenuId) -> Result<Option<(Menu, DateTime<Utc>)>, Error> {
    let Some(before) = lock(pg, id).await? else { return Ok(None) };
    let row = sqlx::query(
        "update menus set deleted_at = clock_timestamp(), changed_at = greatest(clock_timestamp(), (select max(changed_at) from menus) + interval '1 microsecond') where menu_id = $1
         returning changed_at",
    )
    .bind(id)
    .fetch_one(pg)
    .await?;
    Ok(Some((before, row.try_get(0)?)))
}

/// One change at a time, until the transaction ends: the order of `changed_at` is that of the commits, also
/// when the clock went back in between.
async fn take_turn(pg: &mut PgConnection) -> Result<(), Error> {
    sqlx::query("lock table menus in share row exclusive mode").execute(pg).await?;
    Ok(())
}

async fn lock(pg: &mut PgConnection, id: MenuId) -> Result<Option<Menu>, Error> {
    take_turn(pg).await?;
    let row = sqlx::query("select menu_id, name, price from menus where menu_id = $1 and deleted_at is null")
        .bind(id)
        .fetch_optional(pg)
        .await?;
    row.as_ref().map(menu).transpose()
}

/// Whether there was ever any.
pub async fn is_any(pool: &PgPool) -> Result<bool, Error> {
    Ok(sqlx::query("select exists (select from menus)").fetch_one(pool).await?.try_get(0)?)
}

/// What changed at `newest` or later, in that order: the menu, whether it was taken off, when. Without
/// `newest` all that is on the menu.
pub async fn changes(
    pool: &PgPool,
    newest: Option<DateTime<Utc>>,
) -> Result<Vec<(Menu, bool, DateTime<Utc>)>, Error> {
    let rows = sqlx::query(
        "select menu_id, name, price, deleted_at is not null as is_off, changed_at from menus
         where changed_at >= $1 or ($1 is null and deleted_at is null)
         order by changed_at",
    )
    .bind(newest)
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((menu(row)?, row.try_get("is_off")?, row.try_get("changed_at")?))).collect()
}

fn menu(row: &PgRow) -> Result<Menu, Error> {
    let price: i64 = row.try_get("price")?;
    let price = Points::new(price)
        .ok_or_else(|| Error::internal(format_args!("postgres holds {price} as a price")))?;
    Ok(Menu { menu_id: row.try_get("menu_id")?, name: row.try_get("name")?, price })
}
