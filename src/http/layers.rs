//! Layers around every route: request ids, problems, panics; and around each: its time.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::problem;
use crate::error::Error;
use crate::metrics;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken over from a caller.
const REQUEST_ID_MAX: usize = 128;

/// The name of a request.
#[derive(Clone, Debug, Default)]
pub struct RequestId(pub Arc<str>);

/// Outermost: names the request, renders failures, and says the name in the answer.
pub async fn request_id(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let id: Arc<str> =
        given.filter(|id| is_sane(id)).map_or_else(|| Uuid::now_v7().to_string().into(), Arc::from);
    request.extensions_mut().insert(RequestId(id.clone()));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let started = Instant::now();
    let mut response = problem::render(next.run(request).await, &id);
    tracing::debug!(request_id = &*id, %method, path, status = response.status().as_u16(),
        seconds = started.elapsed().as_secs_f64(), "request");
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    // OWASP, REST Security Cheat Sheet: no guessing of types, no frames, nothing of ours in anybody's cache
    // unless the handler says so.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn is_sane(id: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
    (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(known)
}

/// A handler's panic is one request's failure, not everybody's.
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    Error::internal(format_args!("a handler panicked: {}", text.unwrap_or("?"))).into_response()
}

/// A route's histograms; looked up once for each status.
#[derive(Default)]
pub struct RouteMeter {
    by_status: Mutex<BTreeMap<(&'static str, u16), ::metrics::Histogram>>,
    route: &'static str,
}

impl RouteMeter {
    /// A meter for a route.
    pub fn new(route: &'static str) -> Arc<Self> {
        Arc::new(Self { route, ..Self::default() })
    }

    fn record(&self, method: &Method, status: u16, took: std::time::Duration) {
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            _ => "OTHER",
        };
        let mut known = self.by_status.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram =
            known.entry((method, status)).or_insert_with(|| metrics::http(self.route, method, status));
        histogram.record(took);
    }
}

/// Around one route: how long it took.
pub async fn measure(State(meter): State<Arc<RouteMeter>>, request: Request, next: Next) -> Response {
    let (method, started) = (request.method().clone(), Instant::now());
    let response = next.run(request).await;
    meter.record(&method, response.status().as_u16(), started.elapsed());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sane_request_id_is_taken_over() {
        assert!(is_sane("01928-abc_DEF.7"));
        let long = "x".repeat(REQUEST_ID_MAX + 1);
        for id in ["", "a b", "a\"b", "a<b", long.as_str()] {
            assert!(!is_sane(id), "{id:?}");
        }
    }
}
