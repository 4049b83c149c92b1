//! Menus over HTTP.

use axum::Json;
use axum::extract::State;

use super::model::{Menu, MenuBody};
use super::ops;
use crate::app::AppState;
use crate::error::{Code, Error};
use crate::http::answer::Answer;
use crate::http::body::Body;
use crate::http::headers::KeyHeader;
use crate::http::identity::Actor;
use crate::http::page::{Page, PageRequest};
use crate::http::path::PathId;
use crate::ids::MenuId;

pub async fn list(State(app): State<AppState>, page: PageRequest) -> Result<Json<Page<Menu>>, Error> {
    app.board.fresh(&app.pool).await?;
    app.board.page(&page).map(Json)
}

pub async fn create(
    State(app): State<AppState>,
    by: Actor,
    key: KeyHeader,
    Body(body): Body<MenuBody>,
) -> Result<Answer<Menu>, Error> {
    let key = key.optional()?;
    let create = move |app: AppState| async move { ops::create(&app, &by, &body, key).await };
    let (menu, replayed) = app.run(create).await?;
    Ok(Answer::created(menu, replayed))
}

pub async fn change(
    State(app): State<AppState>,
    by: Actor,
    id: PathId<MenuId>,
    key: KeyHeader,
    Body(body): Body<MenuBody>,
) -> Result<Answer<Menu>, Error> {
    let (key, id) = (key.optional()?, id.or(Code::MenuNotFound)?);
    let change = move |app: AppState| async move { ops::change(&app, &by, id, &body, key).await };
    let (menu, replayed) = app.run(change).await?;
    Ok(Answer::ok(menu, replayed))
}

pub async fn remove(
    State(app): State<AppState>,
    by: Actor,
    id: PathId<MenuId>,
    key: KeyHeader,
) -> Result<Answer<()>, Error> {
    let (key, id) = (key.optional()?, id.or(Code::MenuNotFound)?);
    let replayed = app.run(move |app| async move { ops::remove(&app, &by, id, key).await }).await?;
    Ok(Answer::none(replayed))
}
