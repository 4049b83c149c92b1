//! What operators and visitors do with concerts.

use chrono::NaiveDate;

use super::event::{ConcertCreated, ShowAdded};
use super::model::{Concert, ConcertWithShows, CreateConcert, CreateShow, Dates, Show};
use super::{store, table};
use crate::app::App;
use crate::audit::model::Act;
use crate::clock::from_millis;
use crate::error::{Code, Error};
use crate::http::identity::Actor;
use crate::ids::{ConcertId, Points, ShowId};
use crate::journal::{IdempotencyKey, Request};
use crate::queue;
use crate::queue::event::QueueCreated;
use crate::queue::model::{QueueSettings, rate};
use crate::queue::ticket::Ticket;
use crate::redis::Space;

/// Makes a concert with its queue.
pub async fn create(
    app: &App,
    by: &Actor,
    body: &CreateConcert,
    key: Option<IdempotencyKey>,
) -> Result<(Concert, bool), Error> {
    let request = Request::new(by.me.user, "concerts.create", "concerts", body, key);
    // Minted from the operation, so that a repeat asks the same shard.
    let concert = ConcertId::from(request.op);
    let request = request.audited(Act::new(by, format_args!("concerts/{concert}"), Some(body)));
    let script = |space: &Space| store::create(space, concert, body);
    let shard = app.journal.shards.of(concert.uuid());
    let done = app.journal.perform(shard, &request, script).await?.done()?;
    let made: ConcertCreated = done.facts.first().map_err(Error::internal)?;
    let room: QueueCreated = done.facts.first().map_err(Error::internal)?;
    let view = Concert {
        concert_id: made.concert,
        title: made.title.0,
        queue: QueueSettings {
            admit_per_second: rate(room.rate_tenths),
            max_active: room.max_active,
            active_seconds: room.active_seconds,
            max_waiting: room.max_waiting,
        },
        max_seats_per_user: made.seats_per_user,
        hold_seconds: made.hold_seconds,
        created_at: from_millis(done.at_ms),
    };
    Ok((view, done.replayed))
}

/// Adds a show.
pub async fn add_show(
    app: &App,
    by: &Actor,
    concert: ConcertId,
    body: &CreateShow,
    key: Option<IdempotencyKey>,
) -> Result<(Show, bool), Error> {
    let request = Request::new(by.me.user, "shows.create", concert, body, key);
    let added = Show {
        show_id: ShowId::mint(),
        concert_id: concert,
        date: body.date,
        price: Points::new(body.price).ok_or_else(|| Error::invalid("price", "is out of range"))?,
        seat_count: body.seat_count,
        opens_at: body.opens_at,
        closes_at: body.closes_at,
    };
    let target = format!("concerts/{concert}/shows/{}", added.show_id);
    let request = request.audited(Act::new(by, target, Some(body)));
    let script = |space: &Space| store::add_show(space, &added);
    let shard = app.journal.shards.of(concert.uuid());
    let done = app.journal.perform(shard, &request, script).await?.done()?;
    let fact: ShowAdded = done.facts.first().map_err(Error::internal)?;
    let view = Show {
        show_id: fact.show,
        concert_id: fact.concert,
        date: fact.date,
        price: fact.price,
        seat_count: fact.seats,
        opens_at: fact.opens_ms.map(from_millis),
        closes_at: fact.closes_ms.map(from_millis),
    };
    Ok((view, done.replayed))
}

/// One concert with its shows.
pub async fn get(app: &App, id: ConcertId) -> Result<ConcertWithShows, Error> {
    let concert = table::concert(&app.pool, id).await?;
    let concert = concert.ok_or_else(|| Error::refused(Code::ConcertNotFound))?;
    Ok(ConcertWithShows { concert, shows: table::shows(&app.pool, id).await? })
}

/// The days on which who is in can buy a seat now.
pub async fn dates(app: &App, ticket: &Ticket) -> Result<Dates, Error> {
    let concert = ConcertId::from(ticket.queue);
    let shard = app.journal.shards.of(concert.uuid());
    let reply = app.journal.ask_together(shard, |space| store::free_by_show(space, ticket)).await?;
    if reply.word() != "done" {
        return Err(queue::ops::pass_refusal(app, ticket, &reply).await);
    }
    app.presence.is_in(ticket);
    let (shows, free) = (reply.list(0)?, reply.list(1)?);
    let full: Vec<&str> =
        free.chunks_exact(2).filter(|pair| pair[1] == "0").map(|pair| pair[0].as_str()).collect();
    let (now, today) = (app.clock.now(), app.clock.today(app.config.zone));
    let mut dates: Vec<NaiveDate> = Vec::new();
    for pair in shows.chunks_exact(2).filter(|pair| !full.contains(&pair[0].as_str())) {
        let show = read_show(concert, &pair[0], &pair[1])
            .ok_or_else(|| Error::internal(format_args!("a show is {:?}", pair[1])))?;
        if show.is_on_sale(now, today) {
            dates.push(show.date);
        }
    }
    dates.sort_unstable();
    Ok(Dates { dates })
}

/// `date|price|seats|opens|closes`.
fn read_show(concert: ConcertId, id: &str, record: &str) -> Option<Show> {
    let [date, price, seats, opens, closes] = record.split('|').collect::<Vec<_>>().try_into().ok()?;
    let millis = |text: &str| (!text.is_empty()).then(|| text.parse().ok().map(from_millis)).flatten();
    Some(Show {
        show_id: id.parse().ok()?,
        concert_id: concert,
        date: date.parse().ok()?,
        price: price.parse().ok()?,
        seat_count: seats.parse().ok()?,
        opens_at: millis(opens),
        closes_at: millis(closes),
    })
}
