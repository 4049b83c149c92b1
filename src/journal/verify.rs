//! G8 on live data: does Redis hold what a rebuild from Postgres would give, and does Postgres agree with
//! itself?
//!
//! For each shard one script tells state and head at one moment; then the cursor is waited for, and Postgres
//! is read at that cursor in one repeatable-read transaction. Where the shard has moved on, it is tried
//! again. What is soft (places that no tick has journaled) is applied to Postgres' side first; what is due
//! but not swept is in both.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};

use super::loader::{Content, Contents, Loader};
use super::table::cursor;
use super::{Journal, rebuild, store};
use crate::error::Error;
use crate::redis::{Args, Call, Key, Reply, Shard, Space};

/// Times that a shard which moves on is tried.
const TRIES: usize = 60;
/// Pause between tries, and how long the cursor is waited for.
const PAUSE: Duration = Duration::from_millis(50);
const CURSOR_WAIT: Duration = Duration::from_secs(5);
/// How long the script may take.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);

/// What differs, a sentence each; empty when all agrees.
pub type Differences = Vec<String>;

/// Compares all shards.
pub async fn verify(journal: &Journal, pool: &PgPool) -> Result<Differences, Error> {
    let mut differences = Vec::new();
    for shard in journal.shards.all() {
        differences.extend(verify_shard(journal, pool, shard).await?);
    }
    Ok(differences)
}

async fn verify_shard(journal: &Journal, pool: &PgPool, shard: Shard) -> Result<Differences, Error> {
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        journal.shards.refresh().await?;
        let Ok(space) = journal.shards.live(shard).await else { continue };
        let now_ms = journal.clock.now_ms();
        let Some(expected) = expected(pool, &space, now_ms, None).await? else { continue };
        let soft = buffers(&expected.queues, &space);
        let keys: Vec<String> = expected.contents.into_keys().chain(soft).collect();
        let Some(found) = snapshot(journal, &space, keys).await? else { continue };
        wait_for_cursor(pool, &space, found.last).await?;
        if let Some(expected) = self::expected(pool, &space, now_ms, Some(&found)).await? {
            let mut differences = compare(&expected.contents, &found.contents);
            differences.extend(expected.own);
            differences.extend(crate::queue::verify::lines(&found.contents, &expected.queues, &space));
            return Ok(differences);
        }
    }
    Ok(vec![format!("shard {shard} never stood still: Redis and Postgres could not be compared")])
}

/// What a shard should be.
struct Expected {
    contents: Contents,
    queues: Vec<crate::ids::QueueId>,
    own: Differences,
}

/// What a rebuild would give, at a cursor where one is asked for; `None` when Postgres stands elsewhere.
async fn expected(
    pool: &PgPool,
    space: &Space,
    now_ms: i64,
    at: Option<&Found>,
) -> Result<Option<Expected>, Error> {
    let mut pg = pool.acquire().await?;
    let mut tx = pg.begin().await?;
    sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *tx).await?;
    let cursor = cursor::one(&mut tx, space.shard).await?;
    if let Some(found) = at
        && (cursor.epoch, cursor.seq, cursor.hash.to_string())
            != (space.epoch, found.last, found.head.clone())
    {
        return Ok(None);
    }
    let mut loader = Loader::into_memory(space.clone());
    rebuild::load_features(&mut tx, &mut loader, now_ms, true).await?;
    let mut own = Vec::new();
    let queues = crate::queue::table::queues(&mut tx, space.shard).await?;
    let mut contents = loader.contents();
    if let Some(found) = at {
        crate::queue::verify::apply_soft(&mut contents, &found.contents, &queues, space);
        crate::wallet::verify::apply_soft(&mut tx, &mut contents, &found.contents, space).await?;
        crate::ranking::verify::apply_soft(&mut tx, &mut contents, &found.contents, space, now_ms).await?;
        own.extend(books(&mut tx, space.shard).await?);
    }
    tx.rollback().await?;
    Ok(Some(Expected { contents, queues, own }))
}

/// Does Postgres agree with itself about a shard?
pub async fn books(pg: &mut PgConnection, shard: Shard) -> Result<Differences, Error> {
    let mut differences = crate::wallet::verify::differences(pg, shard).await?;
    differences.extend(crate::seats::verify::differences(pg, shard).await?);
    differences.extend(crate::payments::verify::differences(pg, shard).await?);
    differences.extend(crate::orders::verify::differences(pg, shard).await?);
    differences.extend(crate::ranking::verify::differences(pg, shard).await?);
    differences.extend(crate::coupons::verify::differences(pg, shard).await?);
    differences.extend(crate::rewards::table::books::differences(pg, shard).await?);
    Ok(differences)
}

fn buffers(queues: &[crate::ids::QueueId], space: &Space) -> Vec<String> {
    queues.iter().map(|queue| crate::queue::store::buffer(space, *queue).into_string()).collect()
}

struct Found {
    last: u64,
    head: String,
    contents: BTreeMap<String, Raw>,
}

/// What a key holds, as the script told it.
#[derive(Debug, Default)]
pub struct Raw {
    kind: String,
    /// Items in Redis' order.
    pub items: Vec<String>,
    /// A string's bytes.
    pub bytes: Vec<u8>,
}

