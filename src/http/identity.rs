//! Who asks, as the [`guard`](super::guard) has found out from the bearer token alone.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use uuid::Uuid;

use super::edge::RequestId;
use super::path::PathId;
use crate::accounts::model::Role;
use crate::app::AppState;
use crate::error::Error;
use crate::ids::UserId;

/// A signed-in user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: Role,
    /// By which sign-in; nil for tokens that no sign-in gave out.
    pub session: Uuid,
}

impl Identity {
    /// Whether what belongs to this user is to be seen: one's own, by an operator all.
    pub fn sees(&self, owner: UserId) -> bool {
        owner == self.user || self.role.operates()
    }

    /// Whose things a list is of: one's own; an operator's is of all.
    pub fn listed(&self) -> Option<UserId> {
        (!self.role.operates()).then_some(self.user)
    }
}

impl FromRequestParts<AppState> for Identity {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Error> {
        let found = parts.extensions.get().copied();
        found.ok_or_else(|| {
            Error::internal("the table of routes lets anyone in where a handler asks who it is")
        })
    }
}

/// Who acts, and in which request: what the audit log will say of it.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Who.
    pub me: Identity,
    /// `X-Request-Id`.
    pub request_id: RequestId,
}

impl Actor {
    /// Who acts without a request: what a demo begins with.
    pub fn at_start(user: UserId, role: Role) -> Self {
        Self { me: Identity { user, role, session: Uuid::nil() }, request_id: RequestId::default() }
    }
}

impl FromRequestParts<AppState> for Actor {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Error> {
        let me = Identity::from_request_parts(parts, app).await?;
        let request_id = parts.extensions.get().cloned().unwrap_or_default();
        Ok(Self { me, request_id })
    }
}

/// Who acts for the user whom the path names: himself, or an ADMIN.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Who asks.
    pub by: Actor,
    /// Whose things they are; `None` where the path holds no id (then only an ADMIN gets here).
    pub user: Option<UserId>,
}

impl FromRequestParts<AppState> for Owner {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Error> {
        let by = Actor::from_request_parts(parts, app).await?;
        let Ok(path) = PathId::<UserId>::from_request_parts(parts, app).await;
        Ok(Self { by, user: path.ok() })
    }
}
