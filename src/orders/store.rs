//! Orders in their user's shard.

use super::model::Priced;
use crate::ids::{OrderId, TransactionId, UserId};
use crate::redis::{Space, script};
use crate::{ranking, wallet};

script! {
    /// Takes the points for an order and counts it.
    Place = "orders/place" {
        keys { balances, menu_orders, menu_quantity, hours, hour_orders, hour_quantity }
        args { user: UserId, placed: OrderId, transaction: TransactionId, total: i64, items: String }
    }
}

/// Places an order; without prices, where something is not on the menu, only an earlier one is told again.
pub fn place(
    space: &Space,
    user: UserId,
    placed: OrderId,
    transaction: TransactionId,
    priced: Option<&Priced>,
) -> Place {
    let items = priced.map(|priced| priced.lines.iter().map(ToString::to_string).collect::<Vec<_>>());
    Place {
        balances: wallet::store::balances(space),
        menu_orders: ranking::store::orders(space),
        menu_quantity: ranking::store::quantity(space),
        hours: ranking::store::hours(space),
        hour_orders: ranking::store::hour_orders(space),
        hour_quantity: ranking::store::hour_quantity(space),
        user,
        placed,
        transaction,
        total: priced.map_or(0, |priced| priced.total.get()),
        items: items.unwrap_or_default().join(","),
    }
}
