//! What a shard is made of, on its way from Postgres: into Redis in numbered chunks, or into memory, to be
//! compared with what Redis holds. One way for both, so that `verify` asks exactly whether a rebuild would
//! change anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::rebuild::{CHUNK_TIMEOUT, expect_ok};
use super::store;
use crate::error::Error;
use crate::metrics;
use crate::redis::{Args, Call, Key, Redis, Space};

/// Items that go into one chunk.
const CHUNK_ITEMS: usize = 800;
/// Arguments of one command, well below what Lua's `unpack` takes.
const COMMAND_ARGS: usize = 1_000;
/// After so many chunks the log tells how far it is.
const PROGRESS_CHUNKS: u64 = 125;
/// Tries of a chunk; an unknown outcome is sent again, and a chunk takes effect once.
const CHUNK_TRIES: u32 = 5;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Field → value.
    Hash(BTreeMap<String, String>),
    /// Member → score.
    Sorted(BTreeMap<String, i64>),
    /// Members.
    Set(BTreeSet<String>),
    /// Bits that are set.
    Bits(BTreeSet<u32>),
}

impl Content {
    /// A hash without fields.
    pub fn hash() -> Self {
        Self::Hash(BTreeMap::new())
    }

    /// A sorted set without members.
    pub fn sorted() -> Self {
        Self::Sorted(BTreeMap::new())
    }

    /// No bit set.
    pub fn bits() -> Self {
        Self::Bits(BTreeSet::new())
    }
}

/// Keys by name.
pub type Contents = BTreeMap<String, Content>;

enum Sink {
    Redis { redis: Arc<Redis>, commands: Vec<Command>, waiting: usize, chunk: u64, items: u64 },
    Memory(Contents),
}

struct Command {
    name: &'static str,
    key: Key,
    args: Vec<String>,
}

/// Takes what features load.
pub struct Loader {
    /// The epoch's keys.
    pub space: Space,
    sink: Sink,
}

impl Loader {
    /// Sends it to Redis.
    pub fn into_redis(redis: Arc<Redis>, space: Space) -> Self {
        Self { space, sink: Sink::Redis { redis, commands: Vec::new(), waiting: 0, chunk: 0, items: 0 } }
    }

    /// Keeps it.
    pub fn into_memory(space: Space) -> Self {
        Self { space, sink: Sink::Memory(Contents::new()) }
    }

    /// Says that a key belongs to the shard even when nothing is in it, so that what Redis has too much is
    /// seen.
    pub fn declare(&mut self, key: &Key, empty: Content) {
        if let Sink::Memory(contents) = &mut self.sink {
            contents.entry(key.as_str().to_owned()).or_insert(empty);
        }
    }

    /// What was kept.
    pub fn contents(self) -> Contents {
        match self.sink {
            Sink::Memory(contents) => contents,
            Sink::Redis { .. } => Contents::new(),
        }
    }

    /// A field of a hash.
    pub async fn hset(&mut self, key: &Key, field: impl ToString, value: impl ToString) -> Result<(), Error> {
        let (field, value) = (field.to_string(), value.to_string());
        if let Sink::Memory(contents) = &mut self.sink {
            let content = contents.entry(key.as_str().to_owned()).or_insert_with(Content::hash);
            if let Content::Hash(fields) = content {
                fields.insert(field, value);
            }
            return Ok(());
        }
        self.push("HSET", key, vec![field, value]).await
    }

    /// A member of a sorted set.
    pub async fn zadd(&mut self, key: &Key, score: i64, member: impl ToString) -> Result<(), Error> {
        let member = member.to_string();
        if let Sink::Memory(contents) = &mut self.sink {
            let content = contents.entry(key.as_str().to_owned()).or_insert_with(Content::sorted);
            if let Content::Sorted(members) = content {
                members.insert(member, score);
            }
            return Ok(());
        }
        self.push("ZADD", key, vec![score.to_string(), member]).await
    }

