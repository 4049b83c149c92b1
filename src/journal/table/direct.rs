//! What direct requests came to.

use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::error::Error;

/// The fingerprint and the answer of an operation.
pub async fn find(pool: &PgPool, op: Uuid) -> Result<Option<(String, serde_json::Value)>, Error> {
    let row = sqlx::query("select fingerprint, body from direct_requests where op = $1")
        .bind(op)
        .fetch_optional(pool)
        .await?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

/// Records an operation. False when another instance has recorded it meanwhile: the transaction is to be
/// given up then.
pub async fn insert<T: Serialize>(
    pg: &mut PgConnection,
    op: Uuid,
    fingerprint: &str,
    status: i16,
    body: Json<&T>,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "insert into direct_requests (op, fingerprint, status, body) values ($1, $2, $3, to_jsonb($4))
         on conflict do nothing",
    )
    .bind(op)
    .bind(fingerprint)
    .bind(status)
    .bind(serde_json::to_value(body.0).map_err(Error::internal)?)
    .execute(pg)
    .await?;
    Ok(done.rows_affected() == 1)
}
