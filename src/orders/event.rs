//! What happens to orders.

use std::fmt;

use crate::ids::{MenuId, OrderId, Points, TransactionId, UserId};
use crate::journal::facts::{Field, Text, events};

/// What was ordered of one menu: `menu:quantity:price:name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which.
    pub menu: MenuId,
    /// How many.
    pub quantity: u32,
    /// Points for one.
    pub price: Points,
    /// What it was called.
    pub name: Text,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.menu, self.quantity, self.price, self.name)
    }
}

impl Field for Line {
    fn read(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split(':').collect();
        let [menu, quantity, price, name] = fields[..] else { return None };
        Some(Self {
            menu: menu.parse().ok()?,
            quantity: quantity.parse().ok()?,
            price: price.parse().ok()?,
            name: name.parse().ok()?,
        })
    }
}

events! {
    /// Facts of a user's shard.
    OrderEvent {
        /// An order was paid; `balance` is after it.
        OrderPlaced = "order.placed" {
            order: OrderId, transaction: TransactionId, user: UserId, total: Points, balance: Points,
            lines: Vec<Line>,
        }
    }
}