async fn snapshot(journal: &Journal, space: &Space, names: Vec<String>) -> Result<Option<Found>, Error> {
    let mut keys = vec![space.meta()];
    keys.extend(names.iter().map(|name| Key::known(name.clone())));
    let mut args = Args::default();
    args.push(space.epoch);
    args.push(journal.clock.argument());
    let reply: Reply =
        journal.redis.call(Call { source: &store::SNAPSHOT, keys, args }, SNAPSHOT_TIMEOUT).await?;
    if reply.word() != "done" {
        return Ok(None);
    }
    let mut contents = BTreeMap::new();
    for (name, (kind, items, bytes)) in names.into_iter().zip(reply.typed(2)?) {
        contents.insert(name, Raw { kind, items, bytes });
    }
    Ok(Some(Found { last: reply.parse(0)?, head: reply.text(1)?, contents }))
}

async fn wait_for_cursor(pool: &PgPool, space: &Space, last: u64) -> Result<(), Error> {
    let waited = async {
        loop {
            let cursor = cursor::one(&mut *pool.acquire().await?, space.shard).await?;
            if cursor.epoch != space.epoch || cursor.seq >= last {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(CURSOR_WAIT, waited).await.unwrap_or(Ok(()))
}

/// Fields of a room that only Redis keeps: times and measures.
const OF_REDIS_ALONE: &[&str] = &[
    "admit_from",
    "hold_until",
    "hold_above",
    "served_at",
    "served_since",
    "pace",
    "paced_at",
    "number",
    "restores",
    "line_from",
    "seen_in",
    "silent_in",
];
/// Keys that a rebuild makes and that life goes on to change without the journal.
const SOFT_PARTS: &[&str] = &["seen", "line", "busy", "ended", "reserved", "ages", "days"];

/// Each field that Redis lacks, or has otherwise, or has too much.
pub fn compare(expected: &Contents, found: &BTreeMap<String, Raw>) -> Differences {
    let mut differences = Vec::new();
    for (key, wanted) in expected {
        let part = key.rsplit(':').next().unwrap_or_default();
        if SOFT_PARTS.contains(&part) {
            continue;
        }
        let nothing = Raw::default();
        let raw = found.get(key).unwrap_or(&nothing);
        let (wanted, got) = (flat(wanted), raw.flat());
        let differing: BTreeSet<&String> = wanted
            .iter()
            .filter(|(field, value)| got.get(*field) != Some(value))
            .map(|(field, _)| field)
            .chain(got.keys().filter(|field| !wanted.contains_key(*field)))
            .filter(|field| part != "room" || !OF_REDIS_ALONE.contains(&field.as_str()))
            .collect();
        for field in differing {
            let side = |side: &BTreeMap<String, String>| {
                side.get(field).map_or_else(|| "nothing".to_owned(), |value| format!("{value:?}"))
            };
            differences.push(format!(
                "{key} {field}: Redis has {}, Postgres says {}",
                side(&got),
                side(&wanted)
            ));
        }
    }
    differences
}

fn flat(content: &Content) -> BTreeMap<String, String> {
    match content {
        Content::Hash(fields) => fields.clone(),
        Content::Sorted(members) => members.iter().map(|(m, score)| (m.clone(), score.to_string())).collect(),
        Content::Set(members) => members.iter().map(|member| (member.clone(), String::new())).collect(),
        Content::Bits(bits) => bits.iter().map(|bit| (bit.to_string(), String::new())).collect(),
    }
}

impl Raw {
    /// What a key holds: its type, its items, and a string's bytes.
    pub fn new(kind: String, items: Vec<String>, bytes: Vec<u8>) -> Self {
        Self { kind, items, bytes }
    }

    /// Fields and values, members and scores, or members alone.
    pub fn flat(&self) -> BTreeMap<String, String> {
        let pairs = || self.items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        match self.kind.as_str() {
            "hash" | "zset" => pairs().collect(),
            "string" => {
                let bits = self.bytes.iter().enumerate().flat_map(|(at, byte)| {
                    (0..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| at * 8 + bit)
                });
                bits.map(|bit| (bit.to_string(), String::new())).collect()
            }
            _ => self.items.iter().map(|item| (item.clone(), String::new())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_key_field_and_both_sides() {
        let fields = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
        let expected = Contents::from([("x:state".to_owned(), Content::Hash(fields.into()))]);
        let items = ["a", "1", "b", "3", "c", "4"].map(str::to_owned).to_vec();
        let raw = Raw { kind: "hash".into(), items, bytes: Vec::new() };
        let differences = compare(&expected, &BTreeMap::from([("x:state".to_owned(), raw)]));
        assert_eq!(
            differences,
            [
                "x:state b: Redis has \"3\", Postgres says \"2\"",
                "x:state c: Redis has \"4\", Postgres says nothing",
            ]
        );
        assert_eq!(compare(&expected, &BTreeMap::new()).len(), 2);
    }

    #[test]
    fn bitmaps_are_compared_bit_by_bit() {
        let expected = Contents::from([("x:taken".to_owned(), Content::Bits([1, 9].into()))]);
        let raw = |bytes: &[u8]| Raw { kind: "string".into(), items: Vec::new(), bytes: bytes.to_vec() };
        let found = |bytes: &[u8]| BTreeMap::from([("x:taken".to_owned(), raw(bytes))]);
        assert!(compare(&expected, &found(&[0x40, 0x40])).is_empty());
        assert_eq!(compare(&expected, &found(&[0x40, 0x20])).len(), 2);
    }
}
