//! The ranking over HTTP.

use axum::Json;
use axum::extract::State;

use super::model::Popular;
use super::ops;
use crate::app::AppState;
use crate::error::Error;

pub async fn popular(State(app): State<AppState>) -> Result<Json<Popular>, Error> {
    ops::popular(&app).await.map(Json)
}
