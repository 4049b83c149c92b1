//! What people do with campaigns and coupons.

use chrono::{DateTime, Utc};

use super::event::{CampaignCreated, CouponClaimed};
use super::model::{Campaign, Claimed, Coupon, CreateCampaign, CreateCoupons, CreatedCoupons, Status, ahead};
use super::{codes, store, table};
use crate::app::App;
use crate::audit;
use crate::audit::model::Act;
use crate::clock::{self, from_millis};
use crate::error::{Code, Error};
use crate::http::identity::{Actor, Identity};
use crate::ids::{CampaignId, RewardRequestId, UserId};
use crate::journal::{Done, IdempotencyKey, Request, Step};
use crate::metrics;
use crate::redis::Space;

/// Makes a campaign; as fast, and as small, for one coupon as for ten billion.
pub async fn create(
    app: &App,
    by: &Actor,
    body: &CreateCampaign,
    key: Option<IdempotencyKey>,
) -> Result<(Campaign, bool), Error> {
    let request = Request::new(by.me.user, "campaigns.create", "coupon-campaigns", body, key);
    if app.journal.recall(&request).await?.is_empty() {
        ahead(body.expires_at, app.clock.now())?;
    }
    // What a shard that is fenced knows of ordinals, Postgres may have forgotten.
    if app.journal.shards.all().any(|shard| !app.journal.shards.known(shard).1) {
        return Err(Error::unavailable("a shard is being rebuilt or fenced"));
    }
    // Minted from the operation, so that a repeat asks the same shard.
    let id = CampaignId::from(request.op);
    let ordinal = table::keys::ordinal(&app.pool, id).await?;
    let request = request.audited(Act::new(by, format_args!("coupon-campaigns/{id}"), Some(body)));
    let script = |space: &Space| store::create(space, id, ordinal, body);
    let shard = app.journal.shards.of(id.uuid());
    let done = app.journal.perform(shard, &request, script).await?.done()?;
    let made: CampaignCreated = done.facts.first().map_err(Error::internal)?;
    let campaign = Campaign {
        campaign_id: made.campaign,
        name: made.name.0,
        quantity: made.quantity,
        claimed: 0,
        remaining: made.quantity,
        used: 0,
        expires_at: from_millis(made.expires_ms),
        opens_at: made.opens_ms.map(from_millis),
        closes_at: made.closes_ms.map(from_millis),
        per_user: made.per_user,
    };
    Ok((campaign, done.replayed))
}

/// Claims the next coupon. True when an earlier request with the same key did.
pub async fn claim(
    app: &App,
    me: Identity,
    id: CampaignId,
    key: IdempotencyKey,
) -> Result<(Claimed, bool), Error> {
    let request = Request::new(me.user, "coupons.claim", id, &(), Some(key));
    let version = app.codes.newest()?;
    let script = |space: &Space| store::claim(space, id, me.user, version);
    let shard = app.journal.shards.of(id.uuid());
    let done = app.journal.perform(shard, &request, script).await?.done()?;
    let fact: CouponClaimed = done.facts.first().map_err(Error::internal)?;
    if !done.replayed {
        metrics::coupon("claimed", 1);
    }
    let code = match app.codes.knows(fact.version as i16) {
        true => table::code(&app.codes, &fact)?,
        // Boxed: after a rotation, once, and each claim would carry it along.
        false => Box::pin(unfamiliar_code(app, &fact)).await?,
    };
    let claimed = Claimed {
        code: codes::grouped(&code),
        campaign_id: fact.campaign,
        number: fact.number,
        rank: fact.number,
        remaining: fact.remaining,
        status: Status::Assigned,
        expires_at: from_millis(fact.expires_ms),
    };
    Ok((claimed, done.replayed))
}

/// The code of a claim that was made with a key which is not known here: not yet, or not any more.
async fn unfamiliar_code(app: &App, fact: &CouponClaimed) -> Result<String, Error> {
    app.codes.refresh(&mut *app.pool.acquire().await?).await?;
    match app.codes.knows(fact.version as i16) {
        true => table::code(&app.codes, fact),
        false => table::stored_code(&app.pool, fact).await,
    }
}

/// Gives a user the campaign's next coupon as a reward, or says for ever why not; once for a request, whoever
/// asks, whenever.
pub async fn grant(
    app: &App,
    request: RewardRequestId,
    user: UserId,
    campaign: CampaignId,
    step: &Step,
) -> Result<Done, Error> {
    let version = app.codes.newest()?;
    let script = |space: &Space| store::grant(space, request, campaign, user, version);
    app.journal.step_again(app.journal.shards.of(campaign.uuid()), step, script).await?.done()
}

/// A coupon that this user may see.
pub async fn visible(app: &App, me: Identity, code: &str) -> Result<Coupon, Error> {
    let found = table::coupon::by_code(&app.pool, code).await?;
    let found =
        found.filter(|coupon| me.role.operates() || coupon.user_id.is_some_and(|owner| me.sees(owner)));
    found.ok_or_else(|| Error::refused(Code::CouponNotFound))
}

/// Makes coupons that are nobody's yet, beside the campaign's quantity.
pub async fn generate(
    app: &App,
    by: &Actor,
    body: &CreateCoupons,
    key: IdempotencyKey,
) -> Result<(CreatedCoupons, bool), Error> {
    let request = Request::new(by.me.user, "coupons.create", "coupons", body, Some(key));
    let (act, name) = (Act::new(by, "coupons", Some(body)), (request.op, request.operation));
    let version = app.codes.newest()?;
    let (now, expires_at, count) = (app.clock.now(), body.expires_at, body.count);
    let (made_codes, campaign) = (app.codes.clone(), body.campaign_id);
    let done = app.journal.once(&request, 201, |pg| {
        Box::pin(async move {
            let ordinal = match campaign {
                None => 0,
                Some(id) => table::ordinal(&mut *pg, id).await?.ok_or_else(missing)?.0,
            };
            ahead(expires_at, now)?;
            let first = table::keys::take_numbers(&mut *pg, ordinal, count).await?.ok_or_else(used_up)?;
            let codes = table::bulk::codes(&made_codes, ordinal, first..first + count, version)?;
            table::bulk::insert(&mut *pg, ordinal, first, &codes, expires_at).await?;
            audit::table::record(pg, name, &act, None, now).await?;
            let codes = codes.iter().map(|code| codes::grouped(code)).collect();
            Ok(CreatedCoupons { campaign_id: campaign, codes })
        })
    });
    let (made, replayed) = done.await?;
    if !replayed {
        metrics::coupon("generated", count as u64);
    }
    Ok((made, replayed))
}

/// There is no such campaign.
pub fn missing() -> Error {
    Error::refused(Code::CampaignNotFound)
}

/// The campaign's numbers beside its quantity have run out.
pub fn used_up() -> Error {
    let most = codes::GENERATED_MAX;
    Error::invalid("count", format!("would be more than the {most} that can be generated for a campaign"))
}

/// The day of `expiresAt`, from its midnight to the next, in the configured zone.
pub fn day_of(app: &App, day: chrono::NaiveDate) -> Result<(DateTime<Utc>, DateTime<Utc>), Error> {
    let next = day.succ_opt().ok_or_else(|| Error::invalid("date", "is out of range"))?;
    Ok((clock::midnight(day, app.config.zone), clock::midnight(next, app.config.zone)))
}
