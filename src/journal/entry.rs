//! One journal entry: what a script decided, chained to all that it was built on.
//!
//! `h` is the first 16 hex digits of `sha1(p|epoch|op|st|k|at|facts)`, where `p` is the entry's predecessor.
//! It covers the outcome: when a driver sends a command again after a fail-over and it comes out differently,
//! the two entries have different hashes, and nobody is told the wrong one.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use uuid::Uuid;

use super::event::{Event, Requested};
use super::facts::Fact;
use crate::ids::InstanceId;
use crate::redis::{Shard, StreamEntry};

/// A place in the chain of hashes: 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainHash(u64);

impl ChainHash {
    /// What stands before the first entry of an epoch.
    pub const ROOT: ChainHash = ChainHash(0);
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for ChainHash {
    type Err = BadEntry;

    fn from_str(text: &str) -> Result<Self, BadEntry> {
        let hash = (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
        hash.map(Self).ok_or_else(|| BadEntry(format!("{text:?} is not a chain hash")))
    }
}

/// Where an entry stands: what a waiting handler compares, all four of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The shard.
    pub shard: Shard,
    /// The epoch of the shard.
    pub epoch: u64,
    /// Dense number within the epoch, from 1; 0 is the epoch's marker.
    pub seq: u64,
    /// The entry's hash.
    pub hash: ChainHash,
}

/// What names an effect: an operation and its step. Each takes effect once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpStep {
    /// The operation.
    pub op: Uuid,
    /// 1 for the first (often only) step.
    pub step: u8,
}

/// A journal entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub receipt: Receipt,
    /// What it is the effect of.
    pub op: OpStep,
    /// The instance whose handler waits for it.
    pub origin: InstanceId,
    /// The script that wrote it.
    pub kind: String,
    /// When, in milliseconds since 1970, by the shard's clock.
    pub at_ms: i64,
    /// What happened.
    pub facts: Facts,
    /// The predecessor's hash.
    pub previous: ChainHash,
}

/// What an entry says, a line a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts(String);

impl Facts {
    /// As it stands in the entry.
    pub fn new(lines: String) -> Self {
        Self(lines)
    }

    /// As it stands in the entry.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What happened, in order.
    pub fn events(&self) -> Result<Vec<Event>, BadEntry> {
        self.0.lines().map(Event::from_line).collect::<Result<_, _>>().map_err(BadEntry)
    }

    /// The first fact of a kind; `None` where there is none.
    pub fn find<F: Fact>(&self) -> Result<Option<F>, BadEntry> {
        self.0.lines().find_map(F::from_line).transpose().map_err(BadEntry)
    }

    /// The first fact of a kind that must be there.
    pub fn first<F: Fact>(&self) -> Result<F, BadEntry> {
        self.find()?.ok_or_else(|| BadEntry(format!("{:?} lacks {}", self.0, F::KIND)))
    }

    /// Who asked for it with which key, where a client sent one.
    pub fn requested(&self) -> Result<Option<Requested>, BadEntry> {
        self.find()
    }
}

/// An entry that cannot be read, or is not what its hash says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad journal entry: {0}")]
pub struct BadEntry(pub String);

