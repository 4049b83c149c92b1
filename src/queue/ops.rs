//! What people and operators do with a queue.

use super::event::QueueChanged;
use super::model::{
    ChangeQueue, CreateQueue, PlaceStatus, PlaceView, Queue, QueueState, estimated_wait_seconds,
    poll_after_ms, rate,
};
use super::ticket::Ticket;
use super::{line, store};
use crate::app::{App, AppState};
use crate::audit::model::Act;
use crate::clock::from_millis;
use crate::error::{Code, Error};
use crate::http::identity::Actor;
use crate::ids::{QueueId, UserId};
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
    let answer = app.door.join(shard(app, queue), queue, user).await?;
    let (reply, pace) = (answer.reply, Pace { measured: answer.pace, set_tenths: answer.rate_tenths });
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
    if reply.word() == "found" {
        app.lines.told(queue);
        app.presence.waits(queue, number);
    }
    let mut view = place(queue, number, status, reply.int(1)?, pace);
    view.token = Some(sign(app, queue, user, number));
    Ok((view, new))
}

fn sign(app: &App, queue: QueueId, user: UserId, number: i64) -> String {
    let epoch = app.journal.shards.known(shard(app, queue)).0.epoch;
    app.tickets.sign(&Ticket { user, queue, number, epoch, issued_ms: app.clock.now_ms() })
}

/// Admissions a second, as measured, and as set, in tenths.
#[derive(Clone, Copy)]
struct Pace {
    measured: f64,
    set_tenths: i64,
}

impl Pace {
    /// They stand in the reply from `at`.
    fn read(reply: &Reply, at: usize) -> Result<Self, Error> {
        Ok(Self { measured: reply.parse(at)?, set_tenths: reply.int(at + 1)? })
    }
}

/// A place for people. `detail` is the position while waiting, the end of the pass in milliseconds when in.
fn place(queue: QueueId, number: i64, status: PlaceStatus, detail: i64, pace: Pace) -> PlaceView {
    let active = status == PlaceStatus::Active;
    let position = if active { 0 } else { detail.max(1) };
    let wait = estimated_wait_seconds(position, pace.measured, pace.set_tenths);
    let next = if active { POLL_ACTIVE_MS } else { poll_after_ms(position, wait, fastrand::f64()) };
    PlaceView {
        token: None,
        queue_id: queue,
        number,
        status,
        position,
        ahead: (position - 1).max(0),
        estimated_wait_seconds: wait,
        poll_after_ms: next,
        expires_at: active.then(|| from_millis(detail)),
    }
}

/// Refuses a ticket whose day is over.
fn check_day(app: &App, ticket: &Ticket) -> Result<(), Error> {
    if ticket.is_expired(app.clock.now_ms()) {
        return Err(Error::refused(Code::QueueTicketGone));
    }
    Ok(())
}

/// How a ticket stands, a moment ago at most: from the snapshot of the line, or else from Redis.
pub async fn poll(app: &AppState, ticket: &Ticket) -> Result<PlaceView, Error> {
    check_day(app, ticket)?;
    // Boxed: hardly anybody comes here, and each poll would carry it along.
    let Some(found) = line::look(app, ticket).await else { return Box::pin(stand(app, ticket, false)).await };
    app.presence.waits(ticket.queue, ticket.number);
    let pace = Pace { measured: found.pace, set_tenths: found.rate_tenths };
    Ok(place(ticket.queue, ticket.number, PlaceStatus::Waiting, found.position, pace))
}

/// How a ticket stands in Redis; puts a place back that was lost with it.
async fn stand(app: &App, ticket: &Ticket, checks_pass: bool) -> Result<PlaceView, Error> {
    let (queue, user, number) = (ticket.queue, ticket.user, ticket.number);
    metrics::polled("redis", 1);
    let mut reply = app.journal.ask_together(shard(app, queue), |space| store::poll(space, ticket)).await?;
    let lost = reply.word() == "lost";
    if lost {
        reply = restore(app, ticket).await?;
    }
    let status = match reply.word() {
        "active" => PlaceStatus::Active,
        "queue_not_admitted" => PlaceStatus::Waiting,
        _ => return Err(refusal(&reply)),
    };
    // Who has just joined is in the next snapshot. For others who wait the last one may be older than what
    // they are told now.
    let is_old = app.journal.shards.known(shard(app, queue)).0.epoch != ticket.epoch;
    if status == PlaceStatus::Waiting && (is_old || checks_pass) {
        app.lines.told(queue);
    }
    match status {
        PlaceStatus::Waiting => app.presence.waits(queue, number),
        PlaceStatus::Active => app.presence.is_in(ticket),
    }
    let mut view = place(queue, number, status, reply.int(0)?, Pace::read(&reply, 1)?);
    // A ticket of the epoch of now can be answered from a snapshot.
    view.token = (lost || is_old).then(|| sign(app, queue, user, number));
    Ok(view)
}

async fn restore(app: &App, ticket: &Ticket) -> Result<Reply, Error> {
    app.journal.ask(shard(app, ticket.queue), |space| store::restore(space, ticket)).await
}

/// Gives a place or a pass up.
pub async fn leave(app: &App, ticket: &Ticket) -> Result<(), Error> {
    check_day(app, ticket)?;
    let reply = app.journal.ask(shard(app, ticket.queue), |space| store::leave(space, ticket)).await?;
    if reply.word() != "done" {
        return Err(refusal(&reply));
    }
    app.lines.told(ticket.queue);
    Ok(())
}

/// Refuses a ticket that is not in, for what stands behind the queue: 429 with where it stands, or 410.
pub async fn check_pass(app: &App, ticket: &Ticket) -> Result<(), Error> {
    check_day(app, ticket)?;
    let view = stand(app, ticket, true).await?;
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
    by: &Actor,
    body: &CreateQueue,
    key: Option<IdempotencyKey>,
) -> Result<(Queue, bool), Error> {
    let request = Request::new(by.me.user, "queues.create", "queues", body, key);
    // Minted from the operation, so that a repeat asks the same shard.
    let queue = QueueId::from(request.op);
    let request = request.audited(Act::new(by, format_args!("queues/{queue}"), Some(body)));
    let settings = body.settings();
    let script = |space: &Space| store::create(space, queue, &body.name, &settings);
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
    by: &Actor,
    queue: QueueId,
    body: &ChangeQueue,
    key: Option<IdempotencyKey>,
) -> Result<(Queue, bool), Error> {
    let request = Request::new(by.me.user, "queues.change", queue, body, key);
    let request = request.audited(Act::new(by, format_args!("queues/{queue}"), Some(body)));
    let script = |space: &Space| store::change(space, queue, body);
    let done = app.journal.perform(shard(app, queue), &request, script).await?.done()?;
    app.lines.told(queue);
    let changed: QueueChanged = done.facts.first().map_err(Error::internal)?;
    let view = stats(app, queue).await?;
    let state = QueueState::stored(&changed.state.0)?;
    let view =
        Queue { state, max_active: changed.max_active, admit_per_second: rate(changed.rate_tenths), ..view };
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
    Ok(Queue {
        queue_id: queue,
        state: QueueState::stored(&reply.text(0)?)?,
        admit_per_second: rate(reply.int(1)?),
        max_active: reply.int(2)?,
        waiting: reply.int(3)?,
        active: reply.int(4)?,
    })
}
