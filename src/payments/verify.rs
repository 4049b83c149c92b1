//! Does Postgres agree with itself about payments?

use sqlx::PgConnection;

use super::table;
use crate::error::Error;
use crate::redis::Shard;

/// A sentence for each sale without its payment, and each decision that its transfer does not follow.
pub async fn differences(pg: &mut PgConnection, shard: Shard) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for reservation in table::sales_without_payment(pg, shard).await? {
        found.push(format!("reservation {reservation}: confirmed, and not paid exactly once in full"));
    }
    for transfer in table::decisions_not_followed(pg, shard).await? {
        found.push(format!("transfer {transfer}: its state is not what was decided"));
    }
    Ok(found)
}
