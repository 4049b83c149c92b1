//! What no tick has journaled yet, applied to what Postgres says, so that the two can be compared.

use std::collections::{BTreeMap, BTreeSet};

use super::line::Line;
use super::store;
use crate::ids::QueueId;
use crate::journal::loader::{Content, Contents};
use crate::journal::verify::Raw;
use crate::redis::{Key, Space};

/// Plays each queue's buffer on the expected places.
pub fn apply_soft(expected: &mut Contents, found: &BTreeMap<String, Raw>, queues: &[QueueId], space: &Space) {
    for queue in queues {
        let events = found.get(store::buffer(space, *queue).as_str()).map(|raw| raw.items.clone());
        for event in events.unwrap_or_default() {
            apply(expected, space, *queue, &event);
        }
    }
}

/// Does each queue's line show exactly those who wait? Both are of one moment.
pub fn lines(found: &BTreeMap<String, Raw>, queues: &[QueueId], space: &Space) -> Vec<String> {
    let mut differences = Vec::new();
    for queue in queues {
        let of = |key: Key| found.get(key.as_str());
        let room = of(store::room(space, *queue)).map(Raw::flat).unwrap_or_default();
        let Some(from) = room.get("line_from").and_then(|from| from.parse::<i64>().ok()) else { continue };
        let waiting = of(store::waiting(space, *queue)).map(Raw::flat).unwrap_or_default();
        let waiting: BTreeSet<i64> = waiting.values().filter_map(|number| number.parse().ok()).collect();
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

/// `j|number|user`, `l|number`, `r|number|user|later`.
fn apply(expected: &mut Contents, space: &Space, queue: QueueId, event: &str) {
    let parts: Vec<&str> = event.split('|').collect();
    match parts[..] {
        ["j", number, user] | ["r", number, user, _] => {
            let key = store::waiting(space, queue).into_string();
            let waiting = expected.entry(key).or_insert_with(|| Content::Sorted(BTreeMap::new()));
            if let (Content::Sorted(waiting), Ok(number)) = (waiting, number.parse()) {
                waiting.insert(user.to_owned(), number);
            }
        }
        ["l", number] => {
            if let Some(Content::Sorted(waiting)) = expected.get_mut(store::waiting(space, queue).as_str()) {
                waiting.retain(|_, place| place.to_string() != number);
            }
            let Some(Content::Hash(passes)) = expected.get_mut(store::passes(space, queue).as_str()) else {
                return;
            };
            let users: Vec<String> =
                passes.iter().filter(|(_, pass)| *pass == number).map(|(user, _)| user.clone()).collect();
            passes.retain(|_, pass| pass != number);
            if let Some(Content::Sorted(active)) = expected.get_mut(store::active(space, queue).as_str()) {
                active.retain(|user, _| !users.contains(user));
            }
        }
        _ => {}
    }
}
