//! Headers that a handler asks for when their turn in the order of checks has come; reading them never fails.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::app::AppState;
use crate::error::{Code, Error};
use crate::ids::QueueId;
use crate::journal::IdempotencyKey;
use crate::queue::ticket::Ticket;

/// `Idempotency-Key`.
#[derive(Debug)]
pub struct KeyHeader(Option<Option<IdempotencyKey>>);

impl FromRequestParts<AppState> for KeyHeader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Infallible> {
        let mut values = parts.headers.get_all("idempotency-key").iter();
        let first = values.next().map(|value| value.to_str().ok().and_then(IdempotencyKey::parse));
        let single = values.next().is_none();
        Ok(Self(first.map(|key| key.filter(|_| single))))
    }
}

impl KeyHeader {
    /// The key of a write that needs one.
    pub fn required(self) -> Result<IdempotencyKey, Error> {
        self.optional()?.ok_or_else(|| Error::refused(Code::IdempotencyKeyMissing))
    }

    /// The key of a write that takes one.
    pub fn optional(self) -> Result<Option<IdempotencyKey>, Error> {
        match self.0 {
            None => Ok(None),
            Some(Some(key)) => Ok(Some(key)),
            Some(None) => {
                Err(Error::invalid("Idempotency-Key", "must be 1 to 255 visible ASCII characters, once"))
            }
        }
    }
}

/// `Queue-Token`.
#[derive(Debug)]
pub enum QueueToken {
    /// As sent.
    Sent(Option<String>),
    /// As the route's guard has read it.
    Read(Ticket),
}

impl FromRequestParts<AppState> for QueueToken {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Infallible> {
        if let Some(ticket) = parts.extensions.get::<Ticket>() {
            return Ok(Self::Read(*ticket));
        }
        let token = parts.headers.get("queue-token").and_then(|value| value.to_str().ok());
        Ok(Self::Sent(token.map(str::to_owned)))
    }
}

impl QueueToken {
    /// The ticket that we signed. 401 for none or a forged one.
    pub fn ticket(&self, app: &AppState) -> Result<Ticket, Error> {
        let ticket = match self {
            Self::Sent(token) => token.as_deref().and_then(|token| app.tickets.read(token)),
            Self::Read(ticket) => Some(*ticket),
        };
        ticket.ok_or_else(|| Error::refused(Code::QueueTokenInvalid))
    }

    /// The ticket of this queue. 401 for another queue's; 404 where the path names none.
    pub fn ticket_of(&self, app: &AppState, queue: Option<QueueId>) -> Result<Ticket, Error> {
        let ticket = self.ticket(app)?;
        if queue == Some(ticket.queue) { Ok(ticket) } else { Err(Error::refused(Code::QueueTokenInvalid)) }
    }
}
