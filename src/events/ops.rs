//! What operators do with events, and what users find there.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::condition::Condition;
use super::model::{Approval, Chance, Event, EventBody, OpenEvent, OpenReward, Recurrence, Window};
use super::table;
use crate::app::App;
use crate::audit;
use crate::audit::model::Act;
use crate::clock::{self, from_millis};
use crate::error::{Code, Error};
use crate::http::identity::Actor;
use crate::http::page::{Page, PageRequest};
use crate::http::version::Expected;
use crate::ids::{EventId, RewardId, UserId};
use crate::journal::{IdempotencyKey, Request};
use crate::rewards;

/// Events of a page that tells how far one is: each asks Postgres several things.
const OPEN_MAX: usize = 20;
/// What Postgres says of a user's chance is good for so long.
const CHANCE_MS: i64 = 5_000;

/// What becomes of an event.
enum Write {
    Create(Event),
    Change(Event, Expected),
    Delete(EventId, Expected),
}

/// Makes an event.
pub async fn create(
    app: &App,
    by: &Actor,
    body: EventBody,
    key: Option<IdempotencyKey>,
) -> Result<(Event, bool), Error> {
    let request = Request::new(by.me.user, "events.create", "events", &body, key);
    made(write(app, by, &request, Write::Create(event(EventId::mint(), body))).await?)
}

/// Gives it other texts; who has asked in it already asked in the version before.
pub async fn change(
    app: &App,
    by: &Actor,
    id: EventId,
    body: EventBody,
    expected: Expected,
    key: Option<IdempotencyKey>,
) -> Result<(Event, bool), Error> {
    let request = Request::new(by.me.user, "events.change", id, &body, key);
    made(write(app, by, &request, Write::Change(event(id, body), expected)).await?)
}

/// Takes it away. True when an earlier request with the same key did.
pub async fn delete(
    app: &App,
    by: &Actor,
    id: EventId,
    expected: Expected,
    key: Option<IdempotencyKey>,
) -> Result<bool, Error> {
    let request = Request::new(by.me.user, "events.delete", id, &(), key);
    write(app, by, &request, Write::Delete(id, expected)).await.map(|(_, replayed)| replayed)
}

fn event(event_id: EventId, body: EventBody) -> Event {
    // As precise as it is told.
    let time = |time: DateTime<Utc>| from_millis(time.timestamp_millis());
    Event {
        event_id,
        version: 1,
        name: body.name,
        starts_at: time(body.starts_at),
        ends_at: time(body.ends_at),
        active: body.active,
        reward_ids: body.reward_ids,
        condition: body.condition,
        approval: body.approval,
        recurrence: body.recurrence,
    }
}

fn made((event, replayed): (Option<Event>, bool)) -> Result<(Event, bool), Error> {
    event.map(|event| (event, replayed)).ok_or_else(|| Error::internal("an event that was made is not there"))
}

/// In one transaction: the event, the line in the audit log, the record of the key.
async fn write(
    app: &App,
    by: &Actor,
    request: &Request,
    write: Write,
) -> Result<(Option<Event>, bool), Error> {
    let (id, status, after) = match &write {
        Write::Create(event) => (event.event_id, 201, Some(event)),
        Write::Change(event, _) => (event.event_id, 200, Some(event)),
        Write::Delete(id, _) => (*id, 204, None),
    };
    let (act, name) = (Act::new(by, format_args!("events/{id}"), after), (request.op, request.operation));
    let now = app.clock.now();
    let _turn = app.texts.lock().await;
    let once = app.journal.once(request, status, |pg| {
        Box::pin(async move {
            table::take_turn(pg).await?;
            let (before, after) = match write {
                Write::Create(event) => {
                    check(pg, &event, None, now).await?;
                    table::insert(pg, &event).await?;
                    (None, Some(event))
                }
                Write::Change(event, expected) => {
                    let before = locked(pg, id, &expected).await?;
                    check(pg, &event, Some(&before), now).await?;
                    let event = Event { version: before.version + 1, ..event };
                    table::update(pg, &event).await?;
                    (Some(before), Some(event))
                }
                Write::Delete(id, expected) => {
                    let before = locked(pg, id, &expected).await?;
                    table::delete(pg, id).await?;
                    (Some(before), None)
                }
            };
            audit::table::record(pg, name, &act, before.map(|before| json!(before)), now).await?;
            Ok(after)
        })
    });
    once.await
}

async fn locked(pg: &mut PgConnection, id: EventId, expected: &Expected) -> Result<Event, Error> {
    let found = table::lock(pg, id).await?.ok_or_else(|| Error::refused(Code::EventNotFound))?;
    expected.check(found.version)?;
    Ok(found)
}

