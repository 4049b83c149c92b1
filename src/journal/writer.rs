//! The ordered writer: reads each owned shard's journal after its cursor, checks number, epoch and chain, and
//! commits what follows in one transaction over all shards.
//!
//! There is no consumer group: order is the point. Two writers at once do no harm, because a transaction
//! begins by moving each cursor from where its reading began, and a shard whose cursor stands elsewhere drops
//! out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

use super::entry::Entry;
use super::lease::Owned;
use super::positions::{Position, Positions};
use super::round::{Batch, RoundConnection};
use super::table::cursor::{self, Cursor, ShardState};
use super::table::entries;
use super::told::Ends;
use super::{Journal, ack, store};
use crate::delivery::table::{Outbox, wanted};
use crate::error::Error;
use crate::ids::InstanceId;
use crate::metrics;
use crate::redis::{Shard, StreamEntry};
use crate::sabotage::Defence;

/// Entries read from one shard in a round.
const READ_MAX: usize = 500;
/// How long a reading waits for the first entry, and with it how soon a change of ownership is seen.
const BLOCK: Duration = Duration::from_millis(50);
/// How long a transaction may take before its connection is given up.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(50);
/// From round to round, at least, while a round has more than one entry: a transaction costs Postgres as much
/// as twenty rows, and who comes alone does not wait.
const ROUND_MIN: Duration = Duration::from_millis(2);
/// How old the kinds may be that the log goes by.
const KINDS_AGE_MAX: Duration = Duration::from_secs(1);

/// The writer of one instance.
pub struct Writer {
    journal: Arc<Journal>,
    options: PgConnectOptions,
    connection: Option<RoundConnection>,
    owned: Owned,
    positions: Arc<Positions>,
    synced: Instant,
    /// What was committed, is told to others, and is not in the log yet.
    told: Outbox,
    /// Kinds of notices that anybody is told, as they were a moment ago.
    kinds: Option<(Instant, BTreeSet<String>)>,
    /// How far Postgres is, which the shards are to be told.
    ends: Ends,
    /// When the last round began, and whether it had many entries.
    last: (Instant, bool),
}

impl Writer {
    /// A writer with a connection of its own.
    pub fn new(
        journal: Arc<Journal>,
        options: PgConnectOptions,
        owned: Owned,
        positions: Arc<Positions>,
    ) -> Self {
        let (synced, ends) = (Instant::now(), Ends::default());
        let last = (synced, false);
        Self {
            journal,
            options,
            connection: None,
            owned,
            positions,
            synced,
            told: Outbox::default(),
            kinds: None,
            ends,
            last,
        }
    }

    /// Rounds until stopped; then until nothing is left to commit, for at most `drain`.
    pub async fn run(mut self, stop: CancellationToken, drain: Duration) {
        let mut deadline = None;
        loop {
            let ended = self.round().await;
            if stop.is_cancelled() {
                let until = *deadline.get_or_insert_with(|| Instant::now() + drain);
                if matches!(ended, Ok(0)) || Instant::now() > until {
                    break;
                }
            }
            if let Err(error) = ended {
                tracing::warn!(%error, "a writer's round failed");
                self.connection = None;
                tokio::time::sleep(PAUSE).await;
            }
        }
        if let Some(connection) = self.connection.take() {
            drop(connection.pg.close().await);
        }
    }

    /// One round: how many entries were committed.
    pub async fn round(&mut self) -> Result<usize, Error> {
        let synced = tokio::time::timeout(COMMIT_TIMEOUT, self.sync()).await;
        synced.map_err(|_| Error::unavailable("postgres does not say where the cursors are"))??;
        let cursors = self.live_cursors();
        self.journal.familiar.sees(cursors.len() == usize::from(self.journal.shards.count()));
        if cursors.is_empty() {
            tokio::time::sleep(BLOCK).await;
            return Ok(0);
        }
        if let (begun, true) = self.last {
            tokio::time::sleep(ROUND_MIN.saturating_sub(begun.elapsed())).await;
        }
        let begun = Instant::now();
        let batches = self.read(cursors).await?;
        self.last = (begun, batches.iter().map(|batch| batch.entries.len()).sum::<usize>() > 1);
        if batches.is_empty() {
            self.ends.tell(&self.journal).await;
            return Ok(0);
        }
        let started = Instant::now();
        let committed = self.commit_or_single_out(batches).await?;
        let count = committed.iter().map(|batch| batch.entries.len()).sum();
        if count > 0 {
            metrics::batch(count, started.elapsed());
            self.announce(&committed).await;
        }
        // Nobody waits for a log.
        self.log().await;
        Ok(count)
    }

    /// Follows ownership, and reads cursors that are not known from Postgres.
    async fn sync(&mut self) -> Result<(), Error> {
        let owned: BTreeSet<Shard> = self.owned.borrow().clone();
        let missing: Vec<Shard> = {
            let mut known = self.positions.map();
            known.retain(|shard, _| owned.contains(shard));
            let lives = |position: &Position| position.cursor.state == ShardState::Live;
            owned.into_iter().filter(|shard| !known.get(shard).is_some_and(lives)).collect()
        };
        if missing.is_empty() || self.synced.elapsed() < PAUSE {
            return Ok(());
        }
        self.synced = Instant::now();
        // Others may have committed what this writer has not seen.
        self.journal.familiar.sees(false);
        for shard in missing {
            let cursor = cursor::one(&mut self.postgres().await?.pg, shard).await?;
            self.journal.shards.learn(&cursor);
            self.positions.set(cursor);
        }
        Ok(())
    }

