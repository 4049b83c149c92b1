//! Asking for a reward, and what becomes of it, step by step.

use chrono::{DateTime, Utc};

use super::event::{GrantRefused, RewardRejected, RewardRequested};
use super::model::{AskReward, Grant, RejectRequest, RequestStatus, RewardRequest, What};
use super::store::{self, From};
use super::table;
use crate::app::App;
use crate::audit::model::Act;
use crate::clock::from_millis;
use crate::error::{Code, Error};
use crate::events;
use crate::http::identity::{Actor, Identity};
use crate::ids::{RewardRequestId, UserId};
use crate::journal::{Done, IdempotencyKey, Outcome, Request, Step, refusal};
use crate::metrics;
use crate::redis::Space;
use crate::{coupons, wallet};

/// The step that grants; its operation is the request's id.
const GRANT: u8 = 2;
/// The step that ends the request.
const SETTLE: u8 = 3;
/// Times that a request is made again because another day, or another reading of the clock, has begun.
const TRIES: usize = 3;

/// Asks for a reward. True when an earlier request with the same key did.
pub async fn ask(
    app: &App,
    me: Identity,
    body: &AskReward,
    key: IdempotencyKey,
) -> Result<(RewardRequest, bool), Error> {
    let request = Request::new(me.user, "rewards.request", body.reward_id, body, Some(key));
    let _turn = app.journal.turn(&request).await?;
    let asked = match app.journal.recall(&request).await?.into_iter().next() {
        Some(step) => Done::recalled(step),
        None => reserve(app, me.user, &request, body).await?,
    };
    let fact: RewardRequested = asked.facts.first().map_err(Error::internal)?;
    if !asked.replayed {
        metrics::reward("requested");
    }
    let mut made = RewardRequest {
        request_id: fact.request,
        event_id: fact.event,
        event_version: fact.event_version,
        reward_id: fact.reward,
        user_id: fact.user,
        period: table::day(&fact.period.0)?,
        status: RequestStatus::Pending,
        reason: None,
        evidence: serde_json::from_str(&fact.evidence.0).map_err(Error::internal)?,
        created_at: from_millis(asked.at_ms),
        decided_at: None,
    };
    if fact.auto == 1 {
        let what = What::of(&fact.kind.0, fact.amount, fact.campaign)?;
        let (request, reward, user) = (fact.request, fact.reward, fact.user);
        let grant = Grant { request, reward, user, period: made.period, what };
        let ended = drive(app, &grant).await.map_err(not_known)?;
        made.status = if ended.reason.is_none() { RequestStatus::Granted } else { RequestStatus::Rejected };
        (made.reason, made.decided_at) = (ended.reason, ended.at);
    }
    Ok((made, asked.replayed))
}

/// Something is written already: whatever fails now, the outcome is not known yet.
fn not_known(error: Error) -> Error {
    match error {
        Error::Unavailable(_, why) => Error::outcome_unknown(why),
        Error::Refused(refusal) if refusal.code == Code::IdempotencyInProgress => {
            Error::outcome_unknown("another driver's step is not durable yet")
        }
        other => other,
    }
}

/// Step 1: one of the stock.
async fn reserve(app: &App, user: UserId, request: &Request, body: &AskReward) -> Result<Done, Error> {
    let shard = app.journal.shards.of(body.reward_id.uuid());
    let (what, mut now) = ((body.event_id, body.reward_id), app.clock.now());
    for _ in 0..TRIES {
        let (chance, refused) = events::ops::chance(app, user, what, now).await?;
        let word = refused.as_ref().map_or("", |refused| refused.code().word());
        let (id, names) = (RewardRequestId::mint(), (body.event_id, body.reward_id, user));
        let script = |space: &Space| store::ask(space, id, names, &chance, word);
        let reply = match app.journal.perform_in_turn(shard, request, script).await? {
            Outcome::Done(done) => return Ok(done),
            Outcome::Refused(reply) => reply,
        };
        match (reply.word(), refused) {
            // Midnight, or the event's end, came between; Redis' clock is the one that counts.
            ("elsewhen", _) => now = from_millis(reply.parse(0)?),
            (word, Some(refused)) if word == refused.code().word() => return Err(refused),
            _ => return Err(refusal(&reply)),
        }
    }
    Err(Error::unavailable("the clocks of this instance and of redis differ"))
}

/// How a request ended: rejected, where there is a reason.
pub struct Ended {
    reason: Option<String>,
    at: Option<DateTime<Utc>>,
}

