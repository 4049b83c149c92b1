//! What Postgres remembers of orders.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::event::OrderPlaced;
use super::model::{Order, OrderItem};
use crate::error::Error;
use crate::http::page::{Page, PageRequest};
use crate::ids::{OrderId, Points, UserId};
use crate::journal::entry::Entry;
use crate::journal::table::statements::Statements;
use crate::redis::Shard;

/// Orders of a round.
#[derive(Default)]
pub struct Changes {
    placed: Vec<(Shard, DateTime<Utc>, OrderPlaced)>,
    /// They are taken over from Redis: their points stand in the ledger as part of a sum.
    are_adopted: bool,
}

impl Changes {
    /// Takes up an order.
    pub fn fold(&mut self, entry: &Entry, fact: OrderPlaced) {
        self.placed.push((entry.receipt.shard, entry.at(), fact));
    }

    /// Says them.
    pub fn say(&self, to: &mut Statements) {
        let rows = &self.placed;
        if rows.is_empty() {
            return;
        }
        let items = |fact: &OrderPlaced| Json(fact.lines.iter().map(OrderItem::from).collect::<Vec<_>>());
        to.say(
            "add_orders",
            "insert into orders (order_id, user_id, shard, items, total, balance_after, created_at,
                 is_adopted)
             select o.*, $8
             from unnest($1::uuid[], $2::uuid[], $3::int[], $4::jsonb[], $5::bigint[], $6::bigint[],
                 $7::timestamptz[]) as o",
        )
        .bind(rows.iter().map(|(_, _, r)| r.order).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| r.user).collect::<Vec<_>>())
        .bind(rows.iter().map(|(shard, _, _)| shard.as_i32()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| items(r)).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| r.total.get()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| r.balance.get()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, at, _)| *at).collect::<Vec<_>>())
        .bind(self.are_adopted);
    }
}

/// Takes over orders that Redis still knows of, where Postgres was restored from an older backup.
pub async fn adopt(pg: &mut PgConnection, entries: &[Entry]) -> Result<(), Error> {
    let mut orders = Changes { are_adopted: true, ..Changes::default() };
    for entry in entries {
        if let Some(fact) = entry.facts.find().map_err(Error::internal)? {
            orders.fold(entry, fact);
        }
    }
    let mut each = Statements::each();
    orders.say(&mut each);
    each.make(pg).await
}

/// One order.
pub async fn order(pool: &PgPool, id: OrderId) -> Result<Option<Order>, Error> {
    let row = sqlx::query(
        "select order_id, user_id, items, total, balance_after, created_at from orders where order_id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(read).transpose()
}

/// A page of orders, newest first; a user's, or all.
pub async fn page(pool: &PgPool, of: Option<UserId>, page: &PageRequest) -> Result<Page<Order>, Error> {
    let after = page.after_id()?.unwrap_or(Uuid::max());
    let sql = match of {
        Some(_) => {
            "select order_id, user_id, items, total, balance_after, created_at from orders
             where user_id = $1 and order_id < $2 order by order_id desc limit $3"
        }
        None => {
            "select order_id, user_id, items, total, balance_after, created_at from orders
             where $1::uuid is null and order_id < $2 order by order_id desc limit $3"
        }
    };
    let rows = sqlx::query(sql).bind(of).bind(after).bind(page.fetch()).fetch_all(pool).await?;
    page.cut(rows, |row| Ok(row.try_get::<Uuid, _>("order_id")?.to_string()), read)
}

fn read(row: &PgRow) -> Result<Order, Error> {
    let points = |column: &str| {
        let stored: i64 = row.try_get(column)?;
        Points::new(stored).ok_or_else(|| Error::internal(format_args!("postgres holds {stored} as points")))
    };
    let Json(items) = row.try_get("items")?;
    Ok(Order {
        order_id: row.try_get("order_id")?,
        items,
        total_price: points("total")?,
        balance: points("balance_after")?,
        created_at: row.try_get("created_at")?,
        user_id: row.try_get("user_id")?,
    })
}

/// Orders of a shard whose points did not go, or went otherwise.
pub async fn unpaid(pg: &mut PgConnection, shard: Shard) -> Result<Vec<OrderId>, Error> {
    let rows = sqlx::query(
        "select o.order_id from orders o
         where o.shard = $1 and not o.is_adopted and not exists (
             select from ledger l
             where l.user_id = o.user_id and l.type = 'ORDER' and l.reference = o.order_id
                 and l.amount = -o.total and l.balance_after = o.balance_after
         )",
    )
    .bind(shard.as_i32())
    .fetch_all(pg)
    .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
