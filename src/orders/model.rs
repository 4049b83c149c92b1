//! The words of orders.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Code, Error};
use crate::ids::{MenuId, OrderId, Points, UserId};
use crate::menus::model::Menu;

use super::event::Line;

/// `POST /v1/orders`.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
pub struct OrderRequest {
    /// 1 to 50 lines.
    #[garde(length(min = 1, max = 50), dive)]
    #[schema(min_items = 1, max_items = 50)]
    #[serde(deserialize_with = "crate::http::object::list")]
    pub items: Vec<OrderLine>,
}

/// So many of one thing.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct OrderLine {
    /// Which; the same menu twice is summed.
    pub menu_id: MenuId,
    /// 1..=100.
    #[garde(range(min = 1, max = 100))]
    #[schema(minimum = 1, maximum = 100)]
    pub quantity: u32,
}

impl OrderRequest {
    /// How many of each menu, in the order in which they are first named.
    pub fn summed(&self) -> Vec<(MenuId, u32)> {
        let (mut sums, mut places) = (Vec::new(), BTreeMap::new());
        for line in &self.items {
            let place = *places.entry(line.menu_id).or_insert(sums.len());
            if place == sums.len() {
                sums.push((line.menu_id, 0));
            }
            sums[place].1 += line.quantity;
        }
        sums
    }
}

/// What an order would take: its lines at today's names and prices, and their sum.
#[derive(Debug, PartialEq, Eq)]
pub struct Priced {
    /// A line a menu.
    pub lines: Vec<Line>,
    /// Points.
    pub total: Points,
}

impl Priced {
    /// `balance_insufficient` where the sum is more than any balance can be.
    pub fn of(menus: impl IntoIterator<Item = (Menu, u32)>) -> Result<Self, Error> {
        let (mut lines, mut total) = (Vec::new(), Points::ZERO);
        for (menu, quantity) in menus {
            let price = menu.price.times(quantity as usize);
            let sum = price.and_then(|price| total.plus(price));
            total = sum.ok_or_else(|| Error::refused(Code::BalanceInsufficient))?;
            let name = crate::journal::facts::Text(menu.name);
            lines.push(Line { menu: menu.menu_id, quantity, price: menu.price, name });
        }
        Ok(Self { lines, total })
    }
}

/// What was ordered of one menu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderItem {
    /// Which.
    pub menu_id: MenuId,
    /// What it was called then.
    pub name: String,
    /// How many.
    pub quantity: u32,
    /// Points for one, then.
    pub unit_price: Points,
    /// Points for all of them.
    pub total_price: Points,
}

impl From<&Line> for OrderItem {
    fn from(line: &Line) -> Self {
        Self {
            menu_id: line.menu,
            name: line.name.0.clone(),
            quantity: line.quantity,
            unit_price: line.price,
            // The sum of the lines was within the range of points when the order was placed.
            total_price: line.price.times(line.quantity as usize).unwrap_or(line.price),
        }
    }
}

/// An order that was paid.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id.
    pub order_id: OrderId,
    /// A line a menu.
    pub items: Vec<OrderItem>,
    /// Points for all of it.
    pub total_price: Points,
    /// The user's balance after it.
    pub balance: Points,
    /// When.
    #[serde(with = "crate::clock::millis")]
    pub created_at: DateTime<Utc>,
    /// Who ordered; not told: only he and operators see it.
    #[serde(skip)]
    #[schema(ignore)]
    pub user_id: UserId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::POINTS_MAX;

    fn menu(price: i64) -> Menu {
        Menu { menu_id: MenuId::mint(), name: "m".into(), price: Points::new(price).unwrap() }
    }

    #[test]
    fn a_menu_named_twice_is_one_line() {
        let (first, second) = (MenuId::mint(), MenuId::mint());
        let line = |menu_id, quantity| OrderLine { menu_id, quantity };
        let request = OrderRequest { items: vec![line(second, 1), line(first, 100), line(second, 2)] };
        assert_eq!(request.summed(), [(second, 3), (first, 100)]);
    }

    #[test]
    fn a_total_stays_within_what_a_balance_can_be() {
        let most = Priced::of([(menu(POINTS_MAX - 7), 1), (menu(7), 1)]).unwrap();
        assert_eq!(most.total.get(), POINTS_MAX);
        for wrong in [vec![(menu(POINTS_MAX), 2)], vec![(menu(POINTS_MAX), 1), (menu(1), 1)]] {
            assert_eq!(Priced::of(wrong).err().unwrap().code(), Code::BalanceInsufficient);
        }
    }
}
