//! Looking back: what an operation came to, and whether an entry is committed.

use aws_lc_rs::digest;
use sqlx::{PgExecutor, PgPool, Row};
use uuid::Uuid;

use crate::error::Error;
use crate::ids::UserId;
use crate::journal::entry::{Facts, OpStep, Receipt};
use crate::journal::event::Requested;
use crate::redis::Shard;

/// A client's key in its scope.
#[derive(Clone, Debug)]
pub struct KeyScope {
    /// Who.
    pub user: UserId,
    /// What it is found by.
    pub number: KeyNumber,
    operation: &'static str,
    key: String,
}

impl KeyScope {
    /// Which key, of whom, for which operation.
    pub fn new(user: UserId, operation: &'static str, key: &str) -> Self {
        Self { user, number: KeyNumber::of(user, operation, key), operation, key: key.to_owned() }
    }

    fn is_of(&self, asked: &Requested) -> bool {
        self.user == asked.user && self.operation == asked.operation.0 && self.key == asked.key.0
    }
}

/// What an operation is found by: its user in the upper half, so that all keys of a user stand together, and
/// the key in the lower. Two scopes may have one number, and are told apart by their entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyNumber(pub i64);

impl KeyNumber {
    /// Of a key in its scope.
    fn of(user: UserId, operation: &str, key: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, format!("{user}\n{operation}\n{key}").as_bytes());
        let mut lower = [0; 4];
        lower.copy_from_slice(&hash.as_ref()[4..8]);
        Self(Self::first_of(user).0 | i64::from(u32::from_be_bytes(lower)))
    }

    /// Of the key that an entry came with.
    pub fn asked(by: &Requested) -> Self {
        Self::of(by.user, &by.operation.0, &by.key.0)
    }

    /// The lowest that a user may have.
    fn first_of(user: UserId) -> Self {
        // The last bytes of an id are random, and spread best.
        let [.., a, b, c, d] = user.uuid().into_bytes();
        Self(i64::from(i32::from_be_bytes([a, b, c, d])) << 32)
    }

    /// The key's half.
    pub fn of_key(self) -> u32 {
        self.0 as u32
    }
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

/// For each user the keys' halves of what he has asked for, `most` of them at most. Another's may be among
/// them.
pub async fn keys_of(pool: &PgPool, users: &[UserId], most: usize) -> Result<Vec<Vec<u32>>, Error> {
    let first: Vec<i64> = users.iter().map(|user| KeyNumber::first_of(*user).0).collect();
    let rows = sqlx::query(
        "select k.ordinal, o.scope
         from unnest($1::bigint[]) with ordinality as k(first, ordinal)
         cross join lateral (
             select scope from operations where scope between k.first and k.first + 4294967295 limit $2
         ) as o",
    )
    .bind(first)
    .bind(most as i64)
    .fetch_all(pool)
    .await?;
    let mut found = vec![Vec::new(); users.len()];
    for row in rows {
        let ordinal: i64 = row.try_get("ordinal")?;
        found[ordinal as usize - 1].push(KeyNumber(row.try_get("scope")?).of_key());
    }
    Ok(found)
}

/// For each scope, the committed steps of all operations with that key, by operation and step.
pub async fn by_key(pool: &PgPool, scopes: &[KeyScope]) -> Result<Vec<Vec<Recalled>>, Error> {
    let numbers = scopes.iter().map(|scope| scope.number.0).collect::<Vec<_>>();
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
