//! Rewards, and requests for them, over HTTP.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::model::{AskReward, RejectRequest, RequestList, RequestStatus, Reward, RewardBody, RewardRequest};
use super::table::request::Filter;
use super::{ops, requests, table};
use crate::app::AppState;
use crate::error::{Code, Error};
use crate::http::answer::Answer;
use crate::http::body::Body;
use crate::http::headers::KeyHeader;
use crate::http::identity::{Actor, Identity};
use crate::http::page::{Page, PageRequest};
use crate::http::path::PathId;
use crate::http::version::{IfMatch, etag};
use crate::ids::{RewardId, RewardRequestId};

pub async fn create(
    State(app): State<AppState>,
    by: Actor,
    key: KeyHeader,
    Body(body): Body<RewardBody>,
) -> Result<Answer<Reward>, Error> {
    let key = key.optional()?;
    let create = move |app: AppState| async move { ops::create(&app, &by, &body, key).await };
    let (reward, replayed) = app.run(create).await?;
    let version = reward.version;
    Ok(Answer::created(reward, replayed).of_version(version))
}

pub async fn list(State(app): State<AppState>, page: PageRequest) -> Result<Json<Page<Reward>>, Error> {
    table::page(&app.pool, &page).await.map(Json)
}

pub async fn get(State(app): State<AppState>, id: PathId<RewardId>) -> Result<impl IntoResponse, Error> {
    let reward = table::reward(&app.pool, id.or(Code::RewardNotFound)?).await?.ok_or_else(ops::missing)?;
    Ok(([etag(reward.version)], Json(reward)))
}

pub async fn change(
    State(app): State<AppState>,
    by: Actor,
    id: PathId<RewardId>,
    key: KeyHeader,
    expected: IfMatch,
    Body(body): Body<RewardBody>,
) -> Result<Answer<Reward>, Error> {
    let (key, id, expected) = (key.optional()?, id.or(Code::RewardNotFound)?, expected.read()?);
    let change =
        move |app: AppState| async move { ops::change(&app, &by, id, &body, (&expected, key)).await };
    let (reward, replayed) = app.run(change).await?;
    let version = reward.version;
    Ok(Answer::ok(reward, replayed).of_version(version))
}

pub async fn delete(
    State(app): State<AppState>,
    by: Actor,
    id: PathId<RewardId>,
    key: KeyHeader,
    expected: IfMatch,
) -> Result<Answer<()>, Error> {
    let (key, id, expected) = (key.optional()?, id.or(Code::RewardNotFound)?, expected.read()?);
    let delete = move |app: AppState| async move { ops::delete(&app, &by, id, &expected, key).await };
    Ok(Answer::none(app.run(delete).await?))
}

pub async fn ask(
    State(app): State<AppState>,
    me: Identity,
    key: KeyHeader,
    Body(body): Body<AskReward>,
) -> Result<Answer<RewardRequest>, Error> {
    let key = key.required()?;
    let ask = move |app: AppState| async move { requests::ask(&app, me, &body, key).await };
    let (asked, replayed) = app.run(ask).await?;
    Ok(Answer::created(asked, replayed))
}

/// What a list of requests may be narrowed to.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    event_id: Option<String>,
    user_id: Option<String>,
    status: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

impl Wanted {
    fn filter(asked: Result<Query<Self>, QueryRejection>) -> Result<Filter, Error> {
        let Query(asked) = asked.map_err(|_| Error::invalid("query", "names something twice"))?;
        let status = |text: String| {
            RequestStatus::from_word(&text)
                .ok_or_else(|| Error::invalid("status", "must be PENDING, GRANTED or REJECTED"))
        };
        Ok(Filter {
            event: parsed("eventId", asked.event_id)?,
            user: parsed("userId", asked.user_id)?,
            status: asked.status.map(status).transpose()?,
            from: time("from", asked.from)?,
            to: time("to", asked.to)?,
        })
    }
}

fn parsed<T: std::str::FromStr>(field: &'static str, text: Option<String>) -> Result<Option<T>, Error> {
    let parsed = text.map(|text| text.parse().map_err(|_| Error::invalid(field, "is not an id")));
    parsed.transpose()
}

fn time(field: &'static str, text: Option<String>) -> Result<Option<DateTime<Utc>>, Error> {
    let bad = || Error::invalid(field, "must be a time as 2026-11-22T09:00:00Z, in the years 1970 to 9999");
    let Some(text) = text else { return Ok(None) };
    let time = DateTime::parse_from_rfc3339(&text).map_err(|_| bad())?.to_utc();
    crate::clock::is_instant(&Some(time), &()).map_err(|_| bad())?;
    Ok(Some(time))
}

pub async fn mine(
    State(app): State<AppState>,
    me: Identity,
    page: PageRequest,
    asked: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Page<RewardRequest>>, Error> {
    let status = Wanted::filter(asked)?.status;
    let of = Filter { user: Some(me.user), status, ..Filter::default() };
    table::request::page(&app.pool, &of, &page).await.map(Json)
}

pub async fn requests(
    State(app): State<AppState>,
    page: PageRequest,
    asked: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<RequestList>, Error> {
    let of = Wanted::filter(asked)?;
    let counts = table::request::counts(&app.pool, &of).await?;
    let Page { items, next_cursor } = table::request::page(&app.pool, &of, &page).await?;
    Ok(Json(RequestList { items, next_cursor, counts }))
}

pub async fn request(
    State(app): State<AppState>,
    id: PathId<RewardRequestId>,
) -> Result<Json<RewardRequest>, Error> {
    let found = table::request::request(&app.pool, id.or(Code::RewardRequestNotFound)?).await?;
    found.map(Json).ok_or_else(|| Error::refused(Code::RewardRequestNotFound))
}

pub async fn approve(
    State(app): State<AppState>,
    by: Actor,
    id: PathId<RewardRequestId>,
    key: KeyHeader,
) -> Result<Answer<RewardRequest>, Error> {
    let (key, id) = (key.optional()?, id.or(Code::RewardRequestNotFound)?);
    let approve = move |app: AppState| async move { requests::approve(&app, &by, id, key).await };
    let (ended, replayed) = app.run(approve).await?;
    Ok(Answer::ok(ended, replayed))
}

pub async fn reject(
    State(app): State<AppState>,
    by: Actor,
    id: PathId<RewardRequestId>,
    key: KeyHeader,
    Body(body): Body<RejectRequest>,
) -> Result<Answer<RewardRequest>, Error> {
    let (key, id) = (key.optional()?, id.or(Code::RewardRequestNotFound)?);
    let reject = move |app: AppState| async move { requests::reject(&app, &by, id, &body, key).await };
    let (ended, replayed) = app.run(reject).await?;
    Ok(Answer::ok(ended, replayed))
}
