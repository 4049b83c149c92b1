//! The waiting room over HTTP.

use axum::Json;
use axum::extract::State;
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};

use super::model::{ChangeQueue, CreateQueue, PlaceView, Queue};
use super::{live, ops};
use crate::app::AppState;
use crate::error::{Code, Error};
use crate::http::answer::Answer;
use crate::http::body::Body;
use crate::http::headers::{KeyHeader, QueueToken};
use crate::http::identity::{Actor, Identity};
use crate::http::path::PathId;
use crate::ids::QueueId;

pub async fn create(
    State(app): State<AppState>,
    by: Actor,
    key: KeyHeader,
    Body(body): Body<CreateQueue>,
) -> Result<Answer<Queue>, Error> {
    let key = key.optional()?;
    let (queue, replayed) =
        app.run(move |app| async move { ops::create(&app, &by, &body, key).await }).await?;
    Ok(Answer::created(queue, replayed))
}

pub async fn get(State(app): State<AppState>, id: PathId<QueueId>) -> Result<Json<Queue>, Error> {
    ops::stats(&app, id.or(Code::QueueNotFound)?).await.map(Json)
}

pub async fn change(
    State(app): State<AppState>,
    by: Actor,
    id: PathId<QueueId>,
    key: KeyHeader,
    Body(body): Body<ChangeQueue>,
) -> Result<Answer<Queue>, Error> {
    let (key, queue) = (key.optional()?, id.or(Code::QueueNotFound)?);
    let change = move |app: AppState| async move { ops::change(&app, &by, queue, &body, key).await };
    let (queue, replayed) = app.run(change).await?;
    Ok(Answer::ok(queue, replayed))
}

pub async fn join(
    State(app): State<AppState>,
    me: Identity,
    id: PathId<QueueId>,
) -> Result<Answer<PlaceView>, Error> {
    let queue = id.or(Code::QueueNotFound)?;
    let (view, new) = app.run(move |app| async move { ops::join(&app, queue, me.user).await }).await?;
    Ok(if new { Answer::created(view, false) } else { Answer::ok(view, false) }.in_redis())
}

pub async fn poll(
    State(app): State<AppState>,
    id: PathId<QueueId>,
    token: QueueToken,
) -> Result<Json<PlaceView>, Error> {
    let ticket = token.ticket_of(&app, id.ok())?;
    ops::poll(&app, &ticket).await.map(Json)
}

pub async fn events(
    State(app): State<AppState>,
    id: PathId<QueueId>,
    token: QueueToken,
) -> Result<Response, Error> {
    let ticket = token.ticket_of(&app, id.ok())?;
    Ok(Sse::new(live::stream(app, ticket)?).keep_alive(KeepAlive::default()).into_response())
}

pub async fn leave(
    State(app): State<AppState>,
    id: PathId<QueueId>,
    token: QueueToken,
) -> Result<Answer<()>, Error> {
    let ticket = token.ticket_of(&app, id.ok())?;
    app.run(move |app| async move { ops::leave(&app, &ticket).await }).await?;
    Ok(Answer::none(false).in_redis())
}