impl Entry {
    /// Reads an entry of a shard's stream and recomputes its hash.
    pub fn read(shard: Shard, raw: &StreamEntry) -> Result<Self, BadEntry> {
        let field = |name: &str| {
            let found = raw.fields.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_str());
            found.ok_or_else(|| BadEntry(format!("{} lacks {name}", raw.id)))
        };
        let (epoch, seq) = parse_id(&raw.id)?;
        let number = |name: &str| -> Result<i64, BadEntry> {
            field(name)?.parse().map_err(|_| BadEntry(format!("{} has no number in {name}", raw.id)))
        };
        let uuid = |name: &str| -> Result<Uuid, BadEntry> {
            field(name)?.parse().map_err(|_| BadEntry(format!("{} has no id in {name}", raw.id)))
        };
        let step =
            u8::try_from(number("st")?).map_err(|_| BadEntry(format!("{} has a huge step", raw.id)))?;
        let entry = Self {
            receipt: Receipt { shard, epoch, seq, hash: field("h")?.parse()? },
            op: OpStep { op: uuid("op")?, step },
            origin: uuid("o")?.into(),
            kind: field("k")?.to_owned(),
            at_ms: number("at")?,
            facts: Facts::new(field("f")?.to_owned()),
            previous: field("p")?.parse()?,
        };
        let computed = entry.hash();
        if computed != entry.receipt.hash {
            return Err(BadEntry(format!(
                "{} says {}, its content says {computed}",
                raw.id, entry.receipt.hash
            )));
        }
        Ok(entry)
    }

    fn hash(&self) -> ChainHash {
        chain_hash(self.previous, self.receipt.epoch, self.op, &self.kind, self.at_ms, self.facts.as_str())
    }

    /// When, as Postgres stores it.
    pub fn at(&self) -> chrono::DateTime<chrono::Utc> {
        crate::clock::from_millis(self.at_ms)
    }
}

/// `<epoch>-<seq>`.
pub fn parse_id(id: &str) -> Result<(u64, u64), BadEntry> {
    let parts = id.split_once('-').and_then(|(epoch, seq)| Some((epoch.parse().ok()?, seq.parse().ok()?)));
    parts.ok_or_else(|| BadEntry(format!("{id:?} is not <epoch>-<seq>")))
}

/// The chain's link: first 16 hex digits of `sha1(p|epoch|op|st|k|at|facts)`; the scripts compute the same.
pub fn chain_hash(
    previous: ChainHash,
    epoch: u64,
    op: OpStep,
    kind: &str,
    at_ms: i64,
    facts: &str,
) -> ChainHash {
    let text = format!("{previous}|{epoch}|{}|{}|{kind}|{at_ms}|{facts}", op.op, op.step);
    let sha = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let mut first = [0u8; 8];
    first.copy_from_slice(&sha.as_ref()[..8]);
    ChainHash(u64::from_be_bytes(first))
}

/// The hash of an epoch's marker, entry 0: a function of the epoch alone, so that Postgres knows it
/// beforehand.
pub fn marker_hash(epoch: u64) -> ChainHash {
    chain_hash(ChainHash::ROOT, epoch, MARKER, MARKER_KIND, 0, "")
}

/// The operation of every marker.
pub const MARKER: OpStep = OpStep { op: Uuid::nil(), step: 0 };
/// The kind of every marker.
pub const MARKER_KIND: &str = "shard/open";

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(facts: &str, hash: ChainHash) -> StreamEntry {
        let fields =
            ["op", &Uuid::max().to_string(), "st", "1", "o", &Uuid::nil().to_string(), "k", "a/b", "at", "7"]
                .into_iter()
                .chain(["f", facts, "p", &ChainHash::ROOT.to_string(), "h", &hash.to_string()])
                .map(str::to_owned)
                .collect();
        StreamEntry { id: "5-1".into(), fields }
    }

    #[test]
    fn an_entry_whose_facts_were_changed_is_refused() {
        let op = OpStep { op: Uuid::max(), step: 1 };
        let hash = chain_hash(ChainHash::ROOT, 5, op, "a/b", 7, "x|1");
        assert!(Entry::read(Shard(0), &raw("x|1", hash)).is_ok());
        assert!(Entry::read(Shard(0), &raw("x|2", hash)).is_err());
    }

    #[test]
    fn a_hash_has_one_spelling() {
        assert_eq!(ChainHash::ROOT.to_string(), "0000000000000000");
        assert!("0".parse::<ChainHash>().is_err());
        assert_eq!(marker_hash(3).to_string().parse(), Ok(marker_hash(3)));
        assert_ne!(marker_hash(3), marker_hash(4));
    }
}
