//! Menus in Postgres.

use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::model::Menu;
use crate::error::Error;
use crate::http::page::{Page, PageRequest};
use crate::ids::Points;

/// Adds a menu.
pub async fn insert(pg: &mut PgConnection, menu: &Menu) -> Result<(), Error> {
    sqlx::query("insert into menus (menu_id, name, price) values ($1, $2, $3)")
        .bind(menu.menu_id)
        .bind(&menu.name)
        .bind(menu.price)
        .execute(pg)
        .await?;
    Ok(())
}

/// Whether there is any.
pub async fn is_any(pool: &PgPool) -> Result<bool, Error> {
    Ok(sqlx::query("select exists (select from menus)").fetch_one(pool).await?.try_get(0)?)
}

/// A page of menus, newest first.
pub async fn page(pool: &PgPool, page: &PageRequest) -> Result<Page<Menu>, Error> {
    let rows = sqlx::query(
        "select menu_id, name, price from menus where menu_id < $1 order by menu_id desc limit $2",
    )
    .bind(page.after_id()?.unwrap_or(Uuid::max()))
    .bind(page.fetch())
    .fetch_all(pool)
    .await?;
    page.cut(
        rows,
        |row| Ok(row.try_get::<Uuid, _>("menu_id")?.to_string()),
        |row| {
            let price: i64 = row.try_get("price")?;
            Ok(Menu {
                menu_id: row.try_get("menu_id")?,
                name: row.try_get("name")?,
                price: Points::new(price)
                    .ok_or_else(|| Error::internal(format_args!("postgres holds {price} as a price")))?,
            })
        },
    )
}
