//! Before each handler: how often its client may ask, who he is, whether he may; and how long all may take.
//!
//! The order is the contract's: the route was found; then 429 for an address that asks too often, 401, 403,
//! 429 for a user who does; the body, the key and the rest are the handler's. What was found out is handed to
//! the handler with the request, so no handler reads a token by itself. How long it took is measured here,
//! too: another layer would cost allocations of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::access::Who;
use super::headers::QueueToken;
use super::identity::Identity;
use super::limits::{Class, Standing};
use super::meter::RouteMeter;
use super::path::PathId;
use super::peer::Peer;
use super::upload::Upload;
use crate::app::AppState;
use crate::error::{Code, Error};
use crate::ids::UserId;

/// What stands before one route.
pub struct Guard {
    app: AppState,
    who: Who,
    class: Class,
    meter: RouteMeter,
}

impl Guard {
    /// A guard for a route of this class, open to these.
    pub fn new(app: AppState, route: &'static str, who: Who, class: Class) -> Arc<Self> {
        Arc::new(Self { app, who, class, meter: RouteMeter::new(route) })
    }

    async fn admit(&self, parts: &mut Parts, standing: &mut Standing) -> Result<(), Error> {
        let Peer(peer) = parts.extensions.get().copied().unwrap_or_default();
        let client = self.app.config.limits.trusted_proxies.client(peer, &parts.headers);
        parts.extensions.insert(Peer(client));
        let limits = self.app.limits.of(self.class);
        if let Some(limits) = limits {
            standing.spend_address(limits, client)?;
        }
        let user = match self.who {
            Who::Anyone => return Ok(()),
            Who::TicketHolder => {
                let Ok(token) = QueueToken::from_request_parts(parts, &self.app).await;
                let ticket = token.ticket(&self.app)?;
                parts.extensions.insert(ticket);
                ticket.user
            }
            _ => self.identify(parts).await?,
        };
        limits.map_or(Ok(()), |limits| standing.spend_user(limits, user))
    }

    async fn identify(&self, parts: &mut Parts) -> Result<UserId, Error> {
        let app = &self.app;
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = header.and_then(|text| text.split_once(' ')).unwrap_or_default();
        let refused = || Error::refused(Code::Unauthenticated);
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(refused());
        }
        let token = app.tokens.read(token.trim(), app.clock.now_ms()).await;
        let me: Identity = token.and_then(|token| app.sessions.now(token)).ok_or_else(refused)?;
        let is_owner = self.who == Who::OwnerOrAdmin && {
            let Ok(named) = PathId::<UserId>::from_request_parts(parts, app).await;
            named.ok() == Some(me.user)
        };
        if !self.who.allows(me.role, is_owner) {
            return Err(Error::refused(Code::Forbidden));
        }
        parts.extensions.insert(me);
        Ok(me.user)
    }
}

/// The layer.
pub async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let (method, started) = (request.method().clone(), Instant::now());
    let response = guarded(&guard, request, next).await;
    guard.meter.record(&method, response.status().as_u16(), started.elapsed());
    response
}

async fn guarded(guard: &Guard, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut standing = Standing::default();
    // Whose body is read as it comes may take as long as that does.
    let limit = match parts.extensions.get::<Upload>() {
        None => guard.app.config.limits.request_timeout,
        Some(_) => Duration::MAX,
    };
    let reads = parts.method == Method::GET || parts.method == Method::HEAD;
    let answered = async {
        match guard.admit(&mut parts, &mut standing).await {
            Ok(()) => next.run(Request::from_parts(parts, body)).await,
            Err(error) => error.into_response(),
        }
    };
    let mut response = match tokio::time::timeout(limit, answered).await {
        Ok(response) => response,
        Err(_) if reads => Error::unavailable("the request takes too long").into_response(),
        Err(_) => Error::outcome_unknown("the request takes too long").into_response(),
    };
    standing.tell(response.headers_mut());
    response
}
