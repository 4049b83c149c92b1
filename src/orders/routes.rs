//! Orders over HTTP.

use axum::Json;
use axum::extract::State;

use super::model::{Order, OrderRequest};
use super::{ops, table};
use crate::app::AppState;
use crate::error::{Code, Error};
use crate::http::answer::Answer;
use crate::http::body::Body;
use crate::http::headers::KeyHeader;
use crate::http::identity::Identity;
use crate::http::page::{Page, PageRequest};
use crate::http::path::PathId;
use crate::ids::OrderId;

pub async fn place(
    State(app): State<AppState>,
    me: Identity,
    key: KeyHeader,
    Body(body): Body<OrderRequest>,
) -> Result<Answer<Order>, Error> {
    let key = key.required()?;
    let place = move |app: AppState| async move { ops::place(&app, me, &body, key).await };
    let (order, replayed) = app.run(place).await?;
    Ok(Answer::created(order, replayed))
}

pub async fn list(
    State(app): State<AppState>,
    me: Identity,
    page: PageRequest,
) -> Result<Json<Page<Order>>, Error> {
    let of = me.listed();
    table::page(&app.pool, of, &page).await.map(Json)
}

pub async fn get(
    State(app): State<AppState>,
    me: Identity,
    id: PathId<OrderId>,
) -> Result<Json<Order>, Error> {
    ops::visible(&app, me, id.or(Code::OrderNotFound)?).await.map(Json)
}
