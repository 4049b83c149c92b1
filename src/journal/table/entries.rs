//! Operations and entries: what a round adds, and what it refuses.

use sqlx::PgConnection;

use crate::error::Error;
use crate::journal::entry::Entry;
use crate::journal::table::recall::KeyNumber;
use crate::journal::table::statements::Statements;

/// Inserts entries, and the operations that they are of.
pub async fn insert(pg: &mut PgConnection, entries: &[&Entry]) -> Result<(), Error> {
    let mut each = Statements::each();
    say(&mut each, entries)?;
    each.make(pg).await
}

/// Says the entries of a round, and the operations that they are of. A duplicate is an error: something
/// happened twice. One statement, since a round with few entries costs what its statements cost.
pub fn say(to: &mut Statements, entries: &[&Entry]) -> Result<(), Error> {
    let mut scopes = Vec::with_capacity(entries.len());
    for entry in entries {
        let requested = entry.facts.requested().map_err(Error::internal)?;
        scopes.push(requested.map(|asked| KeyNumber::asked(&asked).0));
    }
    to.say(
        "add_entries",
        "with entry as (
             select * from unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::int[], $5::bigint[],
                 $6::bigint[], $7::timestamptz[], $8::uuid[], $9::text[], $10::text[], $11::text[],
                 $12::text[])
                 as e(op, step, scope, shard, epoch, seq, at, origin, kind, facts, p, h)
         ), written as (
             insert into journal_entries (shard, epoch, seq, op, step, origin, kind, at, facts, p, h)
             select shard, epoch, seq, op, step, origin, kind, at, facts, p, h from entry
         )
         insert into operations (op, step, scope, shard, epoch, seq, at)
         select op, step, scope, shard, epoch, seq, at from entry",
    )
    .bind(entries.iter().map(|e| e.op.op).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| i16::from(e.op.step)).collect::<Vec<_>>())
    .bind(scopes)
    .bind(entries.iter().map(|e| e.receipt.shard.as_i32()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.receipt.epoch as i64).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.receipt.seq as i64).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.at()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.origin.uuid()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.facts.as_str()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.previous.to_string()).collect::<Vec<_>>())
    .bind(entries.iter().map(|e| e.receipt.hash.to_string()).collect::<Vec<_>>());
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
