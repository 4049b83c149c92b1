//! What people do with seats.

use chrono::NaiveDate;

use super::event::{HoldCancelled, SeatsHeld};
use super::model::{Hold, Reservation, ReservationStatus, ReserveRequest, Seats};
use super::{store, table};
use crate::accounts::model::Role;
use crate::app::App;
use crate::audit::model::Act;
use crate::clock::from_millis;
use crate::error::{Code, Error};
use crate::http::identity::{Actor, Identity};
use crate::ids::{ConcertId, ReservationId};
use crate::journal::{IdempotencyKey, Outcome, Request, refusal};
use crate::metrics;
use crate::queue;
use crate::queue::ticket::Ticket;
use crate::redis::Space;

/// The free seats of a day, for who is in.
pub async fn read(app: &App, ticket: &Ticket, date: NaiveDate) -> Result<Seats, Error> {
    let concert = ConcertId::from(ticket.queue);
    let show = match app.catalog.show(&app.pool, concert, date).await {
        Ok(show) => show,
        // Who is not in learns that first.
        Err(error) => {
            queue::ops::check_pass(app, ticket).await?;
            return Err(error);
        }
    };
    let shard = app.journal.shards.of(concert.uuid());
    let reply = app.journal.ask_together(shard, |space| store::read(space, ticket, &show)).await?;
    if reply.word() != "done" {
        return Err(queue::ops::pass_refusal(app, ticket, &reply).await);
    }
    app.presence.is_in(ticket);
    let taken = reply.bytes(0)?;
    Ok(Seats {
        date,
        show_id: show.show_id,
        price: show.price,
        total_seats: show.seat_count,
        available_seats: (1..=show.seat_count as u32).filter(|seat| !is_set(&taken, *seat)).collect(),
    })
}

/// Bit `at` of a Redis bitmap, whose first bit is the highest of the first byte.
fn is_set(bits: &[u8], at: u32) -> bool {
    bits.get(at as usize / 8).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0)
}

/// Holds seats for who is in.
pub async fn reserve(
    app: &App,
    ticket: &Ticket,
    body: &ReserveRequest,
    key: IdempotencyKey,
) -> Result<(Reservation, bool), Error> {
    let concert = body.concert_id;
    let seats = body.seats()?;
    let request = Request::new(ticket.user, "reservations.create", concert, body, Some(key));
    let show = match app.catalog.show(&app.pool, concert, body.date).await {
        Ok(show) => show,
        Err(error) => {
            // A key that was used for something else, and who is not in, are told first.
            app.journal.recall(&request).await?;
            queue::ops::check_pass(app, ticket).await?;
            return Err(error);
        }
    };
    let today = app.clock.today(app.config.zone);
    let wanted = store::Wanted { show, today, reservation: ReservationId::mint(), seats };
    let script = |space: &Space| store::hold(space, ticket, &wanted);
    let done = match app.journal.perform(app.journal.shards.of(concert.uuid()), &request, script).await? {
        Outcome::Done(done) => done,
        Outcome::Refused(reply) => return Err(queue::ops::pass_refusal(app, ticket, &reply).await),
    };
    if !done.replayed {
        metrics::held();
    }
    Ok((held(&done.facts.first().map_err(Error::internal)?), done.replayed))
}

fn held(fact: &SeatsHeld) -> Reservation {
    Reservation {
        reservation_id: fact.reservation,
        status: ReservationStatus::Reserved,
        concert_id: fact.concert,
        show_id: fact.show,
        date: fact.date,
        seat_numbers: fact.seats.clone(),
        amount: fact.amount,
        expires_at: from_millis(fact.deadline_ms),
        user_id: fact.user,
    }
}

/// What the ticket's user may pay for under this id, if he is in and it is his; `None` where anything is in
/// the way, which is for Postgres to say.
pub async fn payable(app: &App, ticket: &Ticket, id: ReservationId) -> Result<Option<Hold>, Error> {
    let (concert, now) = (ConcertId::from(ticket.queue), app.clock.now_ms());
    if ticket.is_expired(now) {
        return Ok(None);
    }
    let shard = app.journal.shards.of(concert.uuid());
    let reply = app.journal.ask_together(shard, |space| store::held(space, ticket, id)).await?;
    if reply.word() != "done" {
        return Ok(None);
    }
    app.presence.is_in(ticket);
    let payable = |hold: &Hold| hold.user_id == ticket.user && hold.deadline_ms > now;
    Ok(store::read_hold(concert, id, &reply.text(0)?).filter(payable))
}

/// A reservation that this user may see.
pub async fn visible(app: &App, me: Identity, id: ReservationId) -> Result<Reservation, Error> {
    let found = table::reservation(&app.pool, id).await?;
    let may = |reservation: &Reservation| me.sees(reservation.user_id);
    found.filter(may).ok_or_else(|| Error::refused(Code::ReservationNotFound))
}

/// Gives a hold up. True when an earlier request with the same key did.
pub async fn cancel(
    app: &App,
    by: &Actor,
    id: ReservationId,
    key: Option<IdempotencyKey>,
) -> Result<bool, Error> {
    let me = by.me;
    let mut request = Request::new(me.user, "reservations.cancel", id, &(), key);
    if !app.journal.recall(&request).await?.is_empty() {
        return Ok(true);
    }
    let found = table::reservation(&app.pool, id).await?;
    let found = found.filter(|found| found.user_id == me.user || me.role == Role::Admin);
    let found = found.ok_or_else(|| Error::refused(Code::ReservationNotFound))?;
    open_or_refused(&found)?;
    if found.user_id != me.user {
        request = request.audited(Act::new(by, format_args!("reservations/{id}"), None::<&()>));
    }
    let (shard, hold) = (app.journal.shards.of(found.concert_id.uuid()), Hold::from(&found));
    match app.journal.perform(shard, &request, |space| store::cancel(space, &hold)).await? {
        Outcome::Done(done) => {
            let _: HoldCancelled = done.facts.first().map_err(Error::internal)?;
            Ok(done.replayed)
        }
        Outcome::Refused(reply) => Err(refusal(&reply)),
    }
}

/// Refuses what has already ended.
pub fn open_or_refused(reservation: &Reservation) -> Result<(), Error> {
    match reservation.status {
        ReservationStatus::Reserved => Ok(()),
        ReservationStatus::Expired => Err(Error::refused(Code::HoldExpired)),
        ReservationStatus::Confirmed | ReservationStatus::Cancelled => {
            Err(Error::refused(Code::ReservationClosed))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_count_from_the_highest_of_each_byte() {
        // SETBIT 1 and SETBIT 9.
        let bits = [0b0100_0000, 0b0100_0000];
        let set: Vec<u32> = (0..20).filter(|at| is_set(&bits, *at)).collect();
        assert_eq!(set, [1, 9]);
    }
}
