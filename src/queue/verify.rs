//! What no tick has journaled yet, applied to what Postgres says, so that the two can be compared.

use std::collections::{BTreeMap, BTreeSet};

use super::line::Line;
use super::store;
use crate::ids::QueueId;
use crate::journal::loader::{Content, Contents};
use crate::journal::moment::Raw;
use crate::redis::{Key, Space};

/// Plays each queue's buffer on the expected places.
pub fn apply_soft(expected: &mut Contents, found: &BTreeMap<String, Raw>, queues: &[QueueId], space: &Space) {
    for queue in queues {
        let events = found.get(store::buffer(space, *queue).as_str()).map_or(&[][..], |raw| &raw.items);
        if !events.is_empty() {
            Places::take(expected, space, *queue).play(events).give_back(expected, space, *queue);
        }
    }
}

/// Does each queue's line show exactly those who should wait?
pub fn lines(
    found: &BTreeMap<String, Raw>,
    expected: &Contents,
    queues: &[QueueId],
    space: &Space,
) -> Vec<String> {
    let mut differences = Vec::new();
    for queue in queues {
        let of = |key: Key| found.get(key.as_str());
        let room = of(store::room(space, *queue)).map(Raw::flat).unwrap_or_default();
        let Some(from) = room.get("line_from").and_then(|from| from.parse::<i64>().ok()) else { continue };
        let waiting: BTreeSet<i64> = match expected.get(store::waiting(space, *queue).as_str()) {
            Some(Content::Sorted(waiting)) => waiting.values().copied().collect(),
            _ => BTreeSet::new(),
        };
        let bits = of(store::line(space, *queue)).map_or(&[][..], |raw| &raw.bytes);
        let lined: BTreeSet<i64> = Line::new(from, bits).numbers().collect();
        for number in waiting.symmetric_difference(&lined) {
            let side =
                if lined.contains(number) { "in the line only" } else { "waits, and is not in the line" };
            differences.push(format!("queue {queue}: {number} {side}"));
        }
    }
    differences
}

/// A queue's places on Postgres' side.
#[derive(Default)]
struct Places {
    waiting: BTreeMap<String, i64>,
    passes: BTreeMap<String, String>,
    active: BTreeMap<String, i64>,
    /// Who has a number.
    users: BTreeMap<i64, String>,
}

impl Places {
    fn take(expected: &mut Contents, space: &Space, queue: QueueId) -> Self {
        let mut places = Self::default();
        if let Some(Content::Sorted(waiting)) = expected.get_mut(store::waiting(space, queue).as_str()) {
            places.waiting = std::mem::take(waiting);
        }
        if let Some(Content::Hash(passes)) = expected.get_mut(store::passes(space, queue).as_str()) {
            places.passes = std::mem::take(passes);
        }
        if let Some(Content::Sorted(active)) = expected.get_mut(store::active(space, queue).as_str()) {
            places.active = std::mem::take(active);
        }
        let waiting = places.waiting.iter().map(|(user, number)| (*number, user.clone()));
        let inside =
            places.passes.iter().filter_map(|(user, number)| Some((number.parse().ok()?, user.clone())));
        places.users = waiting.chain(inside).collect();
        places
    }

    /// `j|number|user`, `l|number`, `r|number|user|later`.
    fn play(mut self, events: &[String]) -> Self {
        for event in events {
            let mut parts = event.split('|');
            let kind = parts.next();
            let number = parts.next().and_then(|number| number.parse().ok());
            match (kind, number, parts.next()) {
                (Some("j" | "r"), Some(number), Some(user)) => {
                    self.users.insert(number, user.to_owned());
                    self.waiting.insert(user.to_owned(), number);
                }
                (Some("l"), Some(number), None) => {
                    self.leave(number);
                }
                _ => {}
            }
        }
        self
    }

    /// A user may wait with one number while a pass with another is over and not yet swept.
    fn leave(&mut self, number: i64) {
        let Some(user) = self.users.remove(&number) else { return };
        if self.waiting.get(&user) == Some(&number) {
            self.waiting.remove(&user);
        }
        if self.passes.get(&user).is_some_and(|pass| pass.parse() == Ok(number)) {
            self.passes.remove(&user);
            self.active.remove(&user);
        }
    }

    fn give_back(self, expected: &mut Contents, space: &Space, queue: QueueId) {
        expected.insert(store::waiting(space, queue).into_string(), Content::Sorted(self.waiting));
        expected.insert(store::passes(space, queue).into_string(), Content::Hash(self.passes));
        expected.insert(store::active(space, queue).into_string(), Content::Sorted(self.active));
    }
}
