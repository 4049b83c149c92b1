//! A shard in Redis beside what a rebuild from Postgres would give.
//!
//! One script tells state and head at one moment; then the cursor is waited for, and Postgres is read at that
//! cursor in one repeatable-read transaction. What is soft (places that no tick has journaled) is applied to
//! Postgres' side first; what is due but not swept is in both. A key with many items would hold up everybody:
//! it is read in pages before.
//!
//! What differs then may be wrong, may have changed since its page was read, or is one of the few things that
//! go to the two stores one after the other (decisions and days that are over are forgotten). So it is asked
//! of a later moment, with Postgres read at that one, and told where it differs there too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::compare::{Sides, all_sides, is_soft};
use super::loader::{Contents, Loader};
use super::moment::{ASKED_MAX, Asked, Moment, Raw};
use super::table::cursor;
use super::verify::{Differences, books};
use super::{Journal, rebuild};
use crate::error::Error;
use crate::ids::QueueId;
use crate::redis::Space;

/// How long Postgres is waited for.
const CURSOR_WAIT: Duration = Duration::from_secs(5);
/// Differences of a shard that are told one by one; there are as many where a key is lost.
const TOLD_MAX: usize = 1_000;
/// How often new keys (a show, a queue) are taken in; who makes them without end would be read for ever.
const RENAMED_MAX: usize = 3;

/// How far the comparison of a shard has come.
pub struct Comparison {
    space: Space,
    /// Keys that are compared, or needed for it.
    names: BTreeSet<String>,
    renamed: usize,
    /// Those with many items, as they were read in pages.
    pages: BTreeMap<String, Raw>,
    /// What is left to be asked of a later moment; `None` until all was compared once.
    doubts: Option<Asked>,
    differences: Differences,
}

/// What a try came to.
pub enum Step {
    Done,
    /// Something was learnt, and more is to come.
    Further,
    /// Nothing could be learnt now, and why.
    Again(&'static str),
}

impl Comparison {
    /// Learns which keys there are.
    pub async fn begin(journal: &Journal, pool: &PgPool, space: Space) -> Result<Self, Error> {
        let mut tx = rebuild::snapshot(pool).await?;
        let expected = expected(&mut tx, &space, journal.clock.now_ms(), None).await?;
        tx.rollback().await?;
        let (names, pages) = (expected.names(&space), BTreeMap::new());
        Ok(Self { space, names, renamed: 0, pages, doubts: None, differences: Vec::new() })
    }

    /// Whether it is of this epoch, on this server.
    pub fn is_in(&self, space: &Space) -> bool {
        self.space == *space
    }

    /// What was found.
    pub fn into_differences(self) -> Differences {
        self.differences
    }

    /// One moment. Whatever it comes to, and where it fails, the next call goes on from there.
    pub async fn go_on(&mut self, journal: &Journal, pool: &PgPool) -> Result<Step, Error> {
        let now_ms = journal.clock.now_ms();
        let asked = match &self.doubts {
            None => Asked::new(),
            Some(doubts) => {
                let asked = next_to_ask(doubts);
                self.with_hours(journal, asked, now_ms).await?
            }
        };
        let Some(mut moment) = Moment::of(journal, &self.space, &self.names, &asked).await? else {
            return Ok(Step::Again("it is being rebuilt"));
        };
        if moment.is_cut() {
            return Ok(Step::Again("more has happened in a queue than its schedule has journaled"));
        }
        if self.doubts.is_none() && self.read_pages(journal, &moment.large).await? {
            return Ok(Step::Further);
        }
        if !has_come(pool, &self.space, moment.last).await? {
            return Ok(Step::Again("Postgres is behind Redis, and does not catch up"));
        }
        let mut tx = rebuild::snapshot(pool).await?;
        if !is_at(&mut tx, &self.space, &moment).await? {
            return Ok(Step::Again("it is written to without a pause"));
        }
        moment.fill(std::mem::take(&mut self.pages), &asked);
        let expected = expected(&mut tx, &self.space, now_ms, Some(&moment)).await?;
        let step = match self.doubts.take() {
            Some(doubts) => self.decide(doubts, &asked, &expected.contents, &moment.contents),
            None => self.compare(&mut tx, &expected, &moment).await?,
        };
        tx.rollback().await?;
        Ok(step)
    }

