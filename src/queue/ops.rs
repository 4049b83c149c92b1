//! What people and operators do with a queue.

use super::event::QueueChanged;
use super::model::{
    ChangeQueue, CreateQueue, PlaceStatus, PlaceView, Queue, QueueState, estimated_wait_seconds, poll_after_ms,
    rate, tenths,
};
use super::store;
use super::ticket::Ticket;
use crate::app::App;
use crate::clock::from_millis;
use crate::error::{Code, Error};
use crate::ids::{QueueId, UserId};
use crate::journal::facts::Text;
use crate::journal::{IdempotencyKey, Request, refusal};
use crate::metrics;
use crate::redis::{Reply, Shard, Space};

/// How a poll of someone who is in comes again: only to show that he is there.
const POLL_ACTIVE_MS: i64 = 5_000;

/// The shard that decides for a queue.
pub fn shard(app: &App, queue: QueueId) -> Shard {
    app.journal.shards.of(queue.uuid())
}

/// Takes a place, or finds it. True when it is new.
pub async fn join(app: &App, queue: QueueId, user: UserId) -> Result<(PlaceView, bool), Error> {
    let gate = app.config.join_busy_after.as_millis();
    let script = |space: &Space| store::Join {
        room: store::room(space, queue),
        waiting: store::waiting(space, queue),
        seen: store::seen(space, queue),
        passes: store::passes(space, queue),
        active: store::active(space, queue),
        buffer: store::buffer(space, queue),
        busy: store::busy(space),
        queue,
        user,
        gate,
    };
    let reply = app.journal.ask(shard(app, queue), script).await?;
    let new = reply.word() == "joined";
    let status = match reply.word() {
        "joined" | "found" => PlaceStatus::Waiting,
        "active" => PlaceStatus::Active,
        _ => return Err(refusal(&reply)),
    };
    if new {
        metrics::joined();
    }
    let number = reply.int(0)?;
    let mut view = place(queue, number, status, reply.int(1)?, &reply, 2)?;
    view.token = Some(sign(app, queue, user, number));
    Ok((view, new))
}

fn sign(app: &App, queue: QueueId, user: UserId, number: i64) -> String {
    let epoch = app.journal.shards.known(shard(app, queue)).0.epoch;
    app.tickets.sign(&Ticket { user, queue, number, epoch, issued_ms: app.clock.now_ms() })
}

/// A place for people. `detail` is the position while waiting, the end of the pass in milliseconds when in; pace
/// and rate stand in the reply from `pace_at`.
fn place(
    queue: QueueId,
    number: i64,
    status: PlaceStatus,
    detail: i64,
    reply: &Reply,
    pace_at: usize,
) -> Result<PlaceView, Error> {
    let active = status == PlaceStatus::Active;
    let position = if active { 0 } else { detail.max(1) };
    let pace: f64 = reply.parse(pace_at)?;
    Ok(PlaceView {
        token: None,
        queue_id: queue,
        number,
        status,
        position,
        ahead: (position - 1).max(0),
        estimated_wait_seconds: estimated_wait_seconds(position, pace, reply.int(pace_at + 1)?),
        poll_after_ms: if active { POLL_ACTIVE_MS } else { poll_after_ms(position, fastrand::f64()) },
        expires_at: active.then(|| from_millis(detail)),
    })
}

/// How a ticket stands; puts a place back that was lost with Redis.
pub async fn poll(app: &App, ticket: &Ticket) -> Result<PlaceView, Error> {
    let (queue, user, number) = (ticket.queue, ticket.user, ticket.number);
    if ticket.is_expired(app.clock.now_ms()) {
        return Err(Error::refused(Code::QueueTicketGone));
    }
    let script = |space: &Space| store::Poll {
        room: store::room(space, queue),
        waiting: store::waiting(space, queue),
        passes: store::passes(space, queue),
        active: store::active(space, queue),
        ended: store::ended(space, queue),
        user,
        number,
    };
    let mut reply = app.journal.ask(shard(app, queue), script).await?;
    let lost = reply.word() == "lost";
    if lost {
        reply = restore(app, ticket).await?;
    }
    let status = match reply.word() {
        "active" => PlaceStatus::Active,
        "queue_not_admitted" => PlaceStatus::Waiting,
        _ => return Err(refusal(&reply)),
    };
    app.presence.mark(queue, user);
    let mut view = place(queue, number, status, reply.int(0)?, &reply, 1)?;
    view.token = lost.then(|| sign(app, queue, user, number));
    Ok(view)
}

async fn restore(app: &App, ticket: &Ticket) -> Result<Reply, Error> {
    let (queue, user, number) = (ticket.queue, ticket.user, ticket.number);
    let script = |space: &Space| store::Restore {
        room: store::room(space, queue),
        waiting: store::waiting(space, queue),
        seen: store::seen(space, queue),
        passes: store::passes(space, queue),
        active: store::active(space, queue),
        ended: store::ended(space, queue),
        buffer: store::buffer(space, queue),
        busy: store::busy(space),
        queue,
        user,
        number,
    };
    app.journal.ask(shard(app, queue), script).await
}

