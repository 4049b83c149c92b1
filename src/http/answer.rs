//! Successes: status, body, and how durable what they tell is.

use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::version::etag;

/// Set on an answer that was given before.
pub const REPLAYED: &str = "idempotency-replayed";
/// Says what a successful write survives.
pub const DURABILITY: &str = "onrush-durability";

/// What a successful write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The loss of every process, of all of Redis, and a fail-over to a replica that lags.
    Postgres,
    /// A restart of Redis; a place in a queue comes back by its signed ticket.
    Redis,
}

/// A successful write.
#[derive(Debug)]
pub struct Answer<T> {
    status: StatusCode,
    body: Option<T>,
    durability: Durability,
    replayed: bool,
    version: Option<i64>,
}

impl<T> Answer<T> {
    fn new(status: StatusCode, body: Option<T>, replayed: bool) -> Self {
        Self { status, body, durability: Durability::Postgres, replayed, version: None }
    }

    /// 201 with what was made.
    pub fn created(body: T, replayed: bool) -> Self {
        Self::new(StatusCode::CREATED, Some(body), replayed)
    }

    /// 200 with how it is now.
    pub fn ok(body: T, replayed: bool) -> Self {
        Self::new(StatusCode::OK, Some(body), replayed)
    }

    /// 202 with how to ask how far it is.
    pub fn accepted(body: T, replayed: bool) -> Self {
        Self::new(StatusCode::ACCEPTED, Some(body), replayed)
    }

    /// The same, as durable as Redis is.
    pub fn in_redis(mut self) -> Self {
        self.durability = Durability::Redis;
        self
    }

    /// With the version that it has now.
    pub fn of_version(mut self, version: i64) -> Self {
        self.version = Some(version);
        self
    }
}

impl Answer<()> {
    /// 204.
    pub fn none(replayed: bool) -> Self {
        Self::new(StatusCode::NO_CONTENT, None, replayed)
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Some(body) => (self.status, axum::Json(body)).into_response(),
            None => self.status.into_response(),
        };
        let headers = response.headers_mut();
        let durability = match self.durability {
            Durability::Postgres => "postgres",
            Durability::Redis => "redis",
        };
        headers.extend(self.version.map(etag));
        headers.insert(DURABILITY, HeaderValue::from_static(durability));
        if self.replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}
