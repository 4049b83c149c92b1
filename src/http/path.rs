//! Ids in paths. A malformed one is nothing's id, so it is 404 when its turn in the order of checks has come.

use std::convert::Infallible;
use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use crate::app::AppState;
use crate::error::{Code, Error};

/// The path's one parameter, parsed if it is such an id.
#[derive(Clone, Copy, Debug)]
pub struct PathId<T>(Option<T>);

impl<T: FromStr + Send> FromRequestParts<AppState> for PathId<T> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Infallible> {
        let found = RawPathParams::from_request_parts(parts, app).await;
        let only = found.as_ref().ok().and_then(|all| all.iter().next());
        Ok(Self(only.and_then(|(_, text)| text.parse().ok())))
    }
}

/// The path's one parameter as it is.
#[derive(Clone, Debug)]
pub struct PathText(pub String);

impl FromRequestParts<AppState> for PathText {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Infallible> {
        let found = RawPathParams::from_request_parts(parts, app).await;
        let only = found.as_ref().ok().and_then(|all| all.iter().next());
        Ok(Self(only.map(|(_, text)| text.to_owned()).unwrap_or_default()))
    }
}

impl<T> PathId<T> {
    /// The id, or the object's own "not found".
    pub fn or(self, missing: Code) -> Result<T, Error> {
        self.0.ok_or_else(|| Error::refused(missing))
    }

    /// The id, if it is one.
    pub fn ok(self) -> Option<T> {
        self.0
    }
}
