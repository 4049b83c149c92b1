//! What the world outside is told of an order.

use serde_json::json;

use super::event::OrderPlaced;
use super::model::OrderItem;
use crate::clock::rfc3339;
use crate::delivery::notice::Notice;
use crate::journal::entry::Entry;

/// For the data-collection platform; a user's orders arrive in order.
pub fn placed(entry: &Entry, fact: &OrderPlaced) -> Notice {
    let fact = fact.clone();
    Notice::of(entry, "order.placed", fact.order.uuid(), fact.user.uuid(), move |at| {
        let items = fact.lines.iter().map(OrderItem::from);
        let items = items.map(
            |item| json!({"menuId": item.menu_id, "quantity": item.quantity, "amount": item.total_price}),
        );
        json!({
            "orderId": fact.order,
            "userId": fact.user,
            "items": items.collect::<Vec<_>>(),
            "totalPrice": fact.total,
            "orderedAt": rfc3339(at),
        })
    })
}