    /// A member of a set.
    pub async fn sadd(&mut self, key: &Key, member: impl ToString) -> Result<(), Error> {
        let member = member.to_string();
        if let Sink::Memory(contents) = &mut self.sink {
            let empty = Content::Set(BTreeSet::new());
            if let Content::Set(members) = contents.entry(key.as_str().to_owned()).or_insert(empty) {
                members.insert(member);
            }
            return Ok(());
        }
        self.push("SADD", key, vec![member]).await
    }

    /// One bit of a string.
    pub async fn setbit(&mut self, key: &Key, offset: u32) -> Result<(), Error> {
        if let Sink::Memory(contents) = &mut self.sink {
            let content = contents.entry(key.as_str().to_owned()).or_insert_with(Content::bits);
            if let Content::Bits(bits) = content {
                bits.insert(offset);
            }
            return Ok(());
        }
        self.push("SETBIT", key, vec![offset.to_string(), "1".into()]).await
    }

    /// 32 bits of a string, the first the highest, from bit 32 × `index` on. In memory only the key is kept.
    pub async fn set_bits(&mut self, key: &Key, index: i64, bits: u32) -> Result<(), Error> {
        if let Sink::Memory(_) = self.sink {
            self.declare(key, Content::bits());
            return Ok(());
        }
        let set = ["SET".into(), "u32".into(), format!("#{index}"), bits.to_string()];
        self.push("BITFIELD", key, set.into()).await
    }

    async fn push(&mut self, name: &'static str, key: &Key, args: Vec<String>) -> Result<(), Error> {
        let Sink::Redis { commands, waiting, .. } = &mut self.sink else { return Ok(()) };
        // Neighbours of one command and key become one command; SETBIT takes one bit at a time.
        let fits = |last: &&mut Command| {
            name != "SETBIT"
                && last.name == name
                && last.key == *key
                && last.args.len() + args.len() <= COMMAND_ARGS
        };
        match commands.iter_mut().rev().take(4).find(fits) {
            Some(same) => same.args.extend(args),
            None => commands.push(Command { name, key: key.clone(), args }),
        }
        *waiting += 1;
        if *waiting >= CHUNK_ITEMS { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let Sink::Redis { redis, commands, waiting, chunk, items } = &mut self.sink else { return Ok(()) };
        if *waiting == 0 {
            return Ok(());
        }
        *items += std::mem::take(waiting) as u64;
        *chunk += 1;
        metrics::loading(self.space.shard, *items);
        if chunk.is_multiple_of(PROGRESS_CHUNKS) {
            tracing::info!(shard = %self.space.shard, items, "a rebuild has loaded so far");
        }
        let (mut keys, mut args) = (vec![self.space.meta()], Args::default());
        args.push(self.space.epoch);
        args.push(*chunk);
        for command in commands.drain(..) {
            let known = keys.iter().skip(1).position(|key| *key == command.key);
            let index = known.unwrap_or_else(|| {
                keys.push(command.key.clone());
                keys.len() - 2
            });
            args.push(command.name);
            args.push(index + 1);
            args.push(command.args.len());
            command.args.iter().for_each(|arg| args.push(arg));
        }
        for attempt in 1..=CHUNK_TRIES {
            match redis
                .call(Call { source: &store::LOAD, keys: keys.clone(), args: args.clone() }, CHUNK_TIMEOUT)
                .await
            {
                Ok(reply) => return expect_ok(&reply),
                Err(error) if attempt == CHUNK_TRIES => return Err(error.into()),
                Err(error) => tracing::warn!(chunk, %error, "a chunk is sent again"),
            }
        }
        Ok(())
    }

    /// Sends the rest: how many chunks and items there were.
    pub async fn finish(mut self) -> Result<(u64, u64), Error> {
        self.flush().await?;
        match self.sink {
            Sink::Redis { chunk, items, .. } => Ok((chunk, items)),
            Sink::Memory(_) => Ok((0, 0)),
        }
    }
}
