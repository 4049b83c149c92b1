//! Failures as `application/problem+json` (RFC 9457), rendered once, where the request id is known.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::limits::{RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::error::{Code, Error, FieldError};

/// The body of every failure.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The page that explains the code: `/problems/{code}`.
    #[serde(rename = "type")]
    pub page: String,
    /// A short title, the same for each occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What clients compare with.
    pub code: String,
    /// This occurrence, for people.
    pub detail: String,
    /// The request's id, as in `X-Request-Id`.
    pub request_id: String,
    /// The fields that were wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    /// Members that only some codes carry.
    #[serde(flatten)]
    #[schema(value_type = Object, additional_properties)]
    pub members: Map<String, Value>,
}

/// A failure on its way to the layer that renders it.
#[derive(Clone)]
struct Failure(Arc<Error>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(Failure(Arc::new(self)));
        response
    }
}

/// Gives a failure its body; logs what is ours to mend. Other answers pass.
pub fn render(mut response: Response, request_id: &str) -> Response {
    let Some(Failure(error)) = response.extensions_mut().remove::<Failure>() else { return response };
    let code = error.code();
    match &*error {
        Error::Internal(what) => tracing::error!(request_id, what, "a request failed by our mistake"),
        Error::Unavailable(code, why) => tracing::info!(request_id, %code, why, "a request was put off"),
        Error::Refused(_) => {}
    }
    let body = serde_json::to_vec(&problem(&error, request_id)).unwrap_or_default();
    let mut rendered = (response.status(), body).into_response();
    // What the router said about the path, and the guard about the client, stays.
    let headers = rendered.headers_mut();
    for name in [header::ALLOW, RATE_LIMIT, RATE_LIMIT_POLICY] {
        headers.extend(response.headers_mut().remove(&name).map(|value| (name, value)));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = error.retry_after_seconds() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if matches!(&*error, Error::Refused(refusal) if refusal.replayed) {
        headers.insert(super::answer::REPLAYED, HeaderValue::from_static("true"));
    }
    if code == Code::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    rendered
}

fn problem(error: &Error, request_id: &str) -> Problem {
    let code = error.code();
    let (detail, errors, members) = match error {
        Error::Refused(refusal) => (refusal.detail.clone(), refusal.errors.clone(), refusal.members.clone()),
        // Why something is away is for the log.
        Error::Unavailable(..) | Error::Internal(_) => (None, Vec::new(), Map::new()),
    };
    Problem {
        page: format!("/problems/{code}"),
        title: code.title().into(),
        status: code.status(),
        code: code.word().into(),
        detail: detail.unwrap_or_else(|| code.meaning().into()),
        request_id: request_id.into(),
        errors,
        members,
    }
}

/// `GET /problems/{code}`: what a code means.
pub async fn page(axum::extract::Path(word): axum::extract::Path<String>) -> Result<Response, Error> {
    let code = Code::from_word(&word).ok_or_else(|| Error::refused(Code::NotFound))?;
    let body = json!({
        "code": code.word(),
        "title": code.title(),
        "status": code.status(),
        "meaning": code.meaning(),
        "retryAfterSeconds": code.retry_after_seconds(),
    });
    Ok(axum::Json(body).into_response())
}

/// The router's own refusals.
pub async fn no_route() -> Error {
    Error::refused(Code::NotFound)
}

/// The path exists, the method does not; the router adds `Allow`.
pub async fn no_method() -> Error {
    Error::refused(Code::MethodNotAllowed)
}
