//! Accounts over HTTP.

use axum::Json;
use axum::extract::State;

use super::model::{ChangeRole, LoginRequest, RefreshRequest, Session, SignupRequest, User};
use super::{ops, table};
use crate::app::AppState;
use crate::error::{Code, Error};
use crate::http::answer::Answer;
use crate::http::body::Body;
use crate::http::headers::KeyHeader;
use crate::http::identity::{Actor, Identity};
use crate::http::page::{Page, PageRequest};
use crate::http::path::PathId;
use crate::http::peer::Peer;
use crate::ids::UserId;

pub async fn sign_up(
    State(app): State<AppState>,
    Peer(client): Peer,
    key: KeyHeader,
    Body(body): Body<SignupRequest>,
) -> Result<Answer<User>, Error> {
    let key = key.optional()?;
    let (user, replayed) = app.run(|app| async move { ops::sign_up(&app, client, body, key).await }).await?;
    Ok(Answer::created(user, replayed))
}

pub async fn log_in(
    State(app): State<AppState>,
    Peer(client): Peer,
    Body(body): Body<LoginRequest>,
) -> Result<Answer<Session>, Error> {
    Ok(Answer::ok(ops::log_in(&app, client, body).await?, false))
}

pub async fn refresh(
    State(app): State<AppState>,
    Body(body): Body<RefreshRequest>,
) -> Result<Answer<Session>, Error> {
    Ok(Answer::ok(ops::refresh(&app, &body).await?, false))
}

pub async fn log_out(State(app): State<AppState>, me: Identity) -> Result<Answer<()>, Error> {
    ops::log_out(&app, me).await.map(|()| Answer::none(false))
}

pub async fn change_role(
    State(app): State<AppState>,
    by: Actor,
    id: PathId<UserId>,
    key: KeyHeader,
    Body(body): Body<ChangeRole>,
) -> Result<Answer<User>, Error> {
    let (key, user) = (key.optional()?, id.or(Code::UserNotFound)?);
    let change = move |app: AppState| async move { ops::change_role(&app, &by, user, &body, key).await };
    let (changed, replayed) = app.run(change).await?;
    Ok(Answer::ok(changed, replayed))
}

pub async fn me(State(app): State<AppState>, me: Identity) -> Result<Json<User>, Error> {
    ops::me(&app, me).await.map(Json)
}

pub async fn list(State(app): State<AppState>, page: PageRequest) -> Result<Json<Page<User>>, Error> {
    table::page(&app.pool, &page).await.map(Json)
}
