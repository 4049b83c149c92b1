//! Paying, step by step.

use super::event::{PaymentConfirmed, PaymentRefused};
use super::model::{DECIDE, PayRequest, Payment, PaymentStatus, RESERVE, Transfer, VOID};
use super::{store, table};
use crate::app::App;
use crate::clock::from_millis;
use crate::error::{Code, Error};
use crate::http::identity::Identity;
use crate::ids::{ConcertId, PaymentId, ReservationId, TransactionId, UserId};
use crate::journal::table::recall::Recalled;
use crate::journal::{Done, IdempotencyKey, Request, Step};
use crate::metrics;
use crate::queue;
use crate::queue::ticket::Ticket;
use crate::redis::Space;
use crate::seats;
use crate::seats::model::Hold;
use crate::wallet;
use crate::wallet::model::SetAside;

/// Pays a reservation. True when it was paid by an earlier request with the same key.
pub async fn pay(
    app: &App,
    ticket: &Ticket,
    body: &PayRequest,
    key: IdempotencyKey,
) -> Result<(Payment, bool), Error> {
    let request = Request::new(ticket.user, "payments.create", body.reservation_id, body, Some(key));
    let _turn = app.journal.turn(&request).await?;
    let past = app.journal.recall(&request).await?;
    if let Some(decision) = past.iter().find(|step| step.op.step == DECIDE) {
        let decision = Done::recalled(decision.clone());
        return conclude(app, ticket.user, &decision)
            .await
            .map(|payment| (payment, true))
            .map_err(|e| e.replayed(true));
    }
    let _driving = app.driven.drive(request.op);
    let (transfer, hold) = match past.into_iter().find(|step| step.op.step == RESERVE) {
        // Half-done: it goes on where it stopped, whatever became of the pass.
        Some(reserved) => (resume(request.op, reserved)?, None),
        None => {
            let hold = match seats::ops::payable(app, ticket, body.reservation_id).await? {
                Some(hold) => hold,
                None => payable_or_refused(app, ticket, body.reservation_id).await?,
            };
            (reserve(app, &request, &hold).await?, Some(hold))
        }
    };
    // From here on points are set aside: whatever fails, the outcome is not known yet.
    let unknown = |error: Error| match error {
        Error::Unavailable(_, why) => Error::outcome_unknown(why),
        other => other,
    };
    let decision = decide(app, &transfer, hold).await.map_err(unknown)?;
    let payment = conclude(app, ticket.user, &decision).await.map_err(unknown)?;
    Ok((payment, false))
}

fn resume(op: uuid::Uuid, reserved: Recalled) -> Result<Transfer, Error> {
    Transfer::of(op, &Done::recalled(reserved))
}

/// Refuses what is hopeless before any point is moved: who pays for what he does not hold, or is not in, is
/// told what stands in the way by what Postgres remembers.
async fn payable_or_refused(app: &App, ticket: &Ticket, id: ReservationId) -> Result<Hold, Error> {
    let found = seats::table::reservation(&app.pool, id).await?;
    let found = found.filter(|found| found.user_id == ticket.user);
    if found.as_ref().is_some_and(|found| found.concert_id != ConcertId::from(ticket.queue)) {
        return Err(Error::refused(Code::QueueTokenInvalid));
    }
    queue::ops::check_pass(app, ticket).await?;
    let found = found.ok_or_else(|| Error::refused(Code::ReservationNotFound))?;
    seats::ops::open_or_refused(&found)?;
    if found.expires_at <= app.clock.now() {
        return Err(Error::refused(Code::HoldExpired));
    }
    Ok(Hold::from(&found))
}

/// Step 1: the points are set aside.
async fn reserve(app: &App, request: &Request, hold: &Hold) -> Result<Transfer, Error> {
    let aside = SetAside {
        user: hold.user_id,
        amount: hold.amount,
        transaction: TransactionId::mint(),
        payment: PaymentId::mint(),
        reservation: hold.reservation_id,
        concert: hold.concert_id,
    };
    let done = wallet::ops::reserve(app, request, &aside).await?;
    Transfer::of(request.op, &done)
}

/// Step 2: the seats' shard decides, once. A payment that goes on where it stopped does not know its hold;
/// one that a loss of Redis took before it was durable cannot be sold.
async fn decide(app: &App, transfer: &Transfer, hold: Option<Hold>) -> Result<Done, Error> {
    let points = &transfer.points;
    let hold = match hold {
        Some(hold) => Some(hold),
        None => seats::table::reservation(&app.pool, points.reservation).await?.as_ref().map(Hold::from),
    };
    let Some(hold) = hold else { return abort(app, transfer).await };
    let script = |space: &Space| store::decide(space, transfer, &hold);
    let step = Step::exempt(transfer.op, DECIDE);
    app.journal.step(app.journal.shards.of(points.concert.uuid()), &step, script).await?.done()
}

/// Step 2 where nobody drives the payment: no, unless something was decided.
pub async fn abort(app: &App, transfer: &Transfer) -> Result<Done, Error> {
    let step = Step::exempt(transfer.op, DECIDE);
    let shard = app.journal.shards.of(transfer.points.concert.uuid());
    app.journal.step(shard, &step, |space| store::abort(space, transfer)).await?.done()
}

/// What follows from a durable decision: yes is told; after a no the points go back, durably, and then it is
/// told.
pub async fn conclude(app: &App, user: UserId, decision: &Done) -> Result<Payment, Error> {
    if let Some(fact) = decision.facts.find::<PaymentConfirmed>().map_err(Error::internal)? {
        if !decision.replayed {
            metrics::sold();
        }
        app.closing.later(app.journal.shards.of(user.uuid()), fact.transfer);
        return Ok(Payment {
            payment_id: fact.payment,
            reservation_id: fact.reservation,
            amount: fact.amount,
            balance: fact.balance,
            status: PaymentStatus::Paid,
            paid_at: from_millis(decision.at_ms),
            user_id: fact.user,
        });
    }
    let fact: PaymentRefused = decision.facts.first().map_err(Error::internal)?;
    wallet::ops::void(app, user, fact.payment, &Step::exempt(fact.transfer, VOID)).await?;
    let code = Code::from_word(&fact.code.0)
        .ok_or_else(|| Error::internal(format_args!("a payment was refused as {:?}", fact.code)))?;
    metrics::payment_refused(code.word());
    Err(Error::refused(code))
}

/// A payment that this user may see.
pub async fn visible(app: &App, me: Identity, id: PaymentId) -> Result<Payment, Error> {
    let found = table::payment(&app.pool, id).await?;
    let may = |payment: &Payment| me.sees(payment.user_id);
    found.filter(may).ok_or_else(|| Error::refused(Code::PaymentNotFound))
}
