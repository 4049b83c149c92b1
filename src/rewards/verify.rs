//! Do stock, requests, grants, ledgers and coupons agree?

use sqlx::PgConnection;

use super::table::books;
use crate::error::Error;
use crate::redis::Shard;

/// A sentence for each thing that does not add up.
pub async fn differences(pg: &mut PgConnection, shard: Shard) -> Result<Vec<String>, Error> {
    books::differences(pg, shard).await
}