/// Steps 2 and 3, driven here.
async fn drive(app: &App, grant: &Grant) -> Result<Ended, Error> {
    let _driving = app.driven.drive(grant.request.uuid());
    finish(app, grant).await
}

/// Grants, and ends the request. Others may have done either, at any time before.
pub async fn finish(app: &App, grant: &Grant) -> Result<Ended, Error> {
    let refused = match table::request::said(&app.pool, grant.request).await? {
        Some(said) => said,
        None => give(app, grant).await?,
    };
    let step = Step::exempt(grant.request.uuid(), SETTLE);
    let script = |space: &Space| store::settle(space, grant, From::Granting, refused.as_deref());
    let shard = app.journal.shards.of(grant.reward.uuid());
    match app.journal.step_again(shard, &step, script).await? {
        Outcome::Done(done) => {
            if !done.replayed {
                metrics::reward(if refused.is_none() { "granted" } else { "rejected" });
            }
            let rejected = done.facts.find::<RewardRejected>().map_err(Error::internal)?;
            let reason = rejected.map(|fact| fact.reason.0);
            Ok(Ended { reason, at: Some(from_millis(done.at_ms)) })
        }
        // It ended before anybody here remembers.
        Outcome::Refused(reply) if reply.word() == Code::RewardRequestClosed.word() => {
            let found = ended(app, grant.request).await?;
            match found.status {
                RequestStatus::Pending => Err(Error::outcome_unknown("its end is not durable yet")),
                _ => Ok(Ended { reason: found.reason, at: found.decided_at }),
            }
        }
        Outcome::Refused(reply) => Err(refusal(&reply)),
    }
}

/// Step 2: what the shard that grants says, once; the reason, where it says no.
async fn give(app: &App, grant: &Grant) -> Result<Option<String>, Error> {
    let (id, step) = (grant.request, Step::exempt(grant.request.uuid(), GRANT));
    let done = match grant.what {
        What::Item => return Ok(None),
        What::Points(amount) => wallet::ops::reward(app, id, grant.user, amount, &step).await?,
        What::Coupon(campaign) => coupons::ops::grant(app, id, grant.user, campaign, &step).await?,
    };
    let refused = done.facts.find::<GrantRefused>().map_err(Error::internal)?;
    Ok(refused.map(|fact| fact.reason.0))
}

/// An operator's leave: it is granted, or rejected because it cannot be. True when an earlier request with
/// the same key gave it.
pub async fn approve(
    app: &App,
    by: &Actor,
    id: RewardRequestId,
    key: Option<IdempotencyKey>,
) -> Result<(RewardRequest, bool), Error> {
    let grant = known(app, id).await?;
    let request = Request::new(by.me.user, "reward-requests.approve", id, &(), key);
    let _turn = app.journal.turn(&request).await?;
    let request = request.audited(Act::new::<()>(by, format_args!("reward-requests/{id}"), None));
    let script = |space: &Space| store::approve(space, &grant);
    let shard = app.journal.shards.of(grant.reward.uuid());
    let approved = app.journal.perform_in_turn(shard, &request, script).await?.done()?;
    drive(app, &grant).await.map_err(not_known)?;
    Ok((ended(app, id).await?, approved.replayed))
}

/// An operator's refusal. True when an earlier request with the same key was it.
pub async fn reject(
    app: &App,
    by: &Actor,
    id: RewardRequestId,
    body: &RejectRequest,
    key: Option<IdempotencyKey>,
) -> Result<(RewardRequest, bool), Error> {
    let grant = known(app, id).await?;
    let request = Request::new(by.me.user, "reward-requests.reject", id, body, key);
    let request = request.audited(Act::new(by, format_args!("reward-requests/{id}"), Some(body)));
    let script = |space: &Space| store::settle(space, &grant, From::Pending, Some(body.reason.as_str()));
    let shard = app.journal.shards.of(grant.reward.uuid());
    let done = app.journal.perform(shard, &request, script).await?.done()?;
    if !done.replayed {
        metrics::reward("rejected");
    }
    Ok((ended(app, id).await?, done.replayed))
}

async fn known(app: &App, id: RewardRequestId) -> Result<Grant, Error> {
    let found = table::request::grant(&app.pool, id).await?;
    found.ok_or_else(|| Error::refused(Code::RewardRequestNotFound))
}

async fn ended(app: &App, id: RewardRequestId) -> Result<RewardRequest, Error> {
    let found = table::request::request(&app.pool, id).await?;
    found.ok_or_else(|| Error::refused(Code::RewardRequestNotFound))
}