/// Gives a place or a pass up.
pub async fn leave(app: &App, ticket: &Ticket) -> Result<(), Error> {
    let (queue, user, number) = (ticket.queue, ticket.user, ticket.number);
    if ticket.is_expired(app.clock.now_ms()) {
        return Err(Error::refused(Code::QueueTicketGone));
    }
    let script = |space: &Space| store::Leave {
        room: store::room(space, queue),
        waiting: store::waiting(space, queue),
        seen: store::seen(space, queue),
        passes: store::passes(space, queue),
        active: store::active(space, queue),
        fresh: store::fresh(space, queue),
        ended: store::ended(space, queue),
        buffer: store::buffer(space, queue),
        busy: store::busy(space),
        queue,
        user,
        number,
    };
    let reply = app.journal.ask(shard(app, queue), script).await?;
    if reply.word() == "done" { Ok(()) } else { Err(refusal(&reply)) }
}

/// Refuses a ticket that is not in, for what stands behind the queue: 429 with where it stands, or 410.
pub async fn check_pass(app: &App, ticket: &Ticket) -> Result<(), Error> {
    let view = poll(app, ticket).await?;
    match view.status {
        PlaceStatus::Active => Ok(()),
        PlaceStatus::Waiting => Err(not_admitted(&view)),
    }
}

/// `queue_not_admitted`, with where the ticket stands.
fn not_admitted(view: &PlaceView) -> Error {
    let Error::Refused(mut refusal) = Error::refused(Code::QueueNotAdmitted) else {
        return Error::refused(Code::QueueNotAdmitted);
    };
    refusal.members.insert("position".into(), view.position.into());
    refusal.members.insert("pollAfterMs".into(), view.poll_after_ms.into());
    Error::Refused(refusal)
}

/// A refusal of a script that looks at the pass before anything else. A lost place is put back on the way.
pub async fn pass_refusal(app: &App, ticket: &Ticket, reply: &Reply) -> Error {
    match reply.word() {
        "queue_not_admitted" | "lost" => match check_pass(app, ticket).await {
            // Let in between the two looks.
            Ok(()) => Error::unavailable("the pass came a moment ago"),
            Err(error) => error,
        },
        _ => refusal(reply),
    }
}

/// Makes a queue that stands alone.
pub async fn create(
    app: &App,
    by: UserId,
    body: &CreateQueue,
    key: Option<IdempotencyKey>,
) -> Result<(Queue, bool), Error> {
    let request = Request::new(by, "queues.create", "queues", body, key);
    // Minted from the operation, so that a repeat asks the same shard.
    let queue = QueueId::from(request.op);
    let settings = &body.settings;
    let script = |space: &Space| store::Create {
        room: store::room(space, queue),
        queue,
        name: Text(body.name.clone()),
        rate: tenths(settings.admit_per_second),
        max_active: settings.max_active,
        active_seconds: settings.active_seconds,
        max_waiting: settings.max_waiting.map_or_else(String::new, |most| most.to_string()),
    };
    let done = app.journal.perform(shard(app, queue), &request, script).await?.done()?;
    let made: super::event::QueueCreated = done.facts.first().map_err(Error::internal)?;
    let view = Queue {
        queue_id: made.queue,
        state: QueueState::Open,
        waiting: 0,
        active: 0,
        max_active: made.max_active,
        admit_per_second: rate(made.rate_tenths),
    };
    Ok((view, done.replayed))
}

/// Changes a queue's settings.
pub async fn change(
    app: &App,
    by: UserId,
    queue: QueueId,
    body: &ChangeQueue,
    key: Option<IdempotencyKey>,
) -> Result<(Queue, bool), Error> {
    let request = Request::new(by, "queues.change", queue, body, key);
    let text = |value: Option<i64>| value.map_or_else(String::new, |value| value.to_string());
    let script = |space: &Space| store::Change {
        room: store::room(space, queue),
        busy: store::busy(space),
        queue,
        state: body.state.map_or("", QueueState::word).to_owned(),
        rate: text(body.admit_per_second.map(tenths)),
        max_active: text(body.max_active),
        active_seconds: text(body.active_seconds),
        max_waiting: match body.max_waiting {
            None => String::new(),
            Some(None) => "none".into(),
            Some(most) => text(most),
        },
    };
    let done = app.journal.perform(shard(app, queue), &request, script).await?.done()?;
    let changed: QueueChanged = done.facts.first().map_err(Error::internal)?;
    let view = stats(app, queue).await?;
    let state = QueueState::from_word(&changed.state.0)
        .ok_or_else(|| Error::internal(format_args!("a queue is {:?}", changed.state)))?;
    let view = Queue {
        state,
        max_active: changed.max_active,
        admit_per_second: rate(changed.rate_tenths),
        ..view
    };
    Ok((view, done.replayed))
}

/// A queue in numbers.
pub async fn stats(app: &App, queue: QueueId) -> Result<Queue, Error> {
    let script = |space: &Space| store::Stats {
        room: store::room(space, queue),
        waiting: store::waiting(space, queue),
        active: store::active(space, queue),
    };
    let reply = app.journal.ask(shard(app, queue), script).await?;
    if reply.word() != "done" {
        return Err(refusal(&reply));
    }
    let state = reply.text(0)?;
    Ok(Queue {
        queue_id: queue,
        state: QueueState::from_word(&state)
            .ok_or_else(|| Error::internal(format_args!("a queue is {state:?}")))?,
        admit_per_second: rate(reply.int(1)?),
        max_active: reply.int(2)?,
        waiting: reply.int(3)?,
        active: reply.int(4)?,
    })
}
