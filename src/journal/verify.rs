//! G8 on live data: does Redis hold what a rebuild from Postgres would give, and does Postgres agree with
//! itself?
//!
//! For each shard one script tells state and head at one moment; then the cursor is waited for, and Postgres
//! is read at that cursor in one repeatable-read transaction. Where the shard has moved on, it is tried
//! again. What is soft (places that no tick has journaled) is applied to Postgres' side first; what is due
//! but not swept is in both.
//!
//! A key with many items would hold up everybody: it is read in pages before, and what differs then, as it
//! has changed since or is wrong, is asked of a later moment, with Postgres read at that one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::compare::{Sides, all_sides, is_soft};
use super::loader::{Contents, Loader};
use super::moment::{ASKED_MAX, Asked, Moment, Raw};
use super::table::cursor;
use super::{Journal, rebuild};
use crate::error::Error;
use crate::ids::QueueId;
use crate::redis::{Shard, Space};

/// Times that a shard which moves on is tried.
const TRIES: usize = 60;
/// Pause between tries, and how long the cursor is waited for.
const PAUSE: Duration = Duration::from_millis(50);
const CURSOR_WAIT: Duration = Duration::from_secs(5);

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
    let mut begun: Option<Comparison> = None;
    let mut tries = 0;
    while tries < TRIES {
        journal.shards.refresh().await?;
        if let Ok(space) = journal.shards.live(shard).await {
            let comparison = match begun.take().filter(|begun| begun.space == space) {
                Some(comparison) => begun.insert(comparison),
                None => begun.insert(Comparison::begin(journal, pool, space).await?),
            };
            match comparison.go_on(journal, pool).await? {
                Step::Done => return Ok(begun.map(|begun| begun.differences).unwrap_or_default()),
                Step::Further => tries = 0,
                Step::Again => {}
            }
        }
        tries += 1;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(vec![format!("shard {shard} never stood still: Redis and Postgres could not be compared")])
}

/// How far the comparison of a shard has come.
struct Comparison {
    space: Space,
    /// Keys that are compared, or needed for it.
    names: BTreeSet<String>,
    /// Those with many items, as they were read in pages.
    pages: BTreeMap<String, Raw>,
    /// What is left to be asked of a later moment; `None` until all was compared once.
    doubts: Option<Asked>,
    differences: Differences,
}

/// What a try came to.
enum Step {
    Done,
    /// Something was learnt, and more is to come.
    Further,
    /// The shard has moved on.
    Again,
}

impl Comparison {
    async fn begin(journal: &Journal, pool: &PgPool, space: Space) -> Result<Self, Error> {
        let mut tx = rebuild::snapshot(pool).await?;
        let expected = expected(&mut tx, &space, journal.clock.now_ms(), None).await?;
        tx.rollback().await?;
        let names = expected.names(&space);
        Ok(Self { space, names, pages: BTreeMap::new(), doubts: None, differences: Vec::new() })
    }

    async fn go_on(&mut self, journal: &Journal, pool: &PgPool) -> Result<Step, Error> {
        let now_ms = journal.clock.now_ms();
        if self.doubts.is_some() {
            // What is expected of the ranking's totals depends on the hours that are still there.
            let hours = crate::ranking::store::hours(&self.space).into_string();
            self.pages.remove(&hours);
            self.read_pages(journal, &BTreeSet::from([hours])).await?;
        }
        let asked = self.doubts.as_mut().map(next_to_ask).unwrap_or_default();
        let Some(mut moment) = Moment::of(journal, &self.space, &self.names, &asked).await? else {
            self.doubt(asked);
            return Ok(Step::Again);
        };
        if self.doubts.is_none() && self.read_pages(journal, &moment.large).await? {
            return Ok(Step::Further);
        }
        wait_for_cursor(pool, &self.space, moment.last).await?;
        let mut tx = rebuild::snapshot(pool).await?;
        if !is_at(&mut tx, &self.space, &moment).await? {
            self.doubt(asked);
            return Ok(Step::Again);
        }
        moment.fill(std::mem::take(&mut self.pages), &asked);
        let expected = expected(&mut tx, &self.space, now_ms, Some(&moment)).await?;
        if self.doubts.is_some() {
            self.decide(&asked, &expected.contents, &moment.contents);
        } else {
            let names = expected.names(&self.space);
            if !names.is_subset(&self.names) {
                self.names = names;
                return Ok(Step::Further);
            }
            self.compare(&expected, &moment);
            self.differences.extend(books(&mut tx, self.space.shard).await?);
        }
        tx.rollback().await?;
        let is_done = self.doubts.as_ref().is_none_or(BTreeMap::is_empty);
        Ok(if is_done { Step::Done } else { Step::Further })
    }

    /// Reads those keys that were not: whether there were some.
    async fn read_pages(&mut self, journal: &Journal, large: &BTreeSet<String>) -> Result<bool, Error> {
        let unread: Vec<&String> = large.iter().filter(|key| !self.pages.contains_key(*key)).collect();
        for key in &unread {
            let (kind, items, bytes) = journal.redis.content(key).await?;
            self.pages.insert((*key).clone(), Raw::new(kind, items, bytes));
        }
        Ok(!unread.is_empty())
    }

