//! Payments over HTTP.

use axum::Json;
use axum::extract::State;

use super::model::{PayRequest, Payment};
use super::{ops, table};
use crate::app::AppState;
use crate::error::{Code, Error};
use crate::http::answer::Answer;
use crate::http::body::Body;
use crate::http::headers::{KeyHeader, QueueToken};
use crate::http::identity::Identity;
use crate::http::page::{Page, PageRequest};
use crate::http::path::PathId;
use crate::ids::PaymentId;

pub async fn pay(
    State(app): State<AppState>,
    me: Identity,
    token: QueueToken,
    key: KeyHeader,
    Body(body): Body<PayRequest>,
) -> Result<Answer<Payment>, Error> {
    let key = key.required()?;
    let ticket = token.ticket(&app)?.held_by(me.user)?;
    let pay = move |app: AppState| async move { ops::pay(&app, &ticket, &body, key).await };
    let (payment, replayed) = app.run(pay).await?;
    Ok(Answer::created(payment, replayed))
}

pub async fn list(
    State(app): State<AppState>,
    me: Identity,
    page: PageRequest,
) -> Result<Json<Page<Payment>>, Error> {
    let of = me.listed();
    table::page(&app.pool, of, &page).await.map(Json)
}

pub async fn get(
    State(app): State<AppState>,
    me: Identity,
    id: PathId<PaymentId>,
) -> Result<Json<Payment>, Error> {
    ops::visible(&app, me, id.or(Code::PaymentNotFound)?).await.map(Json)
}
