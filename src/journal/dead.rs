//! Keys of epochs that live no more. A rebuild leaves the old epoch's keys where they are, since nobody reads
//! them and clearing them in place could meet a late writer; here they are unlinked, lazily.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Journal;
use crate::error::Error;
use crate::redis::{ScanPlace, Shard, keys};

/// Pause between two, so that nobody else waits.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks through all keys once and unlinks those of older epochs than the one that lives: how many.
pub async fn unlink(journal: &Journal) -> Result<usize, Error> {
    let (mut place, mut unlinked) = (ScanPlace::default(), 0);
    let prefix = journal.shards.prefix();
    let pattern = keys::pattern(prefix);
    while let Some(keys) = journal.redis.scan(&mut place, &pattern).await? {
        let mut dead: BTreeMap<Shard, Vec<String>> = BTreeMap::new();
        for key in keys {
            let Some((shard, epoch)) = keys::read(prefix, &key) else { continue };
            if shard.0 >= journal.shards.count() {
                continue;
            }
            let (space, lives) = journal.shards.known(shard);
            if lives && epoch < space.epoch {
                dead.entry(shard).or_default().push(key);
            }
        }
        for keys in dead.into_values() {
            unlinked += keys.len();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            journal.redis.command("UNLINK", &keys).await?;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(unlinked)
}
