//! A shard's counts.

use super::model::{Hour, WINDOW_DAYS};
use crate::redis::{Key, Space, script};

/// Menu → orders of the window that hold it.
pub fn orders(space: &Space) -> Key {
    space.key("ranking", &[&"orders"])
}

/// Menu → how many of it they hold.
pub fn quantity(space: &Space) -> Key {
    space.key("ranking", &[&"quantity"])
}

/// `hour:menu` by hour; what the next two have a field for.
pub fn hours(space: &Space) -> Key {
    space.key("ranking", &[&"hours"])
}

/// `hour:menu` → orders.
pub fn hour_orders(space: &Space) -> Key {
    space.key("ranking", &[&"hour_orders"])
}

/// `hour:menu` → quantity.
pub fn hour_quantity(space: &Space) -> Key {
    space.key("ranking", &[&"hour_quantity"])
}

script! {
    /// Takes out what has left the window.
    Subtract = "ranking/subtract" {
        keys { menu_orders, menu_quantity, hours, hour_orders, hour_quantity }
        args { days: i64, limit: u32 }
    }

    /// Totals, and what of them has left the window.
    Read = "ranking/read" {
        keys { menu_orders, menu_quantity, hours, hour_orders, hour_quantity }
        args { days: i64, from: Hour, limit: u32 }
    }
}

/// Takes out at most `limit` hours of menus.
pub fn subtract(space: &Space, limit: u32) -> Subtract {
    Subtract {
        menu_orders: orders(space),
        menu_quantity: quantity(space),
        hours: hours(space),
        hour_orders: hour_orders(space),
        hour_quantity: hour_quantity(space),
        days: WINDOW_DAYS,
        limit,
    }
}

/// Reads all; the window begins at `from` or later.
pub fn read(space: &Space, from: Hour, limit: u32) -> Read {
    Read {
        menu_orders: orders(space),
        menu_quantity: quantity(space),
        hours: hours(space),
        hour_orders: hour_orders(space),
        hour_quantity: hour_quantity(space),
        days: WINDOW_DAYS,
        from,
        limit,
    }
}
