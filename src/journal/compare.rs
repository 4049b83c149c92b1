//! What Redis holds beside what Postgres says, key by key and field by field.

use std::collections::{BTreeMap, BTreeSet};

use super::loader::{Content, Contents};
use super::moment::Raw;
use super::verify::Differences;

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

/// Is it a key that life goes on to change without the journal?
pub fn is_soft(key: &str) -> bool {
    SOFT_PARTS.contains(&part_of(key))
}

fn part_of(key: &str) -> &str {
    key.rsplit(':').next().unwrap_or_default()
}

/// Each field that Redis lacks, or has otherwise, or has too much.
pub fn compare(expected: &Contents, found: &BTreeMap<String, Raw>) -> Differences {
    let mut differences = Vec::new();
    for (key, sides) in all_sides(expected, found) {
        differences.extend(sides.differing(key).into_iter().map(|field| sides.sentence(key, field)));
    }
    differences
}

/// Both sides of all keys that are compared.
pub fn all_sides<'a>(
    expected: &'a Contents,
    found: &'a BTreeMap<String, Raw>,
) -> impl Iterator<Item = (&'a String, Sides)> {
    let compared = expected.iter().filter(|(key, _)| !is_soft(key));
    compared.map(|(key, wanted)| (key, Sides::of(Some(wanted), found.get(key))))
}

/// A key's fields in Postgres and in Redis.
pub struct Sides {
    wanted: BTreeMap<String, String>,
    got: BTreeMap<String, String>,
}

impl Sides {
    /// An unknown key is an empty one.
    pub fn of(wanted: Option<&Content>, got: Option<&Raw>) -> Self {
        Self { wanted: wanted.map(flat).unwrap_or_default(), got: got.map(Raw::flat).unwrap_or_default() }
    }

    /// Whether they differ in a field.
    pub fn differs(&self, field: &str) -> bool {
        self.wanted.get(field) != self.got.get(field)
    }

    /// All fields of a key in which they differ.
    pub fn differing(&self, key: &str) -> BTreeSet<&String> {
        let fields =
            self.wanted.keys().chain(self.got.keys().filter(|field| !self.wanted.contains_key(*field)));
        let is_room = part_of(key) == "room";
        fields
            .filter(|field| self.differs(field))
            .filter(|field| !is_room || !OF_REDIS_ALONE.contains(&field.as_str()))
            .collect()
    }

    /// What differs, in words.
    pub fn sentence(&self, key: &str, field: &str) -> String {
        let side = |side: &BTreeMap<String, String>| {
            side.get(field).map_or_else(|| "nothing".to_owned(), |value| format!("{value:?}"))
        };
        format!("{key} {field}: Redis has {}, Postgres says {}", side(&self.got), side(&self.wanted))
    }
}

fn flat(content: &Content) -> BTreeMap<String, String> {
    match content {
        Content::Hash(fields) => fields.clone(),
        Content::Sorted(members) => members.iter().map(|(m, score)| (m.clone(), score.to_string())).collect(),
        Content::Set(members) => members.iter().map(|member| (member.clone(), String::new())).collect(),
        Content::Bits(bits) => bits.iter().map(|bit| (bit.to_string(), String::new())).collect(),
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
        let raw = Raw::new("hash", items, Vec::new());
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
        let raw = |bytes: &[u8]| Raw::new("string", Vec::new(), bytes.to_vec());
        let found = |bytes: &[u8]| BTreeMap::from([("x:taken".to_owned(), raw(bytes))]);
        assert!(compare(&expected, &found(&[0x40, 0x40])).is_empty());
        assert_eq!(compare(&expected, &found(&[0x40, 0x20])).len(), 2);
    }
}
