//! Successes: status, body, and how durable what they tell is.

use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

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
}

impl<T> Answer<T> {
    /// 201 with what was made.
    pub fn created(body: T, replayed: bool) -> Self {
        Self { status: StatusCode::CREATED, body: Some(body), durability: Durability::Postgres, replayed }
    }

    /// 200 with how it is now.
    pub fn ok(body: T, replayed: bool) -> Self {
        Self { status: StatusCode::OK, body: Some(body), durability: Durability::Postgres, replayed }
    }

    /// 202 with how to ask how far it is.
    pub fn accepted(body: T, replayed: bool) -> Self {
        Self { status: StatusCode::ACCEPTED, body: Some(body), durability: Durability::Postgres, replayed }
    }

    /// The same, as durable as Redis is.
    pub fn in_redis(mut self) -> Self {
        self.durability = Durability::Redis;
        self
    }
}

impl Answer<()> {
    /// 204.
    pub fn none(replayed: bool) -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None, durability: Durability::Postgres, replayed }
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
        headers.insert(DURABILITY, HeaderValue::from_static(durability));
        if self.replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}
