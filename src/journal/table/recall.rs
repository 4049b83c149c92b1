//! Looking back: what an operation came to, and whether an entry is committed.

use std::time::Duration;

use aws_lc_rs::digest;
use sqlx::{PgExecutor, PgPool, Row};
use uuid::Uuid;

use crate::batch::Batcher;
use crate::error::Error;
use crate::ids::UserId;
use crate::journal::entry::{Facts, OpStep, Receipt};
use crate::journal::event::Requested;
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

impl KeyScope {
    fn is_of(&self, asked: &Requested) -> bool {
        self.user == asked.user && self.operation == asked.operation.0 && self.key == asked.key.0
    }
}

/// What an operation is found by: two scopes may have one number, and are told apart by their entries.
pub fn scope_number(user: UserId, operation: &str, key: &str) -> i64 {
    let hash = digest::digest(&digest::SHA256, format!("{user}\n{operation}\n{key}").as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_ref()[..8]);
    i64::from_be_bytes(first)
}

/// A committed step of an operation.
#[derive(Clone, Debug)]
pub struct Recalled {
    /// Which step.
    pub op: OpStep,
    /// Who asked, in the first step of an operation that came with a key.
    pub requested: Option<Requested>,
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
    let numbers = scopes.iter().map(|s| scope_number(s.user, s.operation, &s.key)).collect::<Vec<_>>();
    let mut found = vec![Vec::<Recalled>::new(); scopes.len()];
    // Nearly all keys are new, and to begin with the entries, which lie in many partitions, costs twice as
    // much as this.
    let known = sqlx::query("select from operations where scope = any($1) limit 1").bind(&numbers);
    if known.fetch_optional(pool).await?.is_none() {
        return Ok(found);
    }
    // Each step follows from the one before it, and `offset 0` keeps it so: a plan that was made while the
    // tables were empty would begin with all operations, and go on doing so when there are many.
    let rows = sqlx::query(
        "select k.ordinal, o.op, o.step, o.shard, o.epoch, o.seq, e.h, e.at, e.facts
         from unnest($1::bigint[]) with ordinality as k(scope, ordinal)
         cross join lateral (select op from operations where scope = k.scope offset 0) as first
         cross join lateral (select * from operations where op = first.op offset 0) as o
         cross join lateral (
             select h, at, facts from journal_entries
             where at = o.at and shard = o.shard and epoch = o.epoch and seq = o.seq offset 0
         ) as e
         order by k.ordinal, o.op, o.step",
    )
    .bind(numbers)
    .fetch_all(pool)
    .await?;
    for row in rows {
        let at = row.try_get::<i64, _>("ordinal")? as usize - 1;
        let step = recalled(&row)?;
        // Later steps follow the first, which says whose they are.
        let is_his = match &step.requested {
            Some(asked) => scopes[at].is_of(asked),
            None => found[at].last().is_some_and(|before| before.op.op == step.op.op),
        };
        if is_his {
            found[at].push(step);
        }
    }
    Ok(found)
}

/// The committed steps of one operation.
pub async fn by_op(pool: &PgPool, op: Uuid) -> Result<Vec<Recalled>, Error> {
    let rows = sqlx::query(
        "select o.op, o.step, o.shard, o.epoch, o.seq, e.h, e.at, e.facts
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
    let facts = Facts::new(row.try_get("facts")?);
    Ok(Recalled {
        op: OpStep { op: row.try_get("op")?, step: row.try_get::<i16, _>("step")? as u8 },
        requested: facts.requested().map_err(Error::internal)?,
        receipt: receipt(row)?,
        at_ms: row.try_get::<chrono::DateTime<chrono::Utc>, _>("at")?.timestamp_millis(),
        facts,
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
