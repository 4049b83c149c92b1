//! Is the ranking what the orders say?

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use super::model::{EDGE_MS, Hour, window_at};
use super::{store, table};
use crate::error::Error;
use crate::journal::loader::{Contents, Loader};
use crate::journal::moment::Raw;
use crate::redis::{Shard, Space};

/// Hours that have left the window are taken out on a tick, which may be still to come, or a moment ahead of
/// this clock: those that Redis has are expected with it, those of the window's first hour that it has not
/// are not expected at the end of the hour.
pub async fn apply_soft(
    pg: &mut PgConnection,
    expected: &mut Contents,
    found: &BTreeMap<String, Raw>,
    space: &Space,
    now_ms: i64,
) -> Result<(), Error> {
    let hours = found.get(store::hours(space).as_str()).map(Raw::flat).unwrap_or_default();
    let there: BTreeSet<&String> = hours.keys().collect();
    let first = window_at(now_ms);
    let is_edge = window_at(now_ms + EDGE_MS) != first;
    let oldest = hours.values().filter_map(|hour| hour.parse::<Hour>().ok()).min().unwrap_or(first);
    let mut loader = Loader::into_memory(space.clone());
    let is_wanted = |hour, slot: &String| hour > first || (hour == first && !is_edge) || there.contains(slot);
    table::load_hours(pg, &mut loader, oldest.min(first), is_wanted).await?;
    expected.extend(loader.contents());
    Ok(())
}

/// Slots of hours that may be taken out at any moment.
pub fn leaving(hours: &Raw, now_ms: i64) -> Vec<String> {
    let first_kept = window_at(now_ms + EDGE_MS) + 1;
    let is_leaving = |hour: &String| hour.parse::<Hour>().is_ok_and(|hour| hour < first_kept);
    hours.flat().into_iter().filter(|(_, hour)| is_leaving(hour)).map(|(slot, _)| slot).collect()
}

/// A sentence for each hour and menu that is not counted as the orders say.
pub async fn differences(pg: &mut PgConnection, shard: Shard) -> Result<Vec<String>, Error> {
    let found = table::miscounted(pg, shard).await?;
    let sentence = |(hour, menu, counted, listed)| {
        let hour = crate::clock::rfc3339(hour);
        format!("menu {menu}, hour {hour}: {counted} orders are counted, {listed} were placed")
    };
    Ok(found.into_iter().map(sentence).collect())
}
