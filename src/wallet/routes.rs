//! Points over HTTP.

use axum::Json;
use axum::extract::State;

use super::model::{Balance, ChargeRequest, Charged, Transaction};
use super::{ops, table};
use crate::accounts;
use crate::app::AppState;
use crate::error::Error;
use crate::http::answer::Answer;
use crate::http::body::Body;
use crate::http::headers::KeyHeader;
use crate::http::identity::Owner;
use crate::http::page::{Page, PageRequest};

pub async fn charge(
    State(app): State<AppState>,
    owner: Owner,
    key: KeyHeader,
    Body(body): Body<ChargeRequest>,
) -> Result<Answer<Charged>, Error> {
    let key = key.required()?;
    let (charged, replayed) = app
        .run(move |app| async move {
            let user = accounts::ops::must_exist(&app, owner.by.me.user, owner.user).await?;
            ops::charge(&app, &owner.by, user, &body, key).await
        })
        .await?;
    Ok(Answer::created(charged, replayed))
}

pub async fn balance(State(app): State<AppState>, owner: Owner) -> Result<Json<Balance>, Error> {
    let user_id = accounts::ops::must_exist(&app, owner.by.me.user, owner.user).await?;
    Ok(Json(Balance { user_id, balance: table::balance(&app.pool, user_id).await? }))
}

pub async fn transactions(
    State(app): State<AppState>,
    owner: Owner,
    page: PageRequest,
) -> Result<Json<Page<Transaction>>, Error> {
    let user = accounts::ops::must_exist(&app, owner.by.me.user, owner.user).await?;
    table::transactions(&app.pool, user, &page).await.map(Json)
}
