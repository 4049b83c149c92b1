//! Events over HTTP.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;

use super::model::{Event, EventBody, OpenEvent};
use super::{ops, table};
use crate::app::AppState;
use crate::error::{Code, Error};
use crate::http::answer::Answer;
use crate::http::body::Body;
use crate::http::headers::KeyHeader;
use crate::http::identity::{Actor, Identity};
use crate::http::page::{Page, PageRequest};
use crate::http::path::PathId;
use crate::http::version::{IfMatch, etag};
use crate::ids::EventId;

pub async fn create(
    State(app): State<AppState>,
    by: Actor,
    key: KeyHeader,
    Body(body): Body<EventBody>,
) -> Result<Answer<Event>, Error> {
    let key = key.optional()?;
    let create = move |app: AppState| async move { ops::create(&app, &by, body, key).await };
    let (event, replayed) = app.run(create).await?;
    let version = event.version;
    Ok(Answer::created(event, replayed).of_version(version))
}

pub async fn list(State(app): State<AppState>, page: PageRequest) -> Result<Json<Page<Event>>, Error> {
    table::page(&app.pool, &page).await.map(Json)
}

pub async fn get(State(app): State<AppState>, id: PathId<EventId>) -> Result<impl IntoResponse, Error> {
    let found = table::event(&app.pool, id.or(Code::EventNotFound)?).await?;
    let event = found.ok_or_else(|| Error::refused(Code::EventNotFound))?;
    Ok(([etag(event.version)], Json(event)))
}

pub async fn change(
    State(app): State<AppState>,
    by: Actor,
    id: PathId<EventId>,
    key: KeyHeader,
    expected: IfMatch,
    Body(body): Body<EventBody>,
) -> Result<Answer<Event>, Error> {
    let (key, id, expected) = (key.optional()?, id.or(Code::EventNotFound)?, expected.read()?);
    let change = move |app: AppState| async move { ops::change(&app, &by, id, body, expected, key).await };
    let (event, replayed) = app.run(change).await?;
    let version = event.version;
    Ok(Answer::ok(event, replayed).of_version(version))
}

pub async fn delete(
    State(app): State<AppState>,
    by: Actor,
    id: PathId<EventId>,
    key: KeyHeader,
    expected: IfMatch,
) -> Result<Answer<()>, Error> {
    let (key, id, expected) = (key.optional()?, id.or(Code::EventNotFound)?, expected.read()?);
    let delete = move |app: AppState| async move { ops::delete(&app, &by, id, expected, key).await };
    Ok(Answer::none(app.run(delete).await?))
}

pub async fn open(
    State(app): State<AppState>,
    me: Identity,
    page: PageRequest,
) -> Result<Json<Page<OpenEvent>>, Error> {
    ops::open(&app, me.user, &page).await.map(Json)
}
