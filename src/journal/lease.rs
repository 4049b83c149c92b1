//! Which shards this instance looks after.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::table::lease;
use crate::ids::InstanceId;
use crate::redis::Shard;

/// A lease ends so long after it was renewed: how long a killed instance's shards wait for another.
const LEASE_MS: i64 = 1_500;
/// Pause between renewals.
const RENEW_EVERY: Duration = Duration::from_millis(400);

/// The shards that this instance owns.
pub type Owned = watch::Receiver<BTreeSet<Shard>>;

/// Renews leases until stopped, then gives them back.
pub async fn keep(
    pool: PgPool,
    me: InstanceId,
    owned: watch::Sender<BTreeSet<Shard>>,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => break,
        }
        match lease::renew(&pool, me, LEASE_MS).await {
            Ok(shards) => {
                let new: BTreeSet<_> = shards.into_iter().collect();
                owned.send_if_modified(|old| {
                    let changed = *old != new;
                    if changed {
                        tracing::info!(shards = ?new.iter().map(|s| s.0).collect::<Vec<_>>(), "owns shards");
                        *old = new;
                    }
                    changed
                });
            }
            // What is owned stays owned: while Postgres is away nobody else can take it.
            Err(error) => tracing::warn!(%error, "renewing leases"),
        }
    }
    if let Err(error) = lease::release(&pool, me).await {
        tracing::warn!(%error, "giving leases back");
    }
}
