//! Seats and reservations over HTTP.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::model::{Reservation, ReserveRequest};
use super::{ops, table};
use crate::app::AppState;
use crate::clock::parse_day;
use crate::error::{Code, Error};
use crate::http::answer::Answer;
use crate::http::body::Body;
use crate::http::headers::{KeyHeader, QueueToken};
use crate::http::identity::{Actor, Identity};
use crate::http::page::{Page, PageRequest};
use crate::http::path::PathId;
use crate::ids::{QueueId, ReservationId};

pub async fn seats(
    State(app): State<AppState>,
    me: Identity,
    id: PathId<QueueId>,
    token: QueueToken,
    query: Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let date = query.get("date").and_then(|text| parse_day(text));
    let date = date.ok_or_else(|| Error::invalid("date", "must be a day as yyyy-mm-dd"))?;
    let ticket = token.ticket_of(&app, id.ok())?.held_by(me.user)?;
    tagged(&headers, &ops::read(&app, &ticket, date).await?)
}

/// 304 when the client has this very answer already.
fn tagged<T: serde::Serialize>(headers: &HeaderMap, body: &T) -> Result<Response, Error> {
    let tag = format!("\"{}\"", crate::journal::request::fingerprint(body));
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let same =
        known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag || known.trim() == "*");
    let mut response =
        if same { StatusCode::NOT_MODIFIED.into_response() } else { Json(body).into_response() };
    response.headers_mut().insert(header::ETAG, HeaderValue::from_str(&tag).map_err(Error::internal)?);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

pub async fn reserve(
    State(app): State<AppState>,
    me: Identity,
    token: QueueToken,
    key: KeyHeader,
    Body(body): Body<ReserveRequest>,
) -> Result<Answer<Reservation>, Error> {
    body.seats()?;
    let key = key.required()?;
    let ticket = token.ticket_of(&app, Some(body.concert_id.into()))?.held_by(me.user)?;
    let reserve = move |app: AppState| async move { ops::reserve(&app, &ticket, &body, key).await };
    let (reservation, replayed) = app.run(reserve).await?;
    Ok(Answer::created(reservation, replayed))
}

pub async fn list(
    State(app): State<AppState>,
    me: Identity,
    page: PageRequest,
) -> Result<Json<Page<Reservation>>, Error> {
    let of = me.listed();
    table::page(&app.pool, of, &page).await.map(Json)
}

pub async fn get(
    State(app): State<AppState>,
    me: Identity,
    id: PathId<ReservationId>,
) -> Result<Json<Reservation>, Error> {
    ops::visible(&app, me, id.or(Code::ReservationNotFound)?).await.map(Json)
}

pub async fn cancel(
    State(app): State<AppState>,
    by: Actor,
    id: PathId<ReservationId>,
    key: KeyHeader,
) -> Result<Answer<()>, Error> {
    let (key, id) = (key.optional()?, id.or(Code::ReservationNotFound)?);
    let replayed = app.run(move |app| async move { ops::cancel(&app, &by, id, key).await }).await?;
    Ok(Answer::none(replayed))
}