/// Refuses what makes no sense: an end that is past, things that are not there.
async fn check(
    pg: &mut PgConnection,
    event: &Event,
    before: Option<&Event>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if event.ends_at <= now && before.is_none_or(|before| before.ends_at != event.ends_at) {
        return Err(Error::invalid("endsAt", "must lie ahead"));
    }
    let rewards: Vec<Uuid> = event.reward_ids.iter().map(|id| id.uuid()).collect();
    if !table::know_rewards(pg, &rewards).await? {
        return Err(Error::refused(Code::RewardNotFound));
    }
    let (mut campaigns, mut concerts) = (BTreeSet::new(), BTreeSet::new());
    event.condition.each(&mut |one| match one {
        Condition::CouponUsed { campaign_id } => drop(campaigns.insert(campaign_id.uuid())),
        Condition::TicketsBought { concert_id: Some(id), .. } => drop(concerts.insert(id.uuid())),
        _ => {}
    });
    if !table::know_campaigns(pg, &campaigns.into_iter().collect::<Vec<_>>()).await? {
        return Err(Error::refused(Code::CampaignNotFound));
    }
    if !table::know_concerts(pg, &concerts.into_iter().collect::<Vec<_>>()).await? {
        return Err(Error::refused(Code::ConcertNotFound));
    }
    Ok(())
}

/// Whether a user may have a reward of an event now; and why not.
pub async fn chance(
    app: &App,
    user: UserId,
    (event, reward): (EventId, RewardId),
    now: DateTime<Utc>,
) -> Result<(Chance, Option<Error>), Error> {
    let none = |code: Code| Ok((Chance::default(), Some(Error::refused(code))));
    let Some(event) = table::event(&app.pool, event).await? else { return none(Code::EventNotFound) };
    if !event.reward_ids.contains(&reward) {
        return none(Code::RewardNotFound);
    }
    if !event.active || now < event.starts_at || now >= event.ends_at {
        return none(Code::EventNotOpen);
    }
    let (period, stretch) = period(app, &event, now)?;
    let mut pg = app.pool.acquire().await?;
    let evidence = event.condition.progress(&mut pg, user, &event.window()).await?;
    let refusal = (!evidence.met).then(|| Error::with(Code::ConditionNotMet, evidence.member()));
    let chance = Chance {
        event_version: event.version,
        period,
        from_ms: stretch.from.timestamp_millis(),
        till_ms: stretch.until.timestamp_millis().min(now.timestamp_millis() + CHANCE_MS),
        auto: event.approval == Approval::Auto,
        evidence,
    };
    Ok((chance, refusal))
}

/// The day of a daily event, and from when until when it is that day in it.
fn period(app: &App, event: &Event, now: DateTime<Utc>) -> Result<(Option<NaiveDate>, Window), Error> {
    if event.recurrence == Recurrence::Once {
        return Ok((None, event.window()));
    }
    let zone = app.config.zone;
    let day = now.with_timezone(&zone).date_naive();
    let next = day.succ_opt().ok_or_else(|| Error::internal("the calendar ends"))?;
    let (midnight, midnight_after) = (clock::midnight(day, zone), clock::midnight(next, zone));
    let window = Window { from: event.starts_at.max(midnight), until: event.ends_at.min(midnight_after) };
    Ok((Some(day), window))
}

/// A page of events that a user may take part in now, and how far he is in each.
pub async fn open(app: &App, user: UserId, page: &PageRequest) -> Result<Page<OpenEvent>, Error> {
    let now = app.clock.now();
    let Page { items, next_cursor } = table::running(&app.pool, now, &page.at_most(OPEN_MAX)).await?;
    let mut open = Vec::new();
    for event in items {
        let (day, _) = period(app, &event, now)?;
        let mut pg = app.pool.acquire().await?;
        let rewards =
            rewards::table::of_event(&mut pg, &event.reward_ids, (event.event_id, user), day).await?;
        let rewards = rewards.into_iter().map(|(reward, status)| OpenReward {
            reward_id: reward.reward_id,
            name: reward.name,
            kind: reward.kind,
            amount: reward.amount,
            campaign_id: reward.campaign_id,
            remaining: reward.remaining,
            status,
        });
        open.push(OpenEvent {
            rewards: rewards.collect(),
            progress: event.condition.progress(&mut pg, user, &event.window()).await?,
            event_id: event.event_id,
            name: event.name,
            starts_at: event.starts_at,
            ends_at: event.ends_at,
            approval: event.approval,
            recurrence: event.recurrence,
        });
    }
    Ok(Page { items: open, next_cursor })
}
