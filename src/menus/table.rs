//! Menus in Postgres.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::model::Menu;
use crate::error::Error;
use crate::http::page::{Page, PageRequest};
use crate::ids::{MenuId, Points};

/// Adds a menu: when.
pub async fn insert(pg: &mut PgConnection, menu: &Menu) -> Result<DateTime<Utc>, Error> {
    let row =
        sqlx::query("insert into menus (menu_id, name, price) values ($1, $2, $3) returning changed_at")
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
        "update menus set name = $2, price = $3, changed_at = clock_timestamp() where menu_id = $1
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
        "update menus set deleted_at = clock_timestamp(), changed_at = clock_timestamp() where menu_id = $1
         returning changed_at",
    )
    .bind(id)
    .fetch_one(pg)
    .await?;
    Ok(Some((before, row.try_get(0)?)))
}

async fn lock(pg: &mut PgConnection, id: MenuId) -> Result<Option<Menu>, Error> {
    let row = sqlx::query(
        "select menu_id, name, price from menus where menu_id = $1 and deleted_at is null for update",
    )
    .bind(id)
    .fetch_optional(pg)
    .await?;
    row.as_ref().map(menu).transpose()
}

/// Whether there was ever any.
pub async fn is_any(pool: &PgPool) -> Result<bool, Error> {
    Ok(sqlx::query("select exists (select from menus)").fetch_one(pool).await?.try_get(0)?)
}

/// A page of menus, newest first.
pub async fn page(pool: &PgPool, page: &PageRequest) -> Result<Page<Menu>, Error> {
    let rows = sqlx::query(
        "select menu_id, name, price from menus where menu_id < $1 and deleted_at is null
         order by menu_id desc limit $2",
    )
    .bind(page.after_id()?.unwrap_or(Uuid::max()))
    .bind(page.fetch())
    .fetch_all(pool)
    .await?;
    page.cut(rows, |row| Ok(row.try_get::<Uuid, _>("menu_id")?.to_string()), menu)
}

fn menu(row: &PgRow) -> Result<Menu, Error> {
    let price: i64 = row.try_get("price")?;
    let price = Points::new(price)
        .ok_or_else(|| Error::internal(format_args!("postgres holds {price} as a price")))?;
    Ok(Menu { menu_id: row.try_get("menu_id")?, name: row.try_get("name")?, price })
}
