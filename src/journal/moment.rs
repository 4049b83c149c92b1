//! What Redis has of a shard at one moment, without holding anybody up: of a key with many items a moment
//! tells only what it is asked; the whole of it is read in pages, at many moments.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Journal, store};
use crate::error::Error;
use crate::redis::{Args, Call, Key, Reply, Space};

/// Items of whole keys that a moment tells, and how much it may be asked of others: milliseconds of Redis.
const WHOLE_MAX: usize = 4_000;
/// See [`WHOLE_MAX`].
pub const ASKED_MAX: usize = 4_000;
/// How long the script may take, on a Redis that is busy otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Fields or members that are asked for, by key.
pub type Asked = BTreeMap<String, BTreeSet<String>>;

/// A shard at one moment.
pub struct Moment {
    /// The journal's last entry.
    pub last: u64,
    /// The chain's head.
    pub head: String,
    /// What the keys hold.
    pub contents: BTreeMap<String, Raw>,
    /// Keys of whose contents only what was asked is there.
    pub large: BTreeSet<String>,
}

/// What a key holds, as Redis told it.
#[derive(Debug, Default)]
pub struct Raw {
    kind: String,
    /// Items in Redis' order.
    pub items: Vec<String>,
    /// A string's bytes.
    pub bytes: Vec<u8>,
}

impl Raw {
    /// What a key holds: its type, its items, and a string's bytes.
    pub fn new(kind: impl Into<String>, items: Vec<String>, bytes: Vec<u8>) -> Self {
        Self { kind: kind.into(), items, bytes }
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

impl Moment {
    /// Adds what else was read of large keys before. What was asked is known better.
    pub fn fill(&mut self, pages: BTreeMap<String, Raw>, asked: &Asked) {
        let nothing = BTreeSet::new();
        for (key, page) in pages {
            let Some(told) = self.contents.get_mut(&key).filter(|_| self.large.contains(&key)) else {
                continue;
            };
            let asked = asked.get(&key).unwrap_or(&nothing);
            let width = if told.kind == "set" { 1 } else { 2 };
            let mut items = page.items.into_iter();
            while let Some(name) = items.next() {
                let rest = items.by_ref().take(width - 1);
                if asked.contains(&name) {
                    rest.for_each(drop);
                } else {
                    told.items.extend(std::iter::once(name).chain(rest));
                }
            }
        }
    }

    /// Whether a list was too long to be told.
    pub fn is_cut(&self) -> bool {
        self.large.iter().any(|key| self.contents.get(key).is_some_and(|raw| raw.kind == "list"))
    }

    /// Asks for one; `None` where the shard does not live in this epoch.
    pub async fn of(
        journal: &Journal,
        space: &Space,
        names: &BTreeSet<String>,
        asked: &Asked,
    ) -> Result<Option<Self>, Error> {
        let mut keys = vec![space.meta()];
        let mut args = Args::default();
        args.push(space.epoch);
        args.push(journal.clock.argument());
        args.push(WHOLE_MAX);
        for name in names {
            keys.push(Key::known(name.clone()));
            let fields = asked.get(name);
            args.push(fields.map_or(0, BTreeSet::len));
            fields.into_iter().flatten().for_each(|field| args.push(field));
        }
        let reply: Reply = journal.redis.call(Call { source: &store::SNAPSHOT, keys, args }, TIMEOUT).await?;
        if reply.word() != "done" {
            return Ok(None);
        }
        let names: Vec<&String> = names.iter().collect();
        let mut large = BTreeSet::new();
        for at in reply.list(2)? {
            large.extend(at.parse().ok().and_then(|at: usize| names.get(at)).map(|name| (*name).clone()));
        }
        let mut contents = BTreeMap::new();
        for (name, (kind, items, bytes)) in names.into_iter().zip(reply.typed(3)?) {
            contents.insert(name.clone(), Raw { kind, items, bytes });
        }
        Ok(Some(Self { last: reply.parse(0)?, head: reply.text(1)?, contents, large }))
    }
}
