//! The other way round: Postgres takes over what Redis knows, where it was restored from an older backup and
//! an operator believes Redis (`onrush rebuild --accept-redis`).
//!
//! Redis knows how things stand: balances, seats, places, what was decided in the last day, what happened in
//! the last quarter of an hour. It does not know history. So what follows from how things stand is
//! written, in one transaction over all fenced shards, and what a ledger lacks is booked as one row. Before
//! the commit it is compared, as `onrush verify` does it: if a rebuild from these rows would not give what
//! Redis has, nothing is changed and the differences are told.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::compare::compare;
use super::entry::{ChainHash, Entry, Facts, OpStep, Receipt};
use super::loader::Loader;
use super::moment::Raw;
use super::table::statements::Statements;
use super::table::{cursor, entries, recall};
use super::verify::{Differences, books};
use super::{Journal, changes, rebuild, store};
use crate::audit;
use crate::error::Error;
use crate::ids::UserId;
use crate::redis::{Key, ScanPlace, Shard, Space, keys};
use crate::{concerts, coupons, orders, payments, queue, ranking, rewards, seats, wallet};

/// Entries of a journal that are read at a time.
const ENTRIES_PAGE: usize = 5_000;

/// What Redis keeps of one shard.
pub struct Kept {
    /// The shard, in the epoch that Redis has.
    pub space: Space,
    /// Redis' time when it was read, in milliseconds.
    pub now_ms: i64,
    /// The last entry's number.
    pub last: u64,
    /// What happened lately, as far as the journal goes back.
    lately: Vec<Entry>,
    contents: BTreeMap<String, Raw>,
}

impl Kept {
    /// A key as a map; empty where there is no such key.
    pub fn hash<K: FromStr + Ord, V: FromStr>(&self, key: &Key) -> Result<BTreeMap<K, V>, Error> {
        let raw = self.contents.get(key.as_str()).map(Raw::flat).unwrap_or_default();
        let read = |(field, value): (String, String)| Some((field.parse().ok()?, value.parse().ok()?));
        let count = raw.len();
        let hash: BTreeMap<K, V> = raw.into_iter().filter_map(read).collect();
        if hash.len() == count { Ok(hash) } else { Err(bad(key.as_str())) }
    }

    /// A part of a feature, for every id that has it: `<feature>:<id>:<part>`.
    pub fn hashes<Id: From<Uuid>>(&self, feature: &str, part: &str) -> Vec<(Id, BTreeMap<String, String>)> {
        let of = |key: &String| {
            let words: Vec<&str> = key.rsplitn(4, ':').collect();
            let [last, id, first, _] = words[..] else { return None };
            (last == part && first == feature).then(|| id.parse::<Uuid>().ok()).flatten()
        };
        let found = self.contents.iter().filter_map(|(key, raw)| Some((of(key)?.into(), raw.flat())));
        found.collect()
    }

    /// The parts of a feature whose names begin so, for every id that has some: id, the rest of the name.
    pub fn parts<Id: From<Uuid>>(
        &self,
        feature: &str,
        begin: &str,
    ) -> Vec<(Id, String, BTreeMap<String, String>)> {
        let of = |key: &String| {
            let words: Vec<&str> = key.rsplitn(4, ':').collect();
            let [last, id, first, _] = words[..] else { return None };
            let rest = last.strip_prefix(begin).filter(|_| first == feature)?;
            Some((id.parse::<Uuid>().ok()?.into(), rest.to_owned()))
        };
        let found = self.contents.iter().filter_map(|(key, raw)| Some((of(key)?, raw.flat())));
        found.map(|((id, rest), fields)| (id, rest, fields)).collect()
    }

