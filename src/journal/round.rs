//! A round of the writer: what follows in each shard, in one transaction.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::changes::Changes;
use super::entry::{ChainHash, Entry};
use super::table::cursor::{self, Advance, Cursor};
use super::table::entries;
use super::table::statements::{Functions, Statements};
use crate::coupons::codes::Codes;
use crate::error::Error;
use crate::redis::Shard;

/// What a round adds to one shard.
pub struct Batch {
    /// Where the shard stands before.
    pub cursor: Cursor,
    /// What follows; at least one.
    pub entries: Vec<Entry>,
}

impl Batch {
    /// Where the shard stands then.
    pub fn end(&self) -> (u64, ChainHash) {
        let last = self.entries.last().map(|entry| (entry.receipt.seq, entry.receipt.hash));
        last.unwrap_or((self.cursor.seq, self.cursor.hash))
    }

    fn advance(&self) -> Advance {
        Advance {
            shard: self.cursor.shard,
            epoch: self.cursor.epoch,
            from: (self.cursor.seq, self.cursor.hash),
            to: self.end(),
        }
    }

    /// Cuts the batch in two that follow each other.
    pub fn halves(mut self) -> (Batch, Batch) {
        let rest = self.entries.split_off(self.entries.len().div_ceil(2));
        let (seq, hash) = self.end();
        let cursor = Cursor { seq, hash, ..self.cursor.clone() };
        (self, Batch { cursor, entries: rest })
    }
}

/// A connection that rounds are committed on.
pub struct RoundConnection {
    /// The connection.
    pub pg: PgConnection,
    /// `None` where the database allows none.
    functions: Option<Functions>,
}

impl RoundConnection {
    /// Connects.
    pub async fn open(options: &PgConnectOptions) -> Result<Self, Error> {
        let mut pg = options.connect().await?;
        let functions = Functions::of(&mut pg).await?;
        Ok(Self { pg, functions })
    }

    /// One transaction: which shards' cursors moved, and what was changed with them. `blind` is a negative
    /// control's: cursors move wherever they stand.
    pub async fn commit(
        &mut self,
        batches: &[Batch],
        codes: &Codes,
        blind: bool,
    ) -> Result<(Vec<Shard>, Changes), Error> {
        if !blind && let Some(changes) = commit_together(self, batches, codes).await? {
            return Ok((batches.iter().map(|batch| batch.cursor.shard).collect(), changes));
        }
        commit_stepwise(&mut self.pg, batches, codes, blind).await
    }
}

/// All that a round says in one call, as long as every cursor stands where it did; `None` when one does
/// not, or where the database does not allow such calls.
async fn commit_together(
    to: &mut RoundConnection,
    batches: &[Batch],
    codes: &Codes,
) -> Result<Option<Changes>, Error> {
    let Some(functions) = &mut to.functions else { return Ok(None) };
    let entries: Vec<&Entry> = batches.iter().flat_map(|batch| &batch.entries).collect();
    let changes = Changes::fold(&entries).map_err(Error::internal)?;
    changes.learn(&mut to.pg, codes).await?;
    let mut statements = Statements::together();
    cursor::say_advance(&mut statements, &batches.iter().map(Batch::advance).collect::<Vec<_>>());
    entries::say(&mut statements, &entries)?;
    changes.say(&mut statements, codes)?;
    let made = statements.make_together(&mut to.pg, functions).await?;
    Ok(made.then_some(changes))
}

/// The same, but a batch whose cursor stands elsewhere drops out.
async fn commit_stepwise(
    pg: &mut PgConnection,
    batches: &[Batch],
    codes: &Codes,
    blind: bool,
) -> Result<(Vec<Shard>, Changes), Error> {
    let mut tx = pg.begin().await?;
    let mut steps: Vec<Advance> = batches.iter().map(Batch::advance).collect();
    if blind {
        for step in &mut steps {
            let now = cursor::one(&mut tx, step.shard).await?;
            step.from = (now.seq, now.hash);
        }
    }
    let moved = cursor::advance(&mut tx, &steps).await?;
    let kept = batches.iter().filter(|batch| moved.contains(&batch.cursor.shard));
    let kept: Vec<&Entry> = kept.flat_map(|batch| &batch.entries).collect();
    let changes = Changes::fold(&kept).map_err(Error::internal)?;
    if !kept.is_empty() {
        entries::insert(&mut tx, &kept).await?;
        changes.make(&mut tx, codes).await?;
        tx.commit().await?;
    }
    Ok((moved, changes))
}
