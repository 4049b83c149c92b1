//! Looking back: what an operation came to, and whether an entry is committed.

use std::time::Duration;

use sqlx::{PgExecutor, PgPool, Row};
use uuid::Uuid;

use crate::batch::Batcher;
use crate::error::Error;
use crate::ids::UserId;
use crate::journal::entry::{Facts, OpStep, Receipt};
use crate::redis::Shard;

/// Scopes that one look-up asks for.
const SCOPES_MAX: usize = 500;

/// A client's key in its scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyScope {
    /// Who.
    pub user: UserId,
    /// Which operation.
    pub operation: &'static str,
    /// The key.
    pub key: String,
}

/// A committed step of an operation.
#[derive(Clone, Debug)]
pub struct Recalled {
    /// Which step.
    pub op: OpStep,
    /// What the first step's request named; empty on later steps.
    pub target: String,
    /// Of the first step's request; empty on later steps.
    pub fingerprint: String,
    /// Where it stands.
    pub receipt: Receipt,
    /// When.
    pub at_ms: i64,
    /// What happened.
    pub facts: Facts,
}

/// Look-ups by key, many in a statement.
pub fn batched(pool: PgPool, answer_max: Duration) -> Batcher<KeyScope, Vec<Recalled>> {
    Batcher::spawn(SCOPES_MAX, answer_max, move |scopes: Vec<KeyScope>| {
        let pool = pool.clone();
        async move { by_key(&pool, &scopes).await }
    })
}

/// For each scope, the committed steps of all operations with that key, by operation and step.
pub async fn by_key(pool: &PgPool, scopes: &[KeyScope]) -> Result<Vec<Vec<Recalled>>, Error> {
    let rows = sqlx::query(
        "select k.ordinal, o.op, o.step, coalesce(o.target, '') as target,
                coalesce(o.fingerprint, '') as fingerprint, o.shard, o.epoch, o.seq, e.h, e.at, e.facts
         from unnest($1::uuid[], $2::text[], $3::text[]) with ordinality
             as k(user_id, operation, key, ordinal)
         join operations first
             on first.user_id = k.user_id and first.operation = k.operation and first.key = k.key
         join operations o on o.op = first.op
         join journal_entries e
             on e.at = o.at and e.shard = o.shard and e.epoch = o.epoch and e.seq = o.seq
         order by k.ordinal, o.op, o.step",
    )
    .bind(scopes.iter().map(|s| s.user).collect::<Vec<_>>())
    .bind(scopes.iter().map(|s| s.operation).collect::<Vec<_>>())
    .bind(scopes.iter().map(|s| s.key.as_str()).collect::<Vec<_>>())
    .fetch_all(pool)
    .await?;
    let mut found = vec![Vec::new(); scopes.len()];
    for row in rows {
        let ordinal: i64 = row.try_get("ordinal")?;
        found[ordinal as usize - 1].push(recalled(&row)?);
    }
    Ok(found)
}

/// The committed steps of one operation.
pub async fn by_op(pool: &PgPool, op: Uuid) -> Result<Vec<Recalled>, Error> {
    let rows = sqlx::query(
        "select o.op, o.step, coalesce(o.target, '') as target, coalesce(o.fingerprint, '') as fingerprint,
                o.shard, o.epoch, o.seq, e.h, e.at, e.facts
         from operations o
         join journal_entries e
             on e.at = o.at and e.shard = o.shard and e.epoch = o.epoch and e.seq = o.seq
         where o.op = $1 order by o.step",
    )
    .bind(op)
    .fetch_all(pool)
    .await?;
    rows.iter().map(recalled).collect()
}

fn recalled(row: &sqlx::postgres::PgRow) -> Result<Recalled, Error> {
    Ok(Recalled {
        op: OpStep { op: row.try_get("op")?, step: row.try_get::<i16, _>("step")? as u8 },
        target: row.try_get("target")?,
        fingerprint: row.try_get("fingerprint")?,
        receipt: receipt(row)?,
        at_ms: row.try_get::<chrono::DateTime<chrono::Utc>, _>("at")?.timestamp_millis(),
        facts: Facts::new(row.try_get("facts")?),
    })
}

fn receipt(row: &sqlx::postgres::PgRow) -> Result<Receipt, Error> {
    Ok(Receipt {
        shard: Shard(row.try_get::<i32, _>("shard")? as u16),
        epoch: row.try_get::<i64, _>("epoch")? as u64,
        seq: row.try_get::<i64, _>("seq")? as u64,
        hash: row.try_get::<&str, _>("h")?.parse().map_err(Error::internal)?,
    })
}

/// For each (operation, step), where it was committed, if it was.
pub async fn receipts(pg: impl PgExecutor<'_>, steps: &[OpStep]) -> Result<Vec<Option<Receipt>>, Error> {
    let rows = sqlx::query(
        "select k.ordinal, o.shard, o.epoch, o.seq, e.h
         from unnest($1::uuid[], $2::smallint[]) with ordinality as k(op, step, ordinal)
         join operations o on o.op = k.op and o.step = k.step
         join journal_entries e
             on e.at = o.at and e.shard = o.shard and e.epoch = o.epoch and e.seq = o.seq",
    )
    .bind(steps.iter().map(|s| s.op).collect::<Vec<_>>())
    .bind(steps.iter().map(|s| i16::from(s.step)).collect::<Vec<_>>())
    .fetch_all(pg)
    .await?;
    let mut found = vec![None; steps.len()];
    for row in rows {
        let ordinal: i64 = row.try_get("ordinal")?;
        found[ordinal as usize - 1] = Some(receipt(&row)?);
    }
    Ok(found)
}
