//! Operations and entries: what a round adds, and what it refuses.

use sqlx::PgConnection;

use crate::error::Error;
use crate::journal::entry::Entry;

/// Inserts the entries of a round, and the operations that they are of. A duplicate is an error: something
/// happened twice. One statement, since a round with few entries costs what its statements cost.
pub async fn insert(pg: &mut PgConnection, entries: &[&Entry]) -> Result<(), Error> {
    let mut requested = Vec::with_capacity(entries.len());
    for entry in entries {
        requested.push(entry.facts.requested().map_err(Error::internal)?);
    }
    let text = |pick: fn(&crate::journal::event::Requested) -> &str| {
        requested.iter().map(|r| r.as_ref().map(|r| pick(r).to_owned())).collect::<Vec<Option<String>>>()
    };
    sqlx::query(
        "with entry as (
             select * from unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::text[], $5::text[], $6::text[],
                 $7::text[], $8::int[], $9::bigint[], $10::bigint[], $11::timestamptz[], $12::uuid[],
                 $13::text[], $14::text[], $15::text[], $16::text[])
                 as e(op, step, user_id, operation, key, target, fingerprint, shard, epoch, seq, at, origin,
                     kind, facts, p, h)
         ), written as (
             insert into journal_entries (shard, epoch, seq, op, step, origin, kind, at, facts, p, h)
             select shard, epoch, seq, op, step, origin, kind, at, facts, p, h from entry
         )
         insert into operations
             (op, step, user_id, operation, key, target, fingerprint, shard, epoch, seq, at)
         select op, step, user_id, operation, key, target, fingerprint, shard, epoch, seq, at from entry",
    )
    .bind(entries.iter().map(|e| e.op.op).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| i16::from(e.op.step)).collect::<Vec<_>>())
    .bind(requested.iter().map(|r| r.as_ref().map(|r| r.user)).collect::<Vec<_>>())
    .bind(text(|r| &r.operation.0))
    .bind(text(|r| &r.key.0))
    .bind(text(|r| &r.target.0))
    .bind(text(|r| &r.fingerprint.0))
    .bind(entries.iter().map(|e| e.receipt.shard.as_i32()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.receipt.epoch as i64).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.receipt.seq as i64).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.at()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.origin.uuid()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.facts.as_str()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.previous.to_string()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.receipt.hash.to_string()).collect::<Vec<_>>())
    .execute(pg)
    .await?;
    Ok(())
}

/// Keeps an entry that Postgres refused, with the reason.
pub async fn quarantine(pg: &mut PgConnection, entry: &Entry, error: &str) -> Result<(), Error> {
    sqlx::query(
        "insert into quarantine (shard, epoch, seq, op, kind, facts, error) values ($1, $2, $3, $4, $5, $6, $7)
         on conflict do nothing",
    )
    .bind(entry.receipt.shard.as_i32())
    .bind(entry.receipt.epoch as i64)
    .bind(entry.receipt.seq as i64)
    .bind(entry.op.op)
    .bind(&entry.kind)
    .bind(entry.facts.as_str())
    .bind(error)
    .execute(pg)
    .await?;
    Ok(())
}
