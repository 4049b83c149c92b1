//! Operations over HTTP.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;

use super::model::{HealthView, SetHealth};
use super::ops;
use crate::app::AppState;
use crate::error::{Code, Error};
use crate::http::body::Body;
use crate::http::identity::Actor;

pub async fn livez() -> &'static str {
    "ok"
}

pub async fn readyz(State(app): State<AppState>) -> Result<Response, Error> {
    let readiness = ops::readiness(&app).await?;
    Ok(told(readiness.ready, Json(readiness)))
}

pub async fn health(State(app): State<AppState>) -> Response {
    let in_rotation = app.rotation.is_in();
    told(in_rotation, Json(HealthView { in_rotation }))
}

/// 200, or 503 with when to ask again; the body is the same.
fn told(well: bool, body: impl IntoResponse) -> Response {
    match well {
        true => body.into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], body).into_response(),
    }
}

pub async fn set_health(
    State(app): State<AppState>,
    by: Actor,
    Body(body): Body<SetHealth>,
) -> Result<Json<HealthView>, Error> {
    let set = move |app: AppState| async move { Ok(ops::set_health(&app, &by, &body).await) };
    app.run(set).await.map(Json)
}

pub async fn metrics(State(app): State<AppState>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.prometheus.render()).into_response()
}

pub async fn openapi() -> Response {
    /// The same for every instance of this build.
    static DOCUMENT: LazyLock<Bytes> =
        LazyLock::new(|| crate::http::openapi::document(&crate::router::api()).to_string().into());
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

pub async fn jwks(State(app): State<AppState>) -> impl IntoResponse {
    // A key signs long after it is published, and verifies long after it signed last.
    ([(header::CACHE_CONTROL, "public, max-age=60")], Json(app.tokens.keys.published()))
}

pub async fn docs() -> Redirect {
    Redirect::permanent("/docs/")
}

pub async fn docs_index() -> Result<Response, Error> {
    swagger("index.html")
}

pub async fn docs_file(Path(file): Path<String>) -> Result<Response, Error> {
    swagger(&file)
}

/// Swagger UI, from the binary itself.
fn swagger(file: &str) -> Result<Response, Error> {
    let config = Arc::new(utoipa_swagger_ui::Config::from("/openapi.json"));
    match utoipa_swagger_ui::serve(file, config) {
        Ok(Some(file)) => {
            let bytes = match file.bytes {
                Cow::Borrowed(bytes) => Bytes::from_static(bytes),
                Cow::Owned(bytes) => bytes.into(),
            };
            let kind = (header::CONTENT_TYPE, file.content_type);
            let kept = (header::CACHE_CONTROL, "public, max-age=3600".to_owned());
            Ok(([kind, kept], bytes).into_response())
        }
        Ok(None) => Err(Error::refused(Code::NotFound)),
        Err(error) => Err(Error::internal(error)),
    }
}
