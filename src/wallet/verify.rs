//! Does Postgres agree with itself about points? And what Redis may still hold that Postgres has closed.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{store, table};
use crate::error::Error;
use crate::journal::loader::{Content, Contents};
use crate::journal::moment::Raw;
use crate::redis::{Shard, Space};

/// A transfer whose seats are sold is closed in Redis by clean-up, which may still be on its way.
pub async fn apply_soft(
    pg: &mut PgConnection,
    expected: &mut Contents,
    found: &BTreeMap<String, Raw>,
    space: &Space,
) -> Result<(), Error> {
    let key = store::transfers(space).into_string();
    let Some(raw) = found.get(&key) else { return Ok(()) };
    let held: BTreeMap<Uuid, &String> =
        raw.items.chunks_exact(2).filter_map(|pair| Some((pair[0].parse().ok()?, &pair[1]))).collect();
    let transfers: Vec<Uuid> = held.keys().copied().collect();
    let posted = table::posted(pg, &transfers).await?;
    if let Some(Content::Hash(fields)) = expected.get_mut(&key) {
        for transfer in posted {
            fields.insert(transfer.to_string(), held[&transfer].clone());
        }
    }
    Ok(())
}

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
