//! Were all orders paid?

use sqlx::PgConnection;

use super::table;
use crate::error::Error;
use crate::redis::Shard;

/// A sentence for each order whose points did not go.
pub async fn differences(pg: &mut PgConnection, shard: Shard) -> Result<Vec<String>, Error> {
    let unpaid = table::unpaid(pg, shard).await?;
    Ok(unpaid.into_iter().map(|order| format!("order {order}: its points did not go")).collect())
}
