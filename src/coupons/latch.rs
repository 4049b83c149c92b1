//! Sold out: once the last claim of a campaign is durable, who comes too late is told so here, and costs
//! neither Redis nor Postgres anything.
//!
//! It holds for the epoch of the campaign's shard, and the run of Redis, in which it was found: after a
//! loss it is found again. Who has a coupon of the campaign is let through to the script, since his key may
//! have to be replayed; so is, once in a hundred times, who looks like him (a Bloom filter of those who
//! claimed).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fastbloom::BloomFilter;
use uuid::Uuid;

use super::table;
use crate::app::{App, AppState};
use crate::error::Error;
use crate::ids::{CampaignId, UserId};
use crate::redis::Space;

/// Claims of the largest campaign that is latched, ten bits each; losers of a larger one go on to the script.
const CLAIMS_MAX: i64 = 20_000_000;
/// Claims of all that are latched; beyond them all are forgotten, and found again.
const CLAIMS_KEPT: i64 = 60_000_000;
/// Who looks like a winner and is none, of all.
const MISTAKEN: f64 = 0.01;
/// Pause between two looks at one campaign.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// A campaign of which nothing is left.
struct SoldOut {
    /// In which epoch, on which run of Redis.
    space: Space,
    claims: i64,
    /// Claiming ends then; later the script says so.
    ends_ms: i64,
    winners: BloomFilter,
}

/// What is sold out, as far as this instance has found.
#[derive(Default)]
pub struct Latch {
    sold_out: Mutex<HashMap<CampaignId, Arc<SoldOut>>>,
    /// Looks that run, or began a moment ago.
    looks: Mutex<HashMap<CampaignId, Look>>,
}

struct Look {
    began: Instant,
    runs: bool,
}

impl Latch {
    /// Whether this user is too late, as far as is known here.
    pub fn is_too_late(&self, app: &App, campaign: CampaignId, user: UserId) -> bool {
        let known = self.sold_out.lock().unwrap_or_else(PoisonError::into_inner).get(&campaign).cloned();
        let Some(known) = known else { return false };
        let (space, lives) = app.journal.shards.known(app.journal.shards.of(campaign.uuid()));
        lives
            && space == known.space
            && app.clock.now_ms() < known.ends_ms
            && !known.winners.contains(&user.uuid())
    }

    /// The script has said so: looks, in the background, whether that is durable.
    pub fn heard(&self, app: &AppState, campaign: CampaignId) {
        let (space, _) = app.journal.shards.known(app.journal.shards.of(campaign.uuid()));
        let known = self.sold_out.lock().unwrap_or_else(PoisonError::into_inner).get(&campaign).cloned();
        // Who looks like a winner, or has fewer than he may, hears it from the script as before.
        if known.is_some_and(|known| known.space == space) {
            return;
        }
        {
            let mut looks = self.looks();
            looks.retain(|_, look| look.runs || look.began.elapsed() < LOOK_PAUSE);
            if looks.contains_key(&campaign) {
                return;
            }
            looks.insert(campaign, Look { began: Instant::now(), runs: true });
        }
        let app = app.clone();
        app.tasks.clone().spawn(async move {
            let looked = app.latch.look(&app, campaign).await;
            if let Some(look) = app.latch.looks().get_mut(&campaign) {
                look.runs = false;
            }
            if let Err(error) = looked {
                tracing::debug!(%campaign, %error, "looking whether a campaign is sold out");
            }
        });
    }

    fn looks(&self) -> std::sync::MutexGuard<'_, HashMap<CampaignId, Look>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self, app: &App, campaign: CampaignId) -> Result<(), Error> {
        // The epoch first: what is found then is of this epoch, or of one before it.
        let (space, lives) = app.journal.shards.known(app.journal.shards.of(campaign.uuid()));
        if !lives {
            return Ok(());
        }
        let Some(found) = table::sold_out(&app.pool, campaign).await? else { return Ok(()) };
        if found.claims > CLAIMS_MAX {
            return Ok(());
        }
        let mut winners = BloomFilter::with_false_pos(MISTAKEN).expected_items(found.claims.max(1) as usize);
        table::each_winner(&app.pool, found.ordinal, |user: Uuid| {
            winners.insert(&user);
        })
        .await?;
        let ends_ms = found.ends_at.timestamp_millis();
        let known = SoldOut { space, claims: found.claims, ends_ms, winners };
        let mut sold_out = self.sold_out.lock().unwrap_or_else(PoisonError::into_inner);
        sold_out.remove(&campaign);
        if sold_out.values().map(|one| one.claims).sum::<i64>() + found.claims > CLAIMS_KEPT {
            sold_out.clear();
        }
        sold_out.insert(campaign, Arc::new(known));
        tracing::info!(%campaign, claims = found.claims, "sold out");
        Ok(())
    }

    /// How many are known here.
    pub fn count(&self) -> usize {
        self.sold_out.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