    fn live_cursors(&self) -> Vec<Cursor> {
        let known = self.positions.map();
        let readable = known.values().filter(|p| p.cursor.state == ShardState::Live && !p.broken);
        let mut live: Vec<_> = readable.map(|position| position.cursor.clone()).collect();
        live.sort_by_key(|cursor| cursor.shard);
        live
    }

    async fn read(&mut self, cursors: Vec<Cursor>) -> Result<Vec<Batch>, Error> {
        let streams: Vec<(String, String)> = cursors
            .iter()
            .map(|cursor| {
                let space = self.journal.shards.space(cursor.shard, cursor.epoch);
                (store::journal(&space).into_string(), format!("{}-{}", cursor.epoch, cursor.seq))
            })
            .collect();
        let mut found: HashMap<String, Vec<StreamEntry>> =
            self.journal.redis.read_streams(&streams, READ_MAX, BLOCK).await?.into_iter().collect();
        let mut batches = Vec::new();
        let chained = !self.journal.limits.sabotage.lacks(Defence::Chain);
        for (cursor, (key, _)) in cursors.into_iter().zip(&streams) {
            let Some(raw) = found.remove(key) else { continue };
            let (entries, broken) = follow(&cursor, &raw, chained);
            if let Some(why) = broken {
                self.give_up(cursor.shard, cursor.epoch, &why);
            }
            if !entries.is_empty() {
                batches.push(Batch { cursor, entries });
            }
        }
        Ok(batches)
    }

    /// The journal does not follow: the keeper rebuilds the shard.
    fn give_up(&self, shard: Shard, epoch: u64, why: &str) {
        tracing::error!(%shard, epoch, why, "the journal does not follow; the shard is to be rebuilt");
        metrics::fork(shard, "chain");
        if let Some(position) = self.positions.map().get_mut(&shard) {
            position.broken = position.cursor.epoch == epoch;
        }
    }

    /// Commits the batches; what Postgres refuses is halved until the entry is found that it refuses.
    async fn commit_or_single_out(&mut self, batches: Vec<Batch>) -> Result<Vec<Batch>, Error> {
        let mut committed = Vec::new();
        let mut waiting = vec![batches];
        while let Some(round) = waiting.pop() {
            let why = match self.commit(&round).await {
                Ok(moved) => {
                    committed.extend(self.moved(round, &moved));
                    continue;
                }
                Err(Error::Internal(why)) => why,
                Err(error) => {
                    committed.extend(self.after_unknown_commit(round).await?);
                    tracing::warn!(%error, "a commit's outcome was unknown; the cursors were read again");
                    continue;
                }
            };
            self.connection = None;
            let mut round = round;
            if round.len() > 1 {
                waiting.extend(round.into_iter().map(|batch| vec![batch]));
            } else if let Some(batch) = round.pop() {
                if let [entry] = batch.entries.as_slice() {
                    self.quarantine(entry, &why).await?;
                } else {
                    let (first, second) = batch.halves();
                    // The last pushed is the first tried, and the second half cannot go before the first.
                    waiting.push(vec![second]);
                    waiting.push(vec![first]);
                }
            }
        }
        Ok(committed)
    }

    /// One transaction. Which shards' cursors moved.
    async fn commit(&mut self, batches: &[Batch]) -> Result<Vec<Shard>, Error> {
        let sabotage = &self.journal.limits.sabotage;
        if !sabotage.lacks(Defence::Notes) {
            let entries = batches.iter().flat_map(|batch| &batch.entries);
            self.journal.familiar.note(entries.map(|entry| &entry.facts));
        }
        let blind = sabotage.lacks(Defence::CompareAndSet);
        let codes = self.journal.codes.clone();
        let transaction = self.postgres().await?.commit(batches, &codes, blind);
        let ended = tokio::time::timeout(COMMIT_TIMEOUT, transaction).await;
        let (moved, changes) = ended.map_err(|_| Error::unavailable("postgres did not commit in time"))??;
        self.told.append(changes.outbox());
        Ok(moved)
    }

    /// Takes note of the cursors that moved; those that did not are read again.
    fn moved(&self, batches: Vec<Batch>, moved: &[Shard]) -> Vec<Batch> {
        let mut known = self.positions.map();
        let (committed, lost): (Vec<_>, Vec<_>) =
            batches.into_iter().partition(|batch| moved.contains(&batch.cursor.shard));
        for batch in &committed {
            let (seq, hash) = batch.end();
            if let Some(position) = known.get_mut(&batch.cursor.shard) {
                position.cursor = Cursor { seq, hash, ..batch.cursor.clone() };
            }
        }
        for batch in lost {
            tracing::info!(shard = %batch.cursor.shard, "another writer moved the cursor");
            known.remove(&batch.cursor.shard);
        }
        committed
    }

