//! What Redis knows of campaigns, where Postgres was restored from an older backup.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};

use super::{Changes, keys, say_campaign};
use crate::clock::from_millis;
use crate::coupons::codes::Codes;
use crate::coupons::event::{CampaignCreated, CouponClaimed};
use crate::error::Error;
use crate::ids::{CampaignId, UserId};
use crate::journal::adopt::Kept;
use crate::journal::entry::Entry;
use crate::journal::facts::Text;
use crate::journal::table::statements::Statements;
use crate::redis::Shard;

/// Claims that one statement takes over.
const ADOPTED_MAX: usize = 10_000;

/// Takes over campaigns and claims. One that the backup does not know, and that was not made `lately`, has
/// lost its name; its id stands for it. When a coupon was claimed is lost: now.
pub async fn adopt(pg: &mut PgConnection, kept: &Kept, lately: &[Entry], codes: &Codes) -> Result<(), Error> {
    let at = from_millis(kept.now_ms);
    let found = lately.iter().filter_map(|entry| entry.facts.find::<CampaignCreated>().transpose());
    let found = found.collect::<Result<Vec<_>, _>>().map_err(Error::internal)?;
    let names: BTreeMap<CampaignId, Text> =
        found.into_iter().map(|made| (made.campaign, made.name)).collect();
    let claimants: BTreeMap<CampaignId, _> = kept.hashes("coupons", "claimants").into_iter().collect();
    let mut changes = Changes::default();
    for (campaign, fields) in kept.hashes::<CampaignId>("coupons", "campaign") {
        let number = |field: &str| fields.get(field).and_then(|text| text.parse::<i64>().ok());
        let wanted = |field: &str| {
            number(field).ok_or_else(|| Error::internal(format_args!("redis: a campaign lacks {field}")))
        };
        let made = CampaignCreated {
            campaign,
            ordinal: wanted("ordinal")?,
            name: names.get(&campaign).cloned().unwrap_or_else(|| Text(campaign.to_string())),
            quantity: wanted("quantity")?,
            expires_ms: wanted("expires")?,
            opens_ms: number("opens"),
            closes_ms: number("closes"),
            per_user: wanted("per_user")?,
        };
        adopt_campaign(pg, kept.space.shard, at, &made).await?;
        let known = known_claims(pg, made.ordinal as i32).await?;
        for (user, coupons) in claimants.get(&campaign).into_iter().flatten() {
            let user: UserId = user.parse().map_err(Error::internal)?;
            for (nth, coupon) in (1_i64..).zip(coupons.split(',')) {
                let (number, version) = coupon
                    .split_once(':')
                    .and_then(|(number, version)| Some((number.parse().ok()?, version.parse().ok()?)))
                    .ok_or_else(|| Error::internal(format_args!("redis: a claim is {coupon:?}")))?;
                if known.binary_search(&number).is_err() {
                    let fact = CouponClaimed {
                        campaign,
                        ordinal: made.ordinal,
                        user,
                        nth,
                        number,
                        remaining: made.quantity - number,
                        per_user: made.per_user,
                        version,
                        expires_ms: made.expires_ms,
                    };
                    changes.claimed.push((at, fact));
                    if changes.claimed.len() == ADOPTED_MAX {
                        add(&mut *pg, std::mem::take(&mut changes), codes).await?;
                    }
                }
            }
        }
    }
    add(pg, changes, codes).await
}

async fn add(pg: &mut PgConnection, changes: Changes, codes: &Codes) -> Result<(), Error> {
    changes.learn(&mut *pg, codes).await?;
    let mut each = Statements::each();
    changes.say(&mut each, codes)?;
    each.make(pg).await
}

async fn adopt_campaign(
    pg: &mut PgConnection,
    shard: Shard,
    at: DateTime<Utc>,
    made: &CampaignCreated,
) -> Result<(), Error> {
    let row = sqlx::query("select exists (select from coupon_campaigns where campaign_id = $1)");
    if row.bind(made.campaign).fetch_one(&mut *pg).await?.try_get(0)? {
        return Ok(());
    }
    let mut each = Statements::each();
    keys::say_ordinal(&mut each, made.ordinal as i32, made.campaign);
    say_campaign(&mut each, shard, at, made);
    each.make(pg).await
}

/// Numbers of a campaign that are claimed, in order.
async fn known_claims(pg: &mut PgConnection, ordinal: i32) -> Result<Vec<i64>, Error> {
    let rows = sqlx::query("select number from coupon_claims where ordinal = $1 order by number")
        .bind(ordinal)
        .fetch_all(pg)
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
