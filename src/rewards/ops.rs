//! What operators do with rewards.

use super::event::{RewardChanged, RewardCreated};
use super::model::{Kind, Reward, RewardBody};
use super::store;
use crate::app::App;
use crate::audit::model::Act;
use crate::coupons;
use crate::error::{Code, Error};
use crate::events;
use crate::http::identity::Actor;
use crate::http::version::Expected;
use crate::ids::RewardId;
use crate::journal::{Done, IdempotencyKey, Outcome, Request, refusal};
use crate::redis::{Reply, Space};

/// Makes a reward.
pub async fn create(
    app: &App,
    by: &Actor,
    body: &RewardBody,
    key: Option<IdempotencyKey>,
) -> Result<(Reward, bool), Error> {
    let request = Request::new(by.me.user, "rewards.create", "rewards", body, key);
    if app.journal.recall(&request).await?.is_empty() {
        know_campaign(app, body).await?;
    }
    // Minted from the operation, so that a repeat asks the same shard.
    let id = RewardId::from(request.op);
    let request = request.audited(Act::new(by, format_args!("rewards/{id}"), Some(body)));
    let shard = app.journal.shards.of(id.uuid());
    let script = |space: &Space| store::create(space, id, body);
    let done = app.journal.perform(shard, &request, script).await?.done()?;
    let made: RewardCreated = done.facts.first().map_err(Error::internal)?;
    let reward = Reward {
        reward_id: made.reward,
        version: 1,
        name: made.name.0,
        kind: Kind::stored(&made.kind.0)?,
        amount: made.amount,
        campaign_id: made.campaign,
        stock: made.stock,
        remaining: made.stock,
    };
    Ok((reward, done.replayed))
}

/// Campaigns are never taken away.
async fn know_campaign(app: &App, body: &RewardBody) -> Result<(), Error> {
    let Some(campaign) = body.campaign_id else { return Ok(()) };
    let found = coupons::table::campaign(&app.pool, campaign).await?;
    found.map(drop).ok_or_else(coupons::ops::missing)
}

/// Makes it another, if it has a version that is expected; what an event gives out stays what it is.
pub async fn change(
    app: &App,
    by: &Actor,
    id: RewardId,
    body: &RewardBody,
    (expected, key): (&Expected, Option<IdempotencyKey>),
) -> Result<(Reward, bool), Error> {
    let request = Request::new(by.me.user, "rewards.change", id, body, key);
    if app.journal.recall(&request).await?.is_empty() {
        know_campaign(app, body).await?;
    }
    let request = request.audited(Act::new(by, format_args!("rewards/{id}"), Some(body)));
    let shard = app.journal.shards.of(id.uuid());
    let done = beside_events(app, id, async |runs| {
        let script = |space: &Space| store::change(space, id, body, expected, runs);
        app.journal.perform(shard, &request, script).await
    });
    let done = done.await?;
    let is: RewardChanged = done.facts.first().map_err(Error::internal)?;
    let reward = Reward {
        reward_id: is.reward,
        version: is.version,
        name: is.name.0,
        kind: Kind::stored(&is.kind.0)?,
        amount: is.amount,
        campaign_id: is.campaign,
        stock: is.stock,
        remaining: is.stock - is.taken,
    };
    Ok((reward, done.replayed))
}

/// Takes it away. True when an earlier request with the same key did.
pub async fn delete(
    app: &App,
    by: &Actor,
    id: RewardId,
    expected: &Expected,
    key: Option<IdempotencyKey>,
) -> Result<bool, Error> {
    let request = Request::new(by.me.user, "rewards.delete", id, &(), key);
    let request = request.audited(Act::new::<()>(by, format_args!("rewards/{id}"), None));
    let shard = app.journal.shards.of(id.uuid());
    let done = beside_events(app, id, async |runs| {
        let script = |space: &Space| store::delete(space, id, expected, runs);
        app.journal.perform(shard, &request, script).await
    });
    Ok(done.await?.replayed)
}

/// A change of a reward, told whether an event that runs, or will, gives it out; until it is durable no event
/// changes.
async fn beside_events(
    app: &App,
    id: RewardId,
    change: impl AsyncFnOnce(bool) -> Result<Outcome, Error>,
) -> Result<Done, Error> {
    let _turn = app.texts.lock().await;
    let mut tx = app.pool.begin().await?;
    events::table::take_turn(&mut tx).await?;
    let runs = events::table::gives(&mut *tx, id, app.clock.now()).await?;
    let changed = change(runs).await;
    tx.rollback().await?;
    match changed? {
        Outcome::Done(done) => Ok(done),
        Outcome::Refused(reply) => Err(not_changed(&reply)),
    }
}

fn not_changed(reply: &Reply) -> Error {
    match reply.word() {
        "runs" => Error::invalid(
            "rewardId",
            "an event that runs, or will, gives it out: only name and stock change",
        ),
        "taken" => {
            let taken = reply.text(0).unwrap_or_default();
            Error::invalid("stock", format!("must be at least {taken}: so many are given out or asked for"))
        }
        _ => refusal(reply),
    }
}

/// There is no such reward.
pub fn missing() -> Error {
    Error::refused(Code::RewardNotFound)
}
