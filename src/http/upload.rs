//! Bodies that are longer than a request's may be: their handler reads them as they come. What it leaves
//! unread, because the request is refused, is read and dropped for a while, like any other body.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use bytes::Bytes;
use futures::{Stream, StreamExt};

use crate::app::AppState;
use crate::error::{Code, Error};

/// A body that waits for its handler.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    body: Arc<Mutex<Option<Body>>>,
    media_type: String,
    length: Option<u64>,
}

impl Upload {
    /// Whether a request's body is read by its handler.
    pub fn is_one(request: &Request) -> bool {
        request.method() == Method::POST && request.uri().path().ends_with("/imports")
    }

    /// Puts a body aside.
    pub fn new(headers: &HeaderMap, body: Body) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let media_type = text(header::CONTENT_TYPE).and_then(|text| text.split(';').next());
        Self {
            body: Arc::new(Mutex::new(Some(body))),
            media_type: media_type.unwrap_or_default().trim().to_ascii_lowercase(),
            length: text(header::CONTENT_LENGTH).and_then(|text| text.parse().ok()),
        }
    }

    /// 415 where it is of another type.
    pub fn of_type(self, media_type: &str) -> Result<Self, Error> {
        let message =
            || Error::because(Code::UnsupportedMediaType, format!("Send the body as `{media_type}`."));
        if self.media_type == media_type { Ok(self) } else { Err(message()) }
    }

    /// Bytes to come, where the client says so.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// What is left of it; nothing once somebody has it.
    pub fn take(&self) -> Option<Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Its pieces. One that does not come in time ends it.
    pub fn pieces(self, patience: Duration) -> impl Stream<Item = Result<Bytes, Error>> + Unpin + Send {
        let cut_off = || Error::because(Code::InvalidRequest, "The body was cut off.");
        let body = self.take().unwrap_or_default().into_data_stream();
        let next = move |mut body: axum::body::BodyDataStream| async move {
            match tokio::time::timeout(patience, body.next()).await {
                Ok(None) => None,
                Ok(Some(Ok(piece))) => Some((Ok(piece), body)),
                Ok(Some(Err(_))) | Err(_) => Some((Err(cut_off()), body)),
            }
        };
        Box::pin(futures::stream::unfold(body, next).fuse())
    }

    /// Reads and drops what nobody has taken, within limits.
    pub async fn drain(&self, bytes_max: usize, patience: Duration) {
        let Some(body) = self.take() else { return };
        drop_rest(&mut body.into_data_stream(), bytes_max, patience).await;
    }
}

/// So many times the limit of a body is read and dropped before a client that still sends is let go.
pub const DISCARD_TIMES: usize = 64;

/// Reads and drops, for a while, up to so many times `bytes_max`.
pub async fn drop_rest<E>(
    pieces: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    bytes_max: usize,
    patience: Duration,
) {
    let dropping = async {
        let mut dropped = 0;
        while let Some(Ok(piece)) = pieces.next().await {
            dropped += piece.len();
            if dropped > bytes_max * DISCARD_TIMES {
                break;
            }
        }
    };
    drop(tokio::time::timeout(patience, dropping).await);
}

impl FromRequestParts<AppState> for Upload {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}
