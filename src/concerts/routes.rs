//! Concerts over HTTP.

use axum::Json;
use axum::extract::State;

use super::model::{Concert, ConcertWithShows, CreateConcert, CreateShow, Dates, Show};
use super::{ops, table};
use crate::app::AppState;
use crate::error::{Code, Error};
use crate::http::answer::Answer;
use crate::http::body::Body;
use crate::http::headers::{KeyHeader, QueueToken};
use crate::http::identity::{Actor, Identity};
use crate::http::page::{Page, PageRequest};
use crate::http::path::PathId;
use crate::ids::{ConcertId, QueueId};

pub async fn create(
    State(app): State<AppState>,
    by: Actor,
    key: KeyHeader,
    Body(body): Body<CreateConcert>,
) -> Result<Answer<Concert>, Error> {
    let key = key.optional()?;
    let create = move |app: AppState| async move { ops::create(&app, &by, &body, key).await };
    let (concert, replayed) = app.run(create).await?;
    Ok(Answer::created(concert, replayed))
}

pub async fn list(State(app): State<AppState>, page: PageRequest) -> Result<Json<Page<Concert>>, Error> {
    table::page(&app.pool, &page).await.map(Json)
}

pub async fn get(
    State(app): State<AppState>,
    id: PathId<ConcertId>,
) -> Result<Json<ConcertWithShows>, Error> {
    ops::get(&app, id.or(Code::ConcertNotFound)?).await.map(Json)
}

pub async fn add_show(
    State(app): State<AppState>,
    by: Actor,
    id: PathId<ConcertId>,
    key: KeyHeader,
    Body(body): Body<CreateShow>,
) -> Result<Answer<Show>, Error> {
    let (key, concert) = (key.optional()?, id.or(Code::ConcertNotFound)?);
    let add = move |app: AppState| async move { ops::add_show(&app, &by, concert, &body, key).await };
    let (show, replayed) = app.run(add).await?;
    Ok(Answer::created(show, replayed))
}

pub async fn dates(
    State(app): State<AppState>,
    me: Identity,
    id: PathId<QueueId>,
    token: QueueToken,
) -> Result<Json<Dates>, Error> {
    let ticket = token.ticket_of(&app, id.ok())?.held_by(me.user)?;
    ops::dates(&app, &ticket).await.map(Json)
}
