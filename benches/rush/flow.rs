//! From a flow to its next request.

use std::io;
use std::time::Instant;

use crate::client::Client;
use crate::stats::Kind;
use crate::work::Flow;
use crate::{mixed, purchase, requests};

/// One request of the flow, or one purchase. False when there is nothing left to ask for.
pub async fn once(client: &mut Client, since: Instant) -> io::Result<bool> {
    let kind = match client.work.flow {
        Flow::Purchase => return purchase::once(client, since).await,
        Flow::Mixed => mixed::next(&client.turns),
        Flow::Livez => Kind::Livez,
        Flow::Bare => Kind::Bare,
        Flow::PostgresCharge => Kind::PostgresCharge,
        Flow::Poll => Kind::Poll,
        Flow::Leave => Kind::Leave,
        Flow::Join => Kind::Join,
        Flow::Charge => Kind::Charge,
        Flow::Claim => Kind::Claim,
        Flow::Order => Kind::Order,
    };
    let turn = client.turns.next(kind);
    if !requests::single(&mut client.connection, &client.work, kind, turn) {
        return Ok(false);
    }
    client.ask(kind, since).await?;
    Ok(true)
}
