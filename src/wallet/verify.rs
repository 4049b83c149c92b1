//! Does Postgres agree with itself about points?

use sqlx::PgConnection;

use super::table;
use crate::error::Error;
use crate::redis::Shard;

/// A sentence for each user whose ledger is not his balance, and each transfer without its refund.
pub async fn differences(pg: &mut PgConnection, shard: Shard) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for (user, balance, ledger, last) in table::uneven_ledgers(pg, shard).await? {
        found.push(format!(
            "user {user}: the balance is {balance}, the ledger's sum is {ledger}, its last row says {last}"
        ));
    }
    for transfer in table::voided_without_refund(pg, shard).await? {
        found.push(format!("transfer {transfer}: voided, and its points are not back"));
    }
    Ok(found)
}
