//! G8 on live data: does Redis hold what a rebuild from Postgres would give, and does Postgres agree with
//! itself?
//!
//! Shard by shard, as `comparison` does it. Where a shard moves on, is rebuilt or does not answer, it is
//! tried again for a while; what was found until then is told in any case.

use std::time::{Duration, Instant};

use sqlx::{PgConnection, PgPool};

use super::Journal;
use super::comparison::{Comparison, Step};
use crate::error::Error;
use crate::redis::Shard;

/// How long a shard is tried that comes no further.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause between tries.
const PAUSE: Duration = Duration::from_millis(20);

/// What differs, a sentence each; empty when all agrees.
pub type Differences = Vec<String>;

/// Compares all shards. That one could not be compared is told as a difference is.
pub async fn verify(journal: &Journal, pool: &PgPool) -> Differences {
    let mut differences = Vec::new();
    for shard in journal.shards.all() {
        differences.extend(verify_shard(journal, pool, shard).await);
    }
    differences
}

async fn verify_shard(journal: &Journal, pool: &PgPool, shard: Shard) -> Differences {
    let (mut begun, mut further) = (None, Instant::now());
    let why = loop {
        let why = match go_on(journal, pool, shard, &mut begun).await {
            Ok(Step::Done) => return begun.map(Comparison::into_differences).unwrap_or_default(),
            Ok(Step::Further) => {
                further = Instant::now();
                continue;
            }
            Ok(Step::Again(why)) => why.to_owned(),
            Err(error) => error.to_string(),
        };
        if further.elapsed() > PATIENCE || journal.shards.is_fenced(shard) {
            break why;
        }
        tokio::time::sleep(PAUSE).await;
    };
    let mut differences = begun.map(Comparison::into_differences).unwrap_or_default();
    differences.push(format!("shard {shard} could not be compared to the end: {why}"));
    differences
}

/// A step in the epoch that lives now; what was compared in an earlier one is begun anew.
async fn go_on(
    journal: &Journal,
    pool: &PgPool,
    shard: Shard,
    begun: &mut Option<Comparison>,
) -> Result<Step, Error> {
    // Another server may answer since, and nobody else looks here.
    journal.shards.observe(&journal.redis);
    journal.shards.refresh().await?;
    let space = journal.shards.live(shard).await?;
    match begun {
        Some(comparison) if comparison.is_in(&space) => comparison.go_on(journal, pool).await,
        _ => {
            *begun = Some(Comparison::begin(journal, pool, space).await?);
            Ok(Step::Further)
        }
    }
}

/// Does Postgres agree with itself about a shard?
pub async fn books(pg: &mut PgConnection, shard: Shard) -> Result<Differences, Error> {
    let mut differences = crate::wallet::verify::differences(pg, shard).await?;
    differences.extend(crate::seats::verify::differences(pg, shard).await?);
    differences.extend(crate::payments::verify::differences(pg, shard).await?);
    differences.extend(crate::orders::verify::differences(pg, shard).await?);
    differences.extend(crate::ranking::verify::differences(pg, shard).await?);
    differences.extend(crate::coupons::verify::differences(pg, shard).await?);
    differences.extend(crate::rewards::table::books::differences(pg, shard).await?);
    Ok(differences)
}
