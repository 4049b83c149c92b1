//! Do claims, counters and coupons agree?

use sqlx::PgConnection;

use super::table::books;
use crate::error::Error;
use crate::redis::Shard;

/// A sentence for each campaign that does not add up.
pub async fn differences(pg: &mut PgConnection, shard: Shard) -> Result<Vec<String>, Error> {
    let found = books::differences(pg, shard).await?;
    let name = |campaign: Option<_>| campaign.map_or_else(|| "without one".into(), |id| format!("{id}"));
    Ok(found.into_iter().map(|(campaign, what)| format!("campaign {}: {what}", name(campaign))).collect())
}