    /// What is expected of the ranking's totals depends on the hours that are there at the moment; those that
    /// may be taken out are asked for.
    async fn with_hours(&mut self, journal: &Journal, mut asked: Asked, now_ms: i64) -> Result<Asked, Error> {
        let hours = crate::ranking::store::hours(&self.space).into_string();
        self.pages.remove(&hours);
        self.read_pages(journal, &BTreeSet::from([hours.clone()])).await?;
        let leaving = crate::ranking::verify::leaving(&self.pages[&hours], now_ms);
        asked.entry(hours).or_default().extend(leaving);
        Ok(asked)
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

    /// All that a moment tells.
    async fn compare(
        &mut self,
        tx: &mut PgConnection,
        expected: &Expected,
        moment: &Moment,
    ) -> Result<Step, Error> {
        let names = expected.names(&self.space);
        if !names.is_subset(&self.names) && self.renamed < RENAMED_MAX {
            (self.names, self.renamed) = (names, self.renamed + 1);
            return Ok(Step::Further);
        }
        let known = all_sides(&expected.contents, &moment.contents);
        let differing = known.filter(|(key, _)| self.names.contains(*key)).map(|(key, sides)| {
            (key.clone(), sides.differing(key).into_iter().cloned().collect::<BTreeSet<String>>())
        });
        let doubts: Asked = differing.filter(|(_, fields)| !fields.is_empty()).collect();
        let books = books(tx, self.space.shard).await?;
        self.differences.extend(crate::queue::verify::lines(
            &moment.contents,
            &expected.contents,
            &expected.queues,
            &self.space,
        ));
        self.differences.extend(books);
        let is_done = doubts.is_empty();
        self.doubts = Some(doubts);
        Ok(if is_done { Step::Done } else { Step::Further })
    }

    /// What was asked of a moment is certain. A key that is not expected any more is on its way out.
    fn decide(
        &mut self,
        mut doubts: Asked,
        asked: &Asked,
        expected: &Contents,
        found: &BTreeMap<String, Raw>,
    ) -> Step {
        for (key, fields) in asked {
            let Some(wanted) = expected.get(key) else { continue };
            let sides = Sides::of(Some(wanted), found.get(key));
            let differing = fields.iter().filter(|field| sides.differs(field));
            self.differences.extend(differing.map(|field| sides.sentence(key, field)));
        }
        settle(&mut doubts, asked);
        let left: usize = doubts.values().map(BTreeSet::len).sum();
        if left > 0 && self.differences.len() >= TOLD_MAX {
            let shard = self.space.shard;
            self.differences.push(format!("shard {shard}: {left} more fields differ, as far as was seen"));
            doubts.clear();
        }
        let is_done = doubts.is_empty();
        self.doubts = Some(doubts);
        if is_done { Step::Done } else { Step::Further }
    }
}

/// As much as may be asked of one moment.
fn next_to_ask(doubts: &Asked) -> Asked {
    let all = doubts.iter().flat_map(|(key, fields)| fields.iter().map(move |field| (key, field)));
    let mut asked = Asked::new();
    for (key, field) in all.take(ASKED_MAX) {
        asked.entry(key.clone()).or_default().insert(field.clone());
    }
    asked
}

/// Takes out what was asked.
fn settle(doubts: &mut Asked, asked: &Asked) {
    for (key, fields) in asked {
        if let Some(left) = doubts.get_mut(key) {
            left.retain(|field| !fields.contains(field));
        }
    }
    doubts.retain(|_, left| !left.is_empty());
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

/// Waits until Postgres has this entry, or the epoch is over: whether that came about.
async fn has_come(pool: &PgPool, space: &Space, last: u64) -> Result<bool, Error> {
    let waited = async {
        loop {
            let cursor = cursor::one(&mut *pool.acquire().await?, space.shard).await?;
            if cursor.epoch != space.epoch || cursor.seq >= last {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(CURSOR_WAIT, waited).await.unwrap_or(Ok(false))
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
            let next = next_to_ask(&left);
            settle(&mut left, &next);
            assert!((1..=ASKED_MAX).contains(&next.values().map(BTreeSet::len).sum()));
            for (key, fields) in next {
                for field in fields {
                    assert!(asked.entry(key.clone()).or_default().insert(field), "asked twice");
                }
            }
        }
        assert_eq!(asked, all);
        assert!(next_to_ask(&left).is_empty());
    }
}