    /// All that a moment tells. What differs in a key that was read in pages may have changed since, and so
    /// may what depends on such a key.
    fn compare(&mut self, expected: &Expected, moment: &Moment) {
        let mut doubts = Asked::new();
        for (key, sides) in all_sides(&expected.contents, &moment.contents) {
            let differing = sides.differing(key);
            if moment.large.is_empty() {
                self.differences.extend(differing.iter().map(|field| sides.sentence(key, field)));
            } else if !differing.is_empty() {
                doubts.insert(key.clone(), differing.into_iter().cloned().collect());
            }
        }
        self.differences.extend(crate::queue::verify::lines(
            &moment.contents,
            &expected.contents,
            &expected.queues,
            &self.space,
        ));
        self.doubts = Some(doubts);
    }

    /// What was asked of a moment is certain.
    fn decide(&mut self, asked: &Asked, expected: &Contents, found: &BTreeMap<String, Raw>) {
        for (key, fields) in asked {
            let sides = Sides::of(expected.get(key), found.get(key));
            let differing = fields.iter().filter(|field| sides.differs(field));
            self.differences.extend(differing.map(|field| sides.sentence(key, field)));
        }
    }

    /// It is to be asked again.
    fn doubt(&mut self, asked: Asked) {
        if let Some(doubts) = &mut self.doubts {
            for (key, fields) in asked {
                doubts.entry(key).or_default().extend(fields);
            }
        }
    }
}

/// Takes as much as may be asked of one moment.
fn next_to_ask(doubts: &mut Asked) -> Asked {
    let mut asked = Asked::new();
    let mut left = ASKED_MAX;
    while let Some(mut entry) = doubts.first_entry().filter(|_| left > 0) {
        let mut fields = std::mem::take(entry.get_mut());
        if let Some(first_left) = fields.iter().nth(left).cloned() {
            *entry.get_mut() = fields.split_off(&first_left);
        }
        left -= fields.len();
        if entry.get().is_empty() {
            asked.insert(entry.remove_entry().0, fields);
        } else {
            asked.insert(entry.key().clone(), fields);
        }
    }
    asked
}

/// What a shard should be.
struct Expected {
    contents: Contents,
    queues: Vec<QueueId>,
}

impl Expected {
    /// The keys that it takes to compare it.
    fn names(&self, space: &Space) -> BTreeSet<String> {
        let compared = self.contents.keys().filter(|key| !is_soft(key)).cloned();
        let queues = self.queues.iter().flat_map(|queue| {
            [crate::queue::store::buffer(space, *queue), crate::queue::store::line(space, *queue)]
        });
        compared.chain(queues.map(crate::redis::Key::into_string)).collect()
    }
}

/// What a rebuild would give; with what is soft, where a moment is given.
async fn expected(
    pg: &mut PgConnection,
    space: &Space,
    now_ms: i64,
    moment: Option<&Moment>,
) -> Result<Expected, Error> {
    let mut loader = Loader::into_memory(space.clone());
    rebuild::load_features(pg, &mut loader, now_ms, true).await?;
    let queues = crate::queue::table::queues(pg, space.shard).await?;
    let mut contents = loader.contents();
    if let Some(Moment { contents: found, .. }) = moment {
        crate::queue::verify::apply_soft(&mut contents, found, &queues, space);
        crate::wallet::verify::apply_soft(pg, &mut contents, found, space).await?;
        crate::ranking::verify::apply_soft(pg, &mut contents, found, space, now_ms).await?;
    }
    Ok(Expected { contents, queues })
}

/// Does Postgres stand where Redis stood?
async fn is_at(
    tx: &mut Transaction<'static, Postgres>,
    space: &Space,
    moment: &Moment,
) -> Result<bool, Error> {
    let cursor = cursor::one(tx, space.shard).await?;
    Ok((cursor.epoch, cursor.seq) == (space.epoch, moment.last) && cursor.hash.to_string() == moment.head)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_asked_no_more_than_it_bears_and_all_is_asked_once() {
        let fields = |from: usize, to: usize| (from..to).map(|field| format!("{field:05}")).collect();
        let doubts = [("a", 0, 3), ("b", 3, ASKED_MAX + 10), ("c", 10, 11)];
        let mut left: Asked =
            doubts.map(|(key, from, to)| (key.to_owned(), fields(from, to))).into_iter().collect();
        let all = left.clone();
        let mut asked = Asked::new();
        while !left.is_empty() {
            let next = next_to_ask(&mut left);
            assert!((1..=ASKED_MAX).contains(&next.values().map(BTreeSet::len).sum()));
            for (key, fields) in next {
                for field in fields {
                    assert!(asked.entry(key.clone()).or_default().insert(field), "asked twice");
                }
            }
        }
        assert_eq!(asked, all);
        assert!(next_to_ask(&mut left).is_empty());
    }
}
