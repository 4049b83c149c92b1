//! The key grammar: `<prefix>:{sNN}:<epoch>:<feature>:<id>:<part>`.
//!
//! The shard is the hash tag, so all keys of a shard share one slot of a cluster. The epoch stands in the
//! name, so a late write of an old epoch lands on dead keys and nothing is ever cleared in place. Only the
//! shard's `meta` has no epoch: it is what says which epoch is alive.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// A Redis key; named by a [`Space`], for the server that was reached then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    name: String,
    server: u64,
}

impl Key {
    /// A key that was named by a space before and kept as text.
    pub fn known(name: String) -> Self {
        Self { name, server: 0 }
    }

    /// The server that it was named for, as a number; 0 for any.
    pub fn server(&self) -> u64 {
        self.server
    }

    /// The key as it is sent.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The key as it is sent, owned.
    pub fn into_string(self) -> String {
        self.name
    }
}

/// What all keys of shards match under a prefix.
pub fn pattern(prefix: &str) -> String {
    format!("{prefix}:{{s*")
}

/// What all keys of a shard in an epoch match.
pub fn pattern_of(prefix: &str, shard: Shard, epoch: u64) -> String {
    format!("{prefix}:{{{shard}}}:{epoch}:*")
}

/// Shard and epoch of a key that has both.
pub fn read(prefix: &str, key: &str) -> Option<(Shard, u64)> {
    let rest = key.strip_prefix(prefix)?.strip_prefix(":{s")?;
    let (shard, rest) = rest.split_once("}:")?;
    Some((Shard(shard.parse().ok()?), rest.split(':').next()?.parse().ok()?))
}

/// What of a key decides on its slot: what stands between the first braces, or else all of it.
pub fn tag(key: &str) -> &str {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

/// A shard's number, 0..shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(pub u16);

impl Shard {
    /// The shard of an id: its last eight bytes (random in UUID v4 and v7) modulo the number of shards.
    pub fn of(id: Uuid, shards: u16) -> Self {
        let low = id.as_u128() as u64;
        Self((low % u64::from(shards)) as u16)
    }

    /// As Postgres stores it.
    pub fn as_i32(self) -> i32 {
        i32::from(self.0)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{:02}", self.0)
    }
}

/// One shard in one epoch: where keys are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    prefix: Arc<str>,
    /// The shard.
    pub shard: Shard,
    /// The epoch that the keys belong to.
    pub epoch: u64,
    server: u64,
}

impl Space {
    /// Names keys of `shard` in `epoch` under `prefix`, for one server (0: for any).
    pub fn new(prefix: Arc<str>, shard: Shard, epoch: u64, server: u64) -> Self {
        Self { prefix, shard, epoch, server }
    }

    /// The shard's state: deployment, epoch, state, chain head, last seen time.
    pub fn meta(&self) -> Key {
        Key { name: format!("{}:{{{}}}:meta", self.prefix, self.shard), server: self.server }
    }

    /// A key of a feature: `key("seats", &[&show, &"state"])`.
    pub fn key(&self, feature: &str, parts: &[&dyn fmt::Display]) -> Key {
        use fmt::Write;
        let mut key = String::with_capacity(96);
        let mut write = |text: fmt::Arguments<'_>| key.write_fmt(text).unwrap_or_default();
        write(format_args!("{}:{{{}}}:{}:{feature}", self.prefix, self.shard, self.epoch));
        for part in parts {
            write(format_args!(":{part}"));
        }
        Key { name: key, server: self.server }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_shard_epoch_feature_and_part() {
        let space = Space::new("onrush".into(), Shard(7), 5, 0);
        let id = Uuid::nil();
        assert_eq!(
            space.key("seats", &[&id, &"state"]).as_str(),
            format!("onrush:{{s07}}:5:seats:{id}:state")
        );
        assert_eq!(space.meta().as_str(), "onrush:{s07}:meta");
        assert_eq!(read("onrush", space.key("seats", &[&id]).as_str()), Some((Shard(7), 5)));
        assert_eq!((tag(space.meta().as_str()), tag("a{}b"), tag("ab")), ("s07", "a{}b", "ab"));
        assert_eq!(read("onrush", space.meta().as_str()), None);
        assert_eq!(read("other", space.key("seats", &[&id]).as_str()), None);
    }

    #[test]
    fn ids_spread_over_the_shards() {
        let mut counts = [0; 16];
        for _ in 0..16_000 {
            counts[usize::from(Shard::of(Uuid::now_v7(), 16).0)] += 1;
        }
        assert!(counts.iter().all(|count| (700..1_300).contains(count)), "{counts:?}");
    }
}
