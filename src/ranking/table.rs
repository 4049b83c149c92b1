//! What Postgres remembers of what was ordered, by hour.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Row};

use super::model::{Count, EDGE_MS, Hour, begin_of, hour_of, window_at};
use super::store;
use crate::error::Error;
use crate::ids::MenuId;
use crate::journal::adopt::Kept;
use crate::journal::entry::Entry;
use crate::journal::loader::{Content, Loader};
use crate::journal::table::statements::Statements;
use crate::orders::event::OrderPlaced;
use crate::redis::Shard;

/// What a round counts.
#[derive(Default)]
pub struct Changes(BTreeMap<(Shard, Hour, MenuId), Count>);

impl Changes {
    /// Counts an order.
    pub fn fold(&mut self, entry: &Entry, fact: &OrderPlaced) {
        for line in &fact.lines {
            let place = (entry.receipt.shard, hour_of(entry.at_ms), line.menu);
            let one = Count { orders: 1, quantity: i64::from(line.quantity) };
            self.0.entry(place).or_default().add(one, 1);
        }
    }

    /// Adds the sums.
    pub fn say(&self, to: &mut Statements) {
        let rows = &self.0;
        if rows.is_empty() {
            return;
        }
        to.say(
            "count_orders",
            "insert into popular_hours (shard, hour, menu_id, orders, quantity)
             select * from unnest($1::int[], $2::timestamptz[], $3::uuid[], $4::bigint[], $5::bigint[])
             on conflict (shard, hour, menu_id) do update
             set orders = popular_hours.orders + excluded.orders,
                 quantity = popular_hours.quantity + excluded.quantity",
        )
        .bind(rows.keys().map(|(shard, _, _)| shard.as_i32()).collect::<Vec<_>>())
        .bind(rows.keys().map(|(_, hour, _)| begin_of(*hour)).collect::<Vec<_>>())
        .bind(rows.keys().map(|(_, _, menu)| *menu).collect::<Vec<_>>())
        .bind(rows.values().map(|count| count.orders).collect::<Vec<_>>())
        .bind(rows.values().map(|count| count.quantity).collect::<Vec<_>>());
    }
}

/// Loads a shard's counts of the window, by a clock that may be ahead of Redis' a little: what is too much
/// leaves on the next tick.
pub async fn load(pg: &mut PgConnection, loader: &mut Loader, now_ms: i64) -> Result<(), Error> {
    load_hours(pg, loader, window_at(now_ms - EDGE_MS), |_, _| true).await
}

/// Loads hours from one on, those that are wanted; asked with the hour and its `hour:menu`.
pub async fn load_hours(
    pg: &mut PgConnection,
    loader: &mut Loader,
    from: Hour,
    is_wanted: impl Fn(Hour, &String) -> bool,
) -> Result<(), Error> {
    let space = loader.space.clone();
    let (hours, orders) = (store::hours(&space), store::hour_orders(&space));
    let quantity = store::hour_quantity(&space);
    for key in [&hours, &store::orders(&space), &store::quantity(&space)] {
        loader.declare(key, Content::sorted());
    }
    for key in [&orders, &quantity] {
        loader.declare(key, Content::hash());
    }
    let mut totals = BTreeMap::<MenuId, Count>::new();
    for (hour, menu, count) in counted(pg, space.shard, from).await? {
        let slot = format!("{hour}:{menu}");
        if !is_wanted(hour, &slot) {
            continue;
        }
        loader.zadd(&hours, hour, &slot).await?;
        loader.hset(&orders, &slot, count.orders).await?;
        loader.hset(&quantity, &slot, count.quantity).await?;
        totals.entry(menu).or_default().add(count, 1);
    }
    for (menu, count) in totals {
        loader.zadd(&store::orders(&space), count.orders, menu).await?;
        loader.zadd(&store::quantity(&space), count.quantity, menu).await?;
    }
    Ok(())
}

/// A shard's counts by hour and menu, from an hour on.
async fn counted(
    pg: &mut PgConnection,
    shard: Shard,
    from: Hour,
) -> Result<Vec<(Hour, MenuId, Count)>, Error> {
    let rows = sqlx::query(
        "select hour, menu_id, orders, quantity from popular_hours where shard = $1 and hour >= $2",
    )
    .bind(shard.as_i32())
    .bind(begin_of(from))
    .fetch_all(pg)
    .await?;
    rows.iter()
        .map(|row| {
            let hour: DateTime<Utc> = row.try_get(0)?;
            let count = Count { orders: row.try_get(2)?, quantity: row.try_get(3)? };
            Ok((hour_of(hour.timestamp_millis()), row.try_get(1)?, count))
        })
        .collect()
}

