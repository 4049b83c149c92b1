//! The words of the ranking.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::ids::{MenuId, Points};
use crate::menus::model::Menu;

/// Days of the window.
pub const WINDOW_DAYS: i64 = 7;
/// Menus that are told.
pub const TOP: usize = 3;
/// How far two clocks may differ at the end of an hour.
pub const EDGE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

/// A full hour (UTC), counted from 1970.
pub type Hour = i64;

/// The hour of a time.
pub fn hour_of(millis: i64) -> Hour {
    millis.div_euclid(HOUR_MS)
}

/// When an hour begins.
pub fn begin_of(hour: Hour) -> DateTime<Utc> {
    crate::clock::from_millis(hour.saturating_mul(HOUR_MS))
}

/// The first hour of the window at a time.
pub fn window_at(millis: i64) -> Hour {
    hour_of(millis) - WINDOW_DAYS * 24
}

/// How often something was ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    /// Orders that hold it.
    pub orders: i64,
    /// How many of it.
    pub quantity: i64,
}

impl Count {
    /// Adds another to it, `times` times.
    pub fn add(&mut self, other: Count, times: i64) {
        self.orders += other.orders * times;
        self.quantity += other.quantity * times;
    }
}

/// `GET /v1/menus/popular`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Popular {
    /// At most three, the most ordered first.
    pub items: Vec<PopularMenu>,
    /// The window's begin, a full hour.
    #[serde(with = "crate::clock::millis")]
    pub from: DateTime<Utc>,
    /// When it was counted.
    #[serde(with = "crate::clock::millis")]
    pub as_of: DateTime<Utc>,
}

/// One of the most ordered menus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PopularMenu {
    /// 1 is the most ordered.
    pub rank: usize,
    /// Which.
    pub menu_id: MenuId,
    /// What it is called now.
    pub name: String,
    /// What one costs now.
    pub price: Points,
    /// Orders of the window that hold it.
    pub order_count: i64,
    /// How many of it they hold.
    pub quantity: i64,
}

/// The top of those that are on the menu: by orders, then quantity, then name; what is alike in all three, by
/// id.
pub fn top(counts: &BTreeMap<MenuId, Count>, find: impl Fn(MenuId) -> Option<Menu>) -> Vec<PopularMenu> {
    let mut ranked: Vec<(MenuId, Count)> = counts.iter().map(|(menu, count)| (*menu, *count)).collect();
    ranked.sort_unstable_by(|(_, a), (_, b)| b.cmp(a));
    let mut found: Vec<(Menu, Count)> = Vec::new();
    for (id, count) in ranked {
        // Whoever is alike to the last one that is told may still come before it, by name.
        if found.len() >= TOP && found[TOP - 1].1 != count {
            break;
        }
        found.extend(find(id).map(|menu| (menu, count)));
    }
    found.sort_by(|(a, of_a), (b, of_b)| {
        of_b.cmp(of_a).then_with(|| a.name.cmp(&b.name)).then_with(|| a.menu_id.cmp(&b.menu_id))
    });
    let told = found.into_iter().take(TOP).enumerate();
    told.map(|(at, (menu, count))| PopularMenu {
        rank: at + 1,
        menu_id: menu.menu_id,
        name: menu.name,
        price: menu.price,
        order_count: count.orders,
        quantity: count.quantity,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_by_orders_then_quantity_then_name_and_what_is_off_the_menu_is_left_out() {
        let names = ["gone", "fewer", "b", "a", "c", "more"];
        let counts = [(9, 90), (1, 99), (5, 6), (5, 6), (5, 6), (5, 7)];
        let menus: Vec<Menu> = names
            .iter()
            .map(|name| Menu { menu_id: MenuId::mint(), name: (*name).into(), price: Points::ZERO })
            .collect();
        let counted = menus.iter().zip(counts);
        let counted: BTreeMap<MenuId, Count> =
            counted.map(|(menu, (orders, quantity))| (menu.menu_id, Count { orders, quantity })).collect();
        let find = |id| menus.iter().find(|menu| menu.menu_id == id && menu.name != "gone").cloned();
        let told: Vec<(usize, String)> = top(&counted, find).into_iter().map(|p| (p.rank, p.name)).collect();
        assert_eq!(told, [(1, "more".into()), (2, "a".into()), (3, "b".into())]);
        assert!(top(&BTreeMap::new(), find).is_empty());
    }

    #[test]
    fn the_window_begins_at_a_full_hour() {
        let week = 7 * 24;
        assert_eq!(window_at((week + 3) * HOUR_MS), 3);
        assert_eq!(window_at((week + 4) * HOUR_MS - 1), 3);
        assert_eq!(begin_of(3).timestamp_millis(), 3 * HOUR_MS);
    }
}
