//! Telling the shards how far Postgres is, which lets go of what they keep and says how far behind it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Journal, store};
use crate::error::Error;
use crate::redis::Shard;

/// How much of the journal stays in Redis behind the cursor, for a Postgres that went back a little.
const KEEP_MS: i64 = 900_000;
/// A busy writer tells its shards so often, and at once after a commit that took longer: what was told late
/// counts as lag.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What is to be told: of each shard its epoch and the last entry that is committed.
#[derive(Debug, Default)]
pub struct Ends {
    ends: BTreeMap<Shard, (u64, u64)>,
    told: Option<Instant>,
}

impl Ends {
    /// This is committed.
    pub fn add(&mut self, shard: Shard, epoch: u64, seq: u64) {
        self.ends.insert(shard, (epoch, seq));
    }

    /// Tells all of it beside what follows, unless it was told a moment ago.
    pub fn tell_in_time(&mut self, journal: &Arc<Journal>) {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            let journal = journal.clone();
            let ends = self.take();
            tokio::spawn(async move { tell_all(&journal, ends).await });
        }
    }

    /// Tells all of it.
    pub async fn tell(&mut self, journal: &Journal) {
        tell_all(journal, self.take()).await;
    }

    fn take(&mut self) -> BTreeMap<Shard, (u64, u64)> {
        if !self.ends.is_empty() {
            self.told = Some(Instant::now());
        }
        std::mem::take(&mut self.ends)
    }
}

async fn tell_all(journal: &Journal, ends: BTreeMap<Shard, (u64, u64)>) {
    let ends = ends.into_iter().map(async |(shard, (epoch, seq))| {
        // The keeper says it again.
        if let Err(error) = tell_committed(journal, shard, epoch, seq).await {
            tracing::debug!(%shard, %error, "telling how far postgres is");
        }
    });
    futures::future::join_all(ends).await;
}

/// Tells a shard how far Postgres is. Since when the oldest entry waits that Postgres lacks: milliseconds by
/// the shard's clock.
pub async fn tell_committed(
    journal: &Journal,
    shard: Shard,
    epoch: u64,
    seq: u64,
) -> Result<Option<i64>, Error> {
    let space = journal.shards.space(shard, epoch);
    let script = store::Committed {
        meta: space.meta(),
        journal: store::journal(&space),
        marks: store::marks(&space),
        epoch,
        seq,
        keep_ms: KEEP_MS,
    };
    let told = journal.redis.run(script, Duration::from_secs(1)).await?;
    Ok(told.text(0).ok().and_then(|since| since.parse().ok()))
}