    /// A record of what an operation came to that is kept for long: `epoch|seq|hash|at|fingerprint|facts`.
    pub fn entry(&self, op: OpStep, record: &str) -> Result<Entry, Error> {
        let fields: Vec<&str> = record.splitn(6, '|').collect();
        let [epoch, seq, hash, at, _, facts] = fields[..] else { return Err(bad(record)) };
        Ok(Entry {
            receipt: Receipt {
                shard: self.space.shard,
                epoch: parse(epoch)?,
                seq: parse(seq)?,
                hash: parse(hash)?,
            },
            op,
            origin: Uuid::nil().into(),
            kind: "accepted".into(),
            at_ms: parse(at)?,
            facts: Facts::new(facts.to_owned()),
            previous: ChainHash::ROOT,
        })
    }
}

fn bad(what: &str) -> Error {
    Error::internal(format_args!("redis holds what cannot be read: {what:?}"))
}

fn parse<T: FromStr<Err: Debug>>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| bad(text))
}

/// Carries what Redis knows of these shards, which are fenced, into Postgres, and takes the fences away: they
/// are left as ones whose rebuilder died. What would differ, where something would; then nothing has changed.
pub async fn accept_redis(
    journal: &Journal,
    pool: &PgPool,
    deployment: Uuid,
    shards: &[Shard],
) -> Result<Differences, Error> {
    let mut all = Vec::new();
    for shard in shards {
        all.push(read(journal, deployment, *shard).await?);
    }
    let mut tx = pool.begin().await?;
    let mut acts = Vec::new();
    for kept in &all {
        if !cursor::accept(&mut tx, kept.space.shard, kept.space.epoch).await? {
            return Err(Error::unavailable(format_args!(
                "shard {} is not fenced any more",
                kept.space.shard
            )));
        }
        // First what happened, in its order: what features take over by themselves may be told as well.
        let lately = adopt_operations(&mut tx, kept).await?;
        orders::table::adopt(&mut tx, &lately).await?;
        let mut notices = Statements::each();
        changes::notices(&lately).map_err(Error::internal)?.say(&mut notices);
        notices.make(&mut tx).await?;
        concerts::table::adopt(&mut tx, kept).await?;
        let shard_of = |user: UserId| journal.shards.of(user.uuid());
        payments::table::adopt(&mut tx, kept, &journal.codes, shard_of).await?;
        seats::table::adopt(&mut tx, kept).await?;
        queue::table::adopt(&mut tx, kept).await?;
        ranking::table::adopt(&mut tx, kept).await?;
        coupons::table::adopt(&mut tx, kept, &lately, &journal.codes).await?;
        rewards::table::adopt(&mut tx, kept, &lately).await?;
        acts.extend(lately);
    }
    adopt_acts(&mut tx, acts).await?;
    // What was decided about a user's points may stand in another shard.
    for kept in &all {
        wallet::table::adopt(&mut tx, kept).await?;
    }
    let mut differences = Vec::new();
    for kept in &all {
        differences.extend(compared(&mut tx, kept).await?);
    }
    if differences.is_empty() {
        for kept in &all {
            // Redis may have lost its last second since the backup, and numbers with it.
            queue::table::record_gaps(&mut tx, kept.space.shard, kept.space.epoch).await?;
        }
        tx.commit().await?;
        tracing::warn!(?shards, "an operator accepted what redis has");
    }
    Ok(differences)
}

