//! What Postgres remembers of campaigns and claims.

mod adopt;
pub mod books;
pub mod bulk;
pub mod coupon;
pub mod expiring;
pub mod imports;
pub mod keys;
pub mod life;

pub use adopt::adopt;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::codes::{self, Codes};
use super::event::{CampaignCreated, CouponClaimed, CouponEvent};
use super::model::{Campaign, Status};
use super::store;
use crate::clock::from_millis;
use crate::error::Error;
use crate::http::page::{Page, PageRequest};
use crate::ids::{CampaignId, UserId};
use crate::journal::entry::Entry;
use crate::journal::loader::{Content, Loader};
use crate::journal::table::statements::Statements;
use crate::redis::Shard;

/// What a round adds.
#[derive(Default)]
pub struct Changes {
    made: Vec<(Shard, DateTime<Utc>, CampaignCreated)>,
    claimed: Vec<(DateTime<Utc>, CouponClaimed)>,
}

impl Changes {
    /// Takes up one fact.
    pub fn fold(&mut self, entry: &Entry, event: CouponEvent) {
        match event {
            CouponEvent::CampaignCreated(fact) => {
                self.made.push((entry.receipt.shard, entry.at(), fact));
            }
            CouponEvent::CouponClaimed(fact) => self.claimed.push((entry.at(), fact)),
        }
    }

    /// Makes sure that the keys are known that codes are made with.
    pub async fn learn(&self, pg: &mut PgConnection, codes: &Codes) -> Result<(), Error> {
        let versions: Vec<i16> = self.claimed.iter().map(|(_, r)| r.version as i16).collect();
        codes.learn(pg, &versions).await
    }

    /// Says them: campaigns, then who claimed what, and the coupons.
    pub fn say(&self, to: &mut Statements, codes: &Codes) -> Result<(), Error> {
        for (shard, at, fact) in &self.made {
            keys::say_ordinal(to, fact.ordinal as i32, fact.campaign);
            say_campaign(to, *shard, *at, fact);
        }
        if self.claimed.is_empty() {
            return Ok(());
        }
        let (rows, counts) = (&self.claimed, self.counts());
        let made: Vec<String> = rows.iter().map(|(_, r)| code(codes, r)).collect::<Result<_, _>>()?;
        to.say(
            "claim_coupons",
            "with claims as (
                 select * from unnest($1::int[], $2::uuid[], $3::smallint[], $4::bigint[], $5::smallint[],
                     $6::smallint[], $7::text[], $8::timestamptz[], $9::timestamptz[])
                     as c(ordinal, user_id, nth, number, per_user, key_version, code, at, expires_at)
             ), told as (
                 insert into coupon_claims (ordinal, user_id, nth, number, per_user, key_version, code, at)
                 select ordinal, user_id, nth, number, per_user, key_version, code, at from claims
             ), counted as (
                 update coupon_campaigns c set claimed = c.claimed + n.count
                 from unnest($10::uuid[], $11::bigint[]) as n(campaign_id, count)
                 where c.campaign_id = n.campaign_id
             )
             insert into coupons (code, ordinal, number, status, user_id, expires_at, assigned_at)
             select code, ordinal, number, 1, user_id, expires_at, at from claims",
        )
        .bind(rows.iter().map(|(_, r)| r.ordinal as i32).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.user).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.nth as i16).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.number).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.per_user as i16).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.version as i16).collect::<Vec<_>>())
        .bind(made)
        .bind(rows.iter().map(|(at, _)| *at).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| from_millis(r.expires_ms)).collect::<Vec<_>>())
        .bind(counts.keys().copied().collect::<Vec<_>>())
        .bind(counts.values().copied().collect::<Vec<_>>());
        Ok(())
    }

    /// How many were claimed of each campaign. The counters are the wall against giving out more than there
    /// are.
    fn counts(&self) -> BTreeMap<CampaignId, i64> {
        let mut counts = BTreeMap::new();
        for (_, fact) in &self.claimed {
            *counts.entry(fact.campaign).or_default() += 1;
        }
        counts
    }
}

