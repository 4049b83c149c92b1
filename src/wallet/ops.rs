//! What points do.

use super::event::PointsCharged;
use super::model::{ChargeRequest, Charged, SetAside};
use super::store;
use crate::app::App;
use crate::audit::model::Act;
use crate::error::Error;
use crate::http::identity::Actor;
use crate::ids::{PaymentId, Points, RewardRequestId, TransactionId, UserId};
use crate::journal::{Done, IdempotencyKey, Outcome, Request, Step, refusal};
use crate::metrics;
use crate::redis::{Shard, Space};

/// Users that one script charges.
pub const CHARGE_MANY_MAX: usize = 200;
/// Transfers that clean-up looks at in one go, and how old they are.
const CLEAN_MAX: u32 = 100;
const CLEAN_AFTER_MS: i64 = 60_000;

/// Adds points to a user's balance; asked for by `by`.
pub async fn charge(
    app: &App,
    by: &Actor,
    user: UserId,
    body: &ChargeRequest,
    key: IdempotencyKey,
) -> Result<(Charged, bool), Error> {
    let amount = Points::new(body.amount).ok_or_else(|| Error::invalid("amount", "is out of range"))?;
    let mut request = Request::new(by.me.user, "points.charge", user, body, Some(key));
    if by.me.user != user {
        request = request.audited(Act::new(by, format_args!("users/{user}/points"), Some(body)));
    }
    let transaction = TransactionId::mint();
    let script = |space: &Space| store::charge(space, user, amount, transaction);
    let shard = app.journal.shards.of(user.uuid());
    let done = app.journal.perform(shard, &request, script).await?.done()?;
    if !done.replayed {
        metrics::charged(amount.get());
    }
    charged(&done)
}

fn charged(done: &Done) -> Result<(Charged, bool), Error> {
    let fact: PointsCharged = done.facts.first().map_err(Error::internal)?;
    let charged = Charged {
        transaction_id: fact.transaction,
        user_id: fact.user,
        amount: fact.amount,
        balance: fact.balance,
    };
    Ok((charged, done.replayed))
}

/// Adds a reward's points, or says for ever that the balance cannot hold them; once for a request, whoever
/// asks, whenever.
pub async fn reward(
    app: &App,
    request: RewardRequestId,
    user: UserId,
    amount: Points,
    step: &Step,
) -> Result<Done, Error> {
    let script = |space: &Space| store::reward(space, request, user, amount, TransactionId::mint());
    app.journal.step_again(app.journal.shards.of(user.uuid()), step, script).await?.done()
}

/// Step 1 of a payment: sets its points aside. The caller has the request's turn.
pub async fn reserve(app: &App, request: &Request, aside: &SetAside) -> Result<Done, Error> {
    let shard = app.journal.shards.of(aside.user.uuid());
    app.journal.perform_in_turn(shard, request, |space| store::reserve(space, aside)).await?.done()
}

/// Step 3 of a payment that was refused: gives its points back. Nothing is left to do where they are back.
pub async fn void(app: &App, user: UserId, payment: PaymentId, step: &Step) -> Result<(), Error> {
    let shard = app.journal.shards.of(user.uuid());
    let script = |space: &Space| store::void(space, TransactionId::mint(), payment);
    match app.journal.step(shard, step, script).await? {
        Outcome::Done(_) => Ok(()),
        Outcome::Refused(reply) if reply.word() == "closed" => {
            let voided = app.journal.steps_of(step.op.op).await?.iter().any(|past| past.op == step.op);
            let missing = || Error::outcome_unknown("the points are neither set aside nor back yet");
            if voided { Ok(()) } else { Err(missing()) }
        }
        Outcome::Refused(reply) => Err(refusal(&reply)),
    }
}

/// Adds the same amount to many users of one shard; for load tests.
pub async fn charge_many(app: &App, shard: Shard, users: &[UserId], amount: Points) -> Result<(), Error> {
    for users in users.chunks(CHARGE_MANY_MAX) {
        let charges: Vec<String> =
            users.iter().map(|user| format!("{user}:{amount}:{}", TransactionId::mint())).collect();
        let charges = charges.join(",");
        let step = Step::exempt(uuid::Uuid::now_v7(), 1);
        let script = |space: &Space| store::charge_many(space, charges.clone());
        app.journal.step(shard, &step, script).await?.done()?;
    }
    Ok(())
}

/// Forgets transfers that were posted long ago and whose closing was lost on its way. One step of the keeper.
pub async fn clean(app: &App, shard: Shard) -> Result<(), Error> {
    let pending = |space: &Space| store::Pending {
        ages: store::ages(space),
        older_ms: CLEAN_AFTER_MS,
        limit: CLEAN_MAX,
    };
    let old = app.journal.ask(shard, pending).await?.list(0)?;
    let old: Vec<uuid::Uuid> = old.iter().filter_map(|op| op.parse().ok()).collect();
    if old.is_empty() {
        return Ok(());
    }
    let posted = super::table::posted(&mut *app.pool.acquire().await?, &old).await?;
    super::closing::close(app, shard, &posted).await
}
