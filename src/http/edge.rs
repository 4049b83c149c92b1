//! What every request passes on its way in and out, whatever its route: it gets a name, its body is read, a
//! panic stays its own, a failure gets its body. One function around the router: as layers of it, each would
//! cost allocations for itself and for all that lie within.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tower::ServiceExt;
use tracing::Level;
use uuid::Uuid;

use super::{body, problem};
use crate::config::Limited;
use crate::error::Error;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken over from a caller.
const REQUEST_ID_MAX: usize = 128;

/// The name of a request.
#[derive(Clone, Debug, Default)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    /// As the caller named it, if that is sane; a fresh one otherwise.
    fn of(request: &Request) -> Self {
        let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
        if let Some(sane) = given.filter(|id| is_sane(id)) {
            return Self(sane.into());
        }
        let mut text = Uuid::encode_buffer();
        Self((&*Uuid::now_v7().hyphenated().encode_lower(&mut text)).into())
    }
}

fn is_sane(id: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
    (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(known)
}

/// The routes, behind the service's edge.
pub struct Edge {
    routes: Router,
    limits: Limited,
}

/// What the log says of a request.
struct Told {
    method: Method,
    path: String,
    started: Instant,
}

impl Edge {
    /// The edge of these routes.
    pub fn new(routes: Router, limits: Limited) -> Self {
        Self { routes, limits }
    }

    /// Answers a request; there is always an answer.
    pub async fn answer(&self, mut request: Request) -> Response {
        let id = RequestId::of(&request);
        request.extensions_mut().insert(id.clone());
        let told = tracing::enabled!(Level::DEBUG).then(|| Told {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            started: Instant::now(),
        });
        let answered = AssertUnwindSafe(self.route(request)).catch_unwind().await;
        let mut response = problem::render(answered.unwrap_or_else(panicked), &id.0);
        if let Some(Told { method, path, started }) = told {
            tracing::debug!(request_id = &*id.0, %method, path, status = response.status().as_u16(),
                seconds = started.elapsed().as_secs_f64(), "request");
        }
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&id.0) {
            headers.insert(REQUEST_ID, value);
        }
        // OWASP, REST Security Cheat Sheet: no guessing of types, no frames, nothing of ours in anybody's
        // cache unless the handler says so.
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'"));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }

    async fn route(&self, request: Request) -> Response {
        let (request, upload) = match body::whole(request, &self.limits).await {
            Ok(read) => read,
            Err(refused) => return refused.into_response(),
        };
        let Ok(response) = self.routes.clone().oneshot(request).await;
        if let Some(upload) = upload {
            upload.drain(self.limits.body_bytes_max, self.limits.body_timeout).await;
        }
        response
    }
}

/// A handler's panic is one request's failure, not everybody's.
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    Error::internal(format_args!("a handler panicked: {}", text.unwrap_or("?"))).into_response()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Defaults {
        #[command(flatten)]
        limits: crate::config::LimitSettings,
    }

    #[test]
    fn only_a_sane_request_id_is_taken_over() {
        assert!(is_sane("01928-abc_DEF.7"));
        let long = "x".repeat(REQUEST_ID_MAX + 1);
        for id in ["", "a b", "a\"b", "a<b", long.as_str()] {
            assert!(!is_sane(id), "{id:?}");
        }
    }

    #[tokio::test]
    async fn a_panic_is_one_requests_failure() {
        let dies = || async { panic!("on purpose") };
        let routes = Router::new().route("/", axum::routing::get(async move || -> Response { dies().await }));
        let limits = Defaults::parse_from(["edge"]).limits.check().unwrap();
        let response = Edge::new(routes, limits).answer(Request::default()).await;
        assert_eq!(response.status(), 500);
        assert!(response.headers().contains_key(REQUEST_ID));
    }
}