/// Takes over what Redis has counted, where Postgres was restored from an older backup. Orders that the
/// backup lacks are counted and not listed.
pub async fn adopt(pg: &mut PgConnection, kept: &Kept) -> Result<(), Error> {
    let orders = kept.hash::<String, i64>(&store::hour_orders(&kept.space))?;
    let quantity = kept.hash::<String, i64>(&store::hour_quantity(&kept.space))?;
    let bad = || Error::internal("redis holds what cannot be read in the ranking");
    let (mut hours, mut menus, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for (slot, orders) in &orders {
        let (hour, menu) = slot.split_once(':').ok_or_else(bad)?;
        hours.push(begin_of(hour.parse().map_err(|_| bad())?));
        menus.push(menu.parse::<MenuId>().map_err(|_| bad())?);
        counts.push(Count { orders: *orders, quantity: *quantity.get(slot).ok_or_else(bad)? });
    }
    let Some(oldest) = hours.iter().min().copied() else { return Ok(()) };
    sqlx::query(
        "insert into popular_hours (shard, hour, menu_id, orders, quantity)
         select $1, c.* from unnest($2::timestamptz[], $3::uuid[], $4::bigint[], $5::bigint[]) as c
         on conflict (shard, hour, menu_id) do update
         set orders = excluded.orders, quantity = excluded.quantity",
    )
    .bind(kept.space.shard.as_i32())
    .bind(hours)
    .bind(menus)
    .bind(counts.iter().map(|count| count.orders).collect::<Vec<_>>())
    .bind(counts.iter().map(|count| count.quantity).collect::<Vec<_>>())
    .execute(&mut *pg)
    .await?;
    sqlx::query(
        "with listed as (
             select date_trunc('hour', o.created_at, 'UTC') as hour, i.\"menuId\" as menu_id,
                 count(*) as orders, sum(i.quantity)::bigint as quantity
             from orders o, jsonb_to_recordset(o.items) as i(\"menuId\" uuid, quantity bigint)
             where o.shard = $1 and o.created_at >= $2
             group by 1, 2
         ), counted as (
             select p.hour, p.menu_id, coalesce(l.orders, 0) as orders, coalesce(l.quantity, 0) as quantity
             from popular_hours p left join listed l on l.hour = p.hour and l.menu_id = p.menu_id
             where p.shard = $1 and p.hour >= $2
         )
         update popular_hours p set unlisted_orders = p.orders - c.orders,
             unlisted_quantity = p.quantity - c.quantity
         from counted c where p.shard = $1 and p.hour = c.hour and p.menu_id = c.menu_id",
    )
    .bind(kept.space.shard.as_i32())
    .bind(oldest)
    .execute(pg)
    .await?;
    Ok(())
}

/// Hours and menus of a shard that are not counted as its orders say: hour, menu, counted, listed. Of the
/// last eight days before its last order.
pub async fn miscounted(
    pg: &mut PgConnection,
    shard: Shard,
) -> Result<Vec<(DateTime<Utc>, MenuId, i64, i64)>, Error> {
    let rows = sqlx::query(
        "with recent as (
             select date_trunc('hour', max(created_at), 'UTC') - interval '8 days' as first
             from orders where shard = $1
         ), listed as (
             select date_trunc('hour', o.created_at, 'UTC') as hour, i.\"menuId\" as menu_id,
                 count(*) as orders, sum(i.quantity)::bigint as quantity
             from orders o, jsonb_to_recordset(o.items) as i(\"menuId\" uuid, quantity bigint)
             where o.shard = $1 and o.created_at >= (select first from recent)
             group by 1, 2
         ), counted as (
             select hour, menu_id, orders - unlisted_orders as orders,
                 quantity - unlisted_quantity as quantity
             from popular_hours where shard = $1 and hour >= (select first from recent)
         )
         select coalesce(c.hour, l.hour), coalesce(c.menu_id, l.menu_id), coalesce(c.orders, 0),
             coalesce(l.orders, 0)
         from counted c full join listed l on l.hour = c.hour and l.menu_id = c.menu_id
         where (coalesce(c.orders, 0), coalesce(c.quantity, 0))
             <> (coalesce(l.orders, 0), coalesce(l.quantity, 0))",
    )
    .bind(shard.as_i32())
    .fetch_all(pg)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))).collect()
}

/// Forgets hours that no window has held for three weeks: how many rows.
pub async fn drop_old(pool: &PgPool, now: DateTime<Utc>) -> Result<u64, Error> {
    let gone = sqlx::query("delete from popular_hours where hour < $1 - interval '28 days'")
        .bind(now)
        .execute(pool)
        .await?;
    Ok(gone.rows_affected())
}