/// The code that a claim was given, where the key that made it is lost.
pub async fn stored_code(pool: &PgPool, fact: &CouponClaimed) -> Result<String, Error> {
    let row = sqlx::query("select code from coupon_claims where ordinal = $1 and user_id = $2 and nth = $3")
        .bind(fact.ordinal as i32)
        .bind(fact.user)
        .bind(fact.nth as i16)
        .fetch_one(pool)
        .await?;
    Ok(row.try_get(0)?)
}

/// The code of what was claimed.
pub fn code(codes: &Codes, fact: &CouponClaimed) -> Result<String, Error> {
    let coupon = codes::Coupon { ordinal: fact.ordinal as u16, number: fact.number as u64 };
    codes.encode(coupon, fact.version as i16)
}

fn say_campaign(to: &mut Statements, shard: Shard, at: DateTime<Utc>, fact: &CampaignCreated) {
    to.say(
        "make_campaign",
        "insert into coupon_campaigns (campaign_id, shard, ordinal, name, quantity, per_user, expires_at,
             opens_at, closes_at, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(fact.campaign)
    .bind(shard.as_i32())
    .bind(fact.ordinal as i32)
    .bind(&fact.name.0)
    .bind(fact.quantity)
    .bind(fact.per_user as i32)
    .bind(from_millis(fact.expires_ms))
    .bind(fact.opens_ms.map(from_millis))
    .bind(fact.closes_ms.map(from_millis))
    .bind(at);
}

/// Loads a shard's campaigns, and who claimed.
pub async fn load(pg: &mut PgConnection, loader: &mut Loader) -> Result<(), Error> {
    let space = loader.space.clone();
    let rows = sqlx::query(
        "select campaign_id, ordinal, quantity, claimed, per_user, expires_at, opens_at, closes_at
         from coupon_campaigns where shard = $1",
    )
    .bind(space.shard.as_i32())
    .fetch_all(&mut *pg)
    .await?;
    for row in rows {
        let campaign: CampaignId = row.try_get("campaign_id")?;
        let ordinal: i32 = row.try_get("ordinal")?;
        let key = store::campaign(&space, campaign);
        let time = |column: &str| -> Result<String, Error> {
            let time: Option<DateTime<Utc>> = row.try_get(column)?;
            Ok(time.map_or_else(String::new, |time| time.timestamp_millis().to_string()))
        };
        loader.hset(&key, "ordinal", ordinal).await?;
        loader.hset(&key, "quantity", row.try_get::<i64, _>("quantity")?).await?;
        loader.hset(&key, "claimed", row.try_get::<i64, _>("claimed")?).await?;
        loader.hset(&key, "per_user", row.try_get::<i32, _>("per_user")?).await?;
        loader.hset(&key, "expires", time("expires_at")?).await?;
        loader.hset(&key, "opens", time("opens_at")?).await?;
        loader.hset(&key, "closes", time("closes_at")?).await?;
        load_claimants(pg, loader, campaign, ordinal).await?;
    }
    Ok(())
}

/// A user's claims follow one another, as the index has them.
async fn load_claimants(
    pg: &mut PgConnection,
    loader: &mut Loader,
    campaign: CampaignId,
    ordinal: i32,
) -> Result<(), Error> {
    let key = store::claimants(&loader.space, campaign);
    loader.declare(&key, Content::hash());
    let mut rows = sqlx::query(
        "select user_id, number, key_version from coupon_claims where ordinal = $1 order by user_id, nth",
    )
    .bind(ordinal)
    .fetch(pg);
    let mut last: Option<(UserId, String)> = None;
    while let Some(row) = rows.try_next().await? {
        let (user, number, version): (UserId, i64, i16) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        match &mut last {
            Some((same, coupons)) if *same == user => *coupons += &format!(",{number}:{version}"),
            _ => {
                let next = Some((user, format!("{number}:{version}")));
                if let Some((user, coupons)) = std::mem::replace(&mut last, next) {
                    loader.hset(&key, user, coupons).await?;
                }
            }
        }
    }
    match last {
        Some((user, coupons)) => loader.hset(&key, user, coupons).await,
        None => Ok(()),
    }
}

/// What `read` needs, of coupon_campaigns as `c`.
macro_rules! select_campaigns {
    () => {
        "select c.*, coalesce((select sum(u.used)::bigint from coupon_uses u where u.ordinal = c.ordinal), 0)
             as used
         from coupon_campaigns c "
    };
}

/// One campaign.
pub async fn campaign(pool: &PgPool, id: CampaignId) -> Result<Option<Campaign>, Error> {
    let row = sqlx::query(concat!(select_campaigns!(), "where c.campaign_id = $1"))
        .bind(id)
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(read).transpose()
}

/// What stands for a campaign in its codes, and when its coupons expire.
pub async fn ordinal(pg: &mut PgConnection, id: CampaignId) -> Result<Option<(i32, DateTime<Utc>)>, Error> {
    let row = sqlx::query("select ordinal, expires_at from coupon_campaigns where campaign_id = $1")
        .bind(id)
        .fetch_optional(pg)
        .await?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

/// A page of campaigns, newest first.
pub async fn page(pool: &PgPool, page: &PageRequest) -> Result<Page<Campaign>, Error> {
    let rows =
        sqlx::query(concat!(select_campaigns!(), "where c.ordinal < $1 order by c.ordinal desc limit $2"))
            .bind(page.after_number()?.unwrap_or(i64::MAX))
            .bind(page.fetch())
            .fetch_all(pool)
            .await?;
    page.cut(rows, |row| Ok(row.try_get::<i32, _>("ordinal")?.to_string()), read)
}

fn read(row: &PgRow) -> Result<Campaign, Error> {
    let (quantity, claimed): (i64, i64) = (row.try_get("quantity")?, row.try_get("claimed")?);
    Ok(Campaign {
        campaign_id: row.try_get("campaign_id")?,
        name: row.try_get("name")?,
        quantity,
        claimed,
        remaining: quantity - claimed,
        used: row.try_get("used")?,
        expires_at: row.try_get("expires_at")?,
        opens_at: row.try_get("opens_at")?,
        closes_at: row.try_get("closes_at")?,
        per_user: row.try_get::<i32, _>("per_user")?.into(),
    })
}

/// How a status of Postgres is read.
fn status(row: &PgRow) -> Result<Status, Error> {
    let stored: i16 = row.try_get("status")?;
    Status::from_number(stored)
        .ok_or_else(|| Error::internal(format_args!("postgres holds {stored} as a coupon's status")))
}

/// A campaign of which nothing is left, as far as is durable.
pub struct SoldOut {
    /// What stands for it in codes.
    pub ordinal: i32,
    /// Claims.
    pub claims: i64,
    /// When claiming ends.
    pub ends_at: DateTime<Utc>,
}

/// `None` where something is left.
pub async fn sold_out(pool: &PgPool, campaign: CampaignId) -> Result<Option<SoldOut>, Error> {
    let row = sqlx::query(
        "select ordinal, claimed, least(expires_at, closes_at) as ends_at from coupon_campaigns
         where campaign_id = $1 and claimed = quantity",
    )
    .bind(campaign)
    .fetch_optional(pool)
    .await?;
    let read = |row: PgRow| {
        let (ordinal, claims) = (row.try_get("ordinal")?, row.try_get("claimed")?);
        Ok(SoldOut { ordinal, claims, ends_at: row.try_get("ends_at")? })
    };
    row.map(read).transpose()
}

/// Everybody who claimed, as often as he did.
pub async fn each_winner(pool: &PgPool, ordinal: i32, mut each: impl FnMut(Uuid)) -> Result<(), Error> {
    let rows = sqlx::query("select user_id from coupon_claims where ordinal = $1").bind(ordinal);
    let mut rows = rows.fetch(pool);
    while let Some(row) = rows.try_next().await? {
        each(row.try_get(0)?);
    }
    Ok(())
}
