//! The audit log over HTTP.

use axum::Json;
use axum::extract::State;

use super::model::AuditRecord;
use super::table;
use crate::app::AppState;
use crate::error::Error;
use crate::http::page::{Page, PageRequest};

pub async fn list(State(app): State<AppState>, page: PageRequest) -> Result<Json<Page<AuditRecord>>, Error> {
    table::page(&app.pool, &page).await.map(Json)
}
