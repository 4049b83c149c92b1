//! Writes that Postgres decides without a script: their idempotency record goes into their own transaction.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use super::request::Request;
use super::table::direct;
use crate::error::{Code, Error};

/// What the same request came to before; none without a key.
pub async fn recall<T: DeserializeOwned>(pool: &PgPool, request: &Request) -> Result<Option<T>, Error> {
    if request.key.is_none() {
        return Ok(None);
    }
    let Some((fingerprint, body)) = direct::find(pool, request.op).await? else { return Ok(None) };
    if fingerprint != request.fingerprint {
        return Err(Error::refused(Code::IdempotencyKeyReused));
    }
    serde_json::from_value(body).map(Some).map_err(Error::internal)
}

/// Records what a request came to, in the transaction that makes it so.
pub async fn record<T: Serialize>(
    pg: &mut PgConnection,
    request: &Request,
    status: i16,
    body: &T,
) -> Result<(), Error> {
    if request.key.is_none() {
        return Ok(());
    }
    direct::insert(pg, request.op, &request.fingerprint, status, Json(body)).await
}
