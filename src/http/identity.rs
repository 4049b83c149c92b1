//! Who asks, from the bearer token alone; and whether his role or account may.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use uuid::Uuid;

use super::path::PathId;
use crate::accounts::model::Role;
use crate::app::AppState;
use crate::error::{Code, Error};
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

impl FromRequestParts<AppState> for Identity {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Error> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = header.and_then(|text| text.split_once(' ')).unwrap_or_default();
        let refused = || Error::refused(Code::Unauthenticated);
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(refused());
        }
        let token = app.tokens.read(token.trim(), app.clock.now_ms()).await;
        token.and_then(|token| app.sessions.now(token)).ok_or_else(refused)
    }
}

/// A set of roles, as a type.
pub trait Allowed: Send {
    /// Whether the role is in it.
    fn allows(role: Role) -> bool;
}

/// OPERATOR and ADMIN.
#[derive(Debug)]
pub struct Operators;

impl Allowed for Operators {
    fn allows(role: Role) -> bool {
        matches!(role, Role::Operator | Role::Admin)
    }
}

/// ADMIN.
#[derive(Debug)]
pub struct Admins;

impl Allowed for Admins {
    fn allows(role: Role) -> bool {
        role == Role::Admin
    }
}

/// A signed-in user whose role is in the set; else 403.
#[derive(Debug)]
pub struct Acting<A: Allowed>(pub Identity, PhantomData<A>);

impl<A: Allowed> FromRequestParts<AppState> for Acting<A> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Error> {
        let identity = Identity::from_request_parts(parts, app).await?;
        if A::allows(identity.role) {
            Ok(Self(identity, PhantomData))
        } else {
            Err(Error::refused(Code::Forbidden))
        }
    }
}

/// The user whom the path names, when he is the one who asks, or an ADMIN asks; else 403.
#[derive(Debug)]
pub struct Owner {
    /// Who asks.
    pub me: Identity,
    /// Whose things they are; `None` where the path holds no id (then only an ADMIN gets here).
    pub user: Option<UserId>,
}

impl FromRequestParts<AppState> for Owner {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Error> {
        let me = Identity::from_request_parts(parts, app).await?;
        let Ok(path) = PathId::<UserId>::from_request_parts(parts, app).await;
        let user = path.ok();
        if user == Some(me.user) || me.role == Role::Admin {
            Ok(Self { me, user })
        } else {
            Err(Error::refused(Code::Forbidden))
        }
    }
}
