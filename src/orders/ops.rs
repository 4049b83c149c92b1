//! What people do with orders.

use std::time::Instant;

use super::event::OrderPlaced;
use super::model::{Order, OrderRequest, Priced};
use super::{store, table};
use crate::app::App;
use crate::clock::from_millis;
use crate::error::{Code, Error};
use crate::http::identity::Identity;
use crate::ids::{OrderId, TransactionId};
use crate::journal::{Done, IdempotencyKey, Request};
use crate::metrics;
use crate::redis::Space;

/// Places an order at today's prices. True when an earlier request with the same key did.
pub async fn place(
    app: &App,
    me: Identity,
    body: &OrderRequest,
    key: IdempotencyKey,
) -> Result<(Order, bool), Error> {
    let request = Request::new(me.user, "orders.create", me.user, body, Some(key));
    let priced = priced(app, body).await?;
    let (order, transaction) = (OrderId::mint(), TransactionId::mint());
    let script = |space: &Space| store::place(space, me.user, order, transaction, priced.as_ref());
    let shard = app.journal.shards.of(me.user.uuid());
    let done = app.journal.perform(shard, &request, script).await?.done()?;
    let order = placed(&done)?;
    if !done.replayed {
        metrics::ordered(order.total_price.get());
    }
    Ok((order, done.replayed))
}

/// `None` where something is not on the menu: the script says so, after it has looked for the key.
async fn priced(app: &App, body: &OrderRequest) -> Result<Option<Priced>, Error> {
    let asked = Instant::now();
    app.board.fresh(&app.pool).await?;
    let lines = body.summed();
    let find = || -> Option<Vec<_>> {
        lines.iter().map(|(id, quantity)| Some((app.board.menu(*id)?, *quantity))).collect()
    };
    let mut found = find();
    if found.is_none() {
        // Another instance may just have put it there.
        app.board.since(&app.pool, Some(asked)).await?;
        found = find();
    }
    found.map(Priced::of).transpose()
}

fn placed(done: &Done) -> Result<Order, Error> {
    let fact: OrderPlaced = done.facts.first().map_err(Error::internal)?;
    Ok(Order {
        order_id: fact.order,
        items: fact.lines.iter().map(Into::into).collect(),
        total_price: fact.total,
        balance: fact.balance,
        created_at: from_millis(done.at_ms),
        user_id: fact.user,
    })
}

/// An order that this user may see.
pub async fn visible(app: &App, me: Identity, id: OrderId) -> Result<Order, Error> {
    let found = table::order(&app.pool, id).await?;
    let found = found.filter(|order| me.sees(order.user_id));
    found.ok_or_else(|| Error::refused(Code::OrderNotFound))
}