    /// The connection broke around the commit: whether it took place stands in the cursors.
    async fn after_unknown_commit(&mut self, batches: Vec<Batch>) -> Result<Vec<Batch>, Error> {
        self.connection = None;
        let mut moved = Vec::new();
        for batch in &batches {
            let shard = batch.cursor.shard;
            let cursor = cursor::one(&mut self.postgres().await?.pg, shard).await?;
            let arrived = cursor.epoch == batch.cursor.epoch && (cursor.seq, cursor.hash) == batch.end();
            if arrived {
                moved.push(shard);
            }
        }
        Ok(self.moved(batches, &moved))
    }

    /// Keeps the entry that Postgres refused, and fences the shard by giving it the next epoch: nobody was
    /// told yes about this entry, or about anything that was built on it.
    async fn quarantine(&mut self, entry: &Entry, why: &str) -> Result<(), Error> {
        let (shard, epoch) = (entry.receipt.shard, entry.receipt.epoch);
        let Some(position) = self.positions.get(shard) else { return Ok(()) };
        tracing::error!(%shard, epoch, seq = entry.receipt.seq, kind = entry.kind, op = %entry.op.op, why,
            "postgres refused a journal entry; it is quarantined and the shard rebuilt");
        metrics::fork(shard, "quarantine");
        self.positions.forget(shard);
        let mut tx = self.postgres().await?.pg.begin().await?;
        entries::quarantine(&mut tx, entry, why).await?;
        super::rebuild::fence_off(&mut tx, &position.cursor, "postgres refused an entry").await?;
        tx.commit().await?;
        Ok(())
    }

    /// Wakes who waits here, tells the other instances, and tells the shards how far Postgres is.
    async fn announce(&mut self, committed: &[Batch]) {
        let me = self.journal.me;
        let mut elsewhere: BTreeMap<InstanceId, Vec<&Entry>> = BTreeMap::new();
        for entry in committed.iter().flat_map(|batch| &batch.entries) {
            if entry.origin == me {
                self.journal.acks.committed(entry.op, entry.receipt);
            } else {
                elsewhere.entry(entry.origin).or_default().push(entry);
            }
        }
        for (origin, entries) in elsewhere {
            let message = ack::message(entries.iter().map(|entry| (entry.op, &entry.receipt)));
            let channel = ack_channel(origin);
            if let Err(error) = self.journal.redis.publish(&channel, message).await {
                tracing::debug!(%error, "publishing acknowledgements");
            }
        }
        for batch in committed {
            self.ends.add(batch.cursor.shard, batch.cursor.epoch, batch.end().0);
        }
        self.ends.tell_in_time(&self.journal);
    }

    /// Tells the log what others are told.
    async fn log(&mut self) {
        if self.told.is_empty() {
            return;
        }
        if self.kinds.as_ref().is_none_or(|(asked, _)| asked.elapsed() > KINDS_AGE_MAX) {
            let asked = async { wanted(&mut self.postgres().await?.pg).await };
            let asked = tokio::time::timeout(COMMIT_TIMEOUT, asked).await;
            match asked.unwrap_or_else(|_| Err(Error::unavailable("postgres does not answer"))) {
                Ok(kinds) => self.kinds = Some((Instant::now(), kinds)),
                Err(error) => {
                    self.connection = None;
                    tracing::debug!(%error, "asking what others are told");
                }
            }
        }
        let told = std::mem::take(&mut self.told);
        if let Some((_, kinds)) = &self.kinds {
            told.log(kinds);
        }
    }

    async fn postgres(&mut self) -> Result<&mut RoundConnection, Error> {
        if self.connection.is_none() {
            let connecting = tokio::time::timeout(COMMIT_TIMEOUT, RoundConnection::open(&self.options)).await;
            self.connection = Some(connecting.map_err(|_| Error::unavailable("postgres does not answer"))??);
        }
        self.connection.as_mut().ok_or_else(|| Error::unavailable("no connection to postgres"))
    }
}

/// Where an instance hears of its acknowledgements.
pub fn ack_channel(instance: InstanceId) -> String {
    format!("onrush:ack:{instance}")
}

/// The entries that follow the cursor, and why the rest does not.
fn follow(cursor: &Cursor, raw: &[StreamEntry], chained: bool) -> (Vec<Entry>, Option<String>) {
    let mut entries = Vec::with_capacity(raw.len());
    let (mut seq, mut hash) = (cursor.seq, cursor.hash);
    for raw in raw {
        let entry = match Entry::read(cursor.shard, raw) {
            Ok(entry) => entry,
            Err(error) => return (entries, Some(error.to_string())),
        };
        let at = entry.receipt;
        if at.epoch != cursor.epoch || at.seq != seq + 1 || (chained && entry.previous != hash) {
            let why =
                format!("{} with p {} follows {}-{seq} with h {hash}", raw.id, entry.previous, cursor.epoch);
            return (entries, Some(why));
        }
        (seq, hash) = (at.seq, at.hash);
        entries.push(entry);
    }
    (entries, None)
}