/// All keys of a shard, after it was fenced in Redis.
async fn read(journal: &Journal, deployment: Uuid, shard: Shard) -> Result<Kept, Error> {
    let standing = journal.standing(&journal.shards.space(shard, 0), 0).await?;
    if standing.deployment != deployment.to_string() {
        return Err(Error::unavailable(format_args!("redis has nothing of shard {shard}")));
    }
    let epoch = standing.epoch.unwrap_or(0);
    let space = journal.shards.space(shard, epoch);
    let fence = store::Fence { meta: space.meta(), epoch };
    rebuild::expect_ok(&journal.redis.run(fence, rebuild::CHUNK_TIMEOUT).await?)?;
    let server = journal.redis.identity(&space.meta()).await?;
    let standing = journal.standing(&space, 0).await?;
    if standing.head.is_empty() {
        return Err(Error::unavailable(format_args!("shard {shard} was never loaded to its end in redis")));
    }
    if standing.head != standing.last_hash {
        return Err(Error::unavailable(format_args!("a script died half-way in shard {shard}")));
    }
    let (mut place, mut contents) = (ScanPlace::default(), BTreeMap::new());
    let prefix = journal.shards.prefix();
    let pattern = keys::pattern_of(prefix, shard, epoch);
    while let Some(found) = journal.redis.scan(&mut place, &pattern).await? {
        for key in found.into_iter().filter(|key| keys::read(prefix, key) == Some((shard, epoch))) {
            let (kind, items, bytes) = journal.redis.content(&key).await?;
            contents.insert(key, Raw::new(kind, items, bytes));
        }
    }
    let after = journal.standing(&space, 0).await?;
    let same = (after.epoch, after.last, &after.head) == (Some(epoch), standing.last, &standing.head);
    if !same || after.state != "fenced" || journal.redis.identity(&space.meta()).await? != server {
        return Err(Error::unavailable(format_args!("redis did not stand still in shard {shard}")));
    }
    Ok(Kept {
        now_ms: standing.now_ms,
        last: standing.last,
        lately: lately(journal, &space).await?,
        contents,
        space,
    })
}

/// The entries that a shard's journal still has.
async fn lately(journal: &Journal, space: &Space) -> Result<Vec<Entry>, Error> {
    let (key, mut after) = (store::journal(space).into_string(), format!("{}-0", space.epoch));
    let mut lately = Vec::new();
    loop {
        let page = journal.redis.stream_after(&key, &after, ENTRIES_PAGE).await?;
        let Some(last) = page.last() else { return Ok(lately) };
        after.clone_from(&last.id);
        for raw in &page {
            lately.push(Entry::read(space.shard, raw).map_err(Error::internal)?);
        }
    }
}

/// What operations came to lately, so that their keys are known: those that the backup lacks, in their order.
async fn adopt_operations(pg: &mut PgConnection, kept: &Kept) -> Result<Vec<Entry>, Error> {
    let ops: Vec<OpStep> = kept.lately.iter().map(|entry| entry.op).collect();
    let known = recall::receipts(&mut *pg, &ops).await?;
    let new = kept.lately.iter().zip(known).filter(|(_, known)| known.is_none());
    let new: Vec<Entry> = new.map(|(entry, _)| entry.clone()).collect();
    let borrowed: Vec<&Entry> = new.iter().collect();
    entries::insert(pg, &borrowed).await?;
    Ok(new)
}

/// Acts among them, of all shards, in the order in which they were done.
async fn adopt_acts(pg: &mut PgConnection, mut entries: Vec<Entry>) -> Result<(), Error> {
    entries.sort_by_key(|entry| (entry.at_ms, entry.receipt.shard, entry.receipt.seq));
    let mut acts = audit::table::Changes::default();
    for entry in &entries {
        if let Some(acted) = entry.facts.find().map_err(Error::internal)? {
            acts.fold(entry, acted).map_err(Error::internal)?;
        }
    }
    let mut each = Statements::each();
    acts.say(&mut each);
    each.make(pg).await
}

/// What a rebuild would give, beside what Redis has.
async fn compared(pg: &mut PgConnection, kept: &Kept) -> Result<Differences, Error> {
    let mut loader = Loader::into_memory(kept.space.clone());
    rebuild::load_features(pg, &mut loader, kept.now_ms, true).await?;
    let mut expected = loader.contents();
    wallet::verify::apply_soft(pg, &mut expected, &kept.contents, &kept.space).await?;
    ranking::verify::apply_soft(pg, &mut expected, &kept.contents, &kept.space, kept.now_ms).await?;
    let mut differences = compare(&expected, &kept.contents);
    differences.extend(books(pg, kept.space.shard).await?);
    Ok(differences)
}
