//! Writes that Postgres decides without a script: their idempotency record goes into their own transaction.

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use super::Journal;
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

/// Records what a request came to, in the transaction that makes it so. False when another instance was
/// first: the transaction is to be given up then.
pub async fn record<T: Serialize>(
    pg: &mut PgConnection,
    request: &Request,
    status: i16,
    body: &T,
) -> Result<bool, Error> {
    if request.key.is_none() {
        return Ok(true);
    }
    direct::insert(pg, request.op, &request.fingerprint, status, Json(body)).await
}

impl Journal {
    /// A write that Postgres decides alone: once for a key, to whichever instances it is sent, at once or one
    /// after the other. True when an earlier request with the same key did it.
    pub async fn once<T, W>(&self, request: &Request, status: i16, work: W) -> Result<(T, bool), Error>
    where
        T: Serialize + DeserializeOwned,
        W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Error>>,
    {
        let _turn = self.turn(request).await?;
        if let Some(done) = recall(&self.pool, request).await? {
            return Ok((done, true));
        }
        let mut tx = self.pool.begin().await?;
        let made = match work(&mut tx).await {
            // What is refused now may be so because another instance has just done it for this very request.
            Err(Error::Refused(refusal)) => {
                tx.rollback().await?;
                let done = recall(&self.pool, request).await?;
                return done.map(|done| (done, true)).ok_or(Error::Refused(refusal));
            }
            made => made?,
        };
        if record(&mut tx, request, status, &made).await? {
            tx.commit().await?;
            return Ok((made, false));
        }
        tx.rollback().await?;
        let done = recall(&self.pool, request).await?;
        done.map(|done| (done, true)).ok_or_else(|| Error::internal("a recorded request is gone"))
    }
}
