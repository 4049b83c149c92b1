//! The ranking as it is told: merged over all shards, kept for less than a second.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::future::try_join_all;

use super::model::{Count, Hour, Popular, begin_of, top};
use super::store;
use crate::app::App;
use crate::error::Error;
use crate::ids::MenuId;
use crate::journal::refusal;
use crate::redis::{RedisError, Reply, Shard};

/// How old an answer may be.
const FRESH: Duration = Duration::from_millis(900);
/// How long counting may take, with the wait for the one before.
const COUNTING_MAX: Duration = Duration::from_secs(2);
/// Hours of menus that have left the window and that a reader leaves out by himself, a shard.
const GONE_MAX: u32 = 10_000;
/// Times that shards are asked again because the window moved on between two of them.
const TRIES: usize = 4;

/// What was counted, and as it was told.
struct Shown {
    counts: BTreeMap<MenuId, Count>,
    popular: Popular,
    /// The menu that it was told with.
    menus: u64,
    read: Instant,
}

/// The last answer.
#[derive(Default)]
pub struct Kept {
    shown: RwLock<Option<Arc<Shown>>>,
    reading: tokio::sync::Mutex<()>,
}

impl Kept {
    fn get(&self) -> Option<Arc<Shown>> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner).clone();
        shown.filter(|shown| shown.read.elapsed() < FRESH)
    }

    fn set(&self, shown: Shown) -> Popular {
        let popular = shown.popular.clone();
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(shown));
        popular
    }
}

/// What is ordered most.
pub async fn popular(app: &App) -> Result<Popular, Error> {
    if let Some(popular) = told(app) {
        return Ok(popular);
    }
    let counted = tokio::time::timeout(COUNTING_MAX, counted(app)).await;
    counted.unwrap_or_else(|_| Err(Error::unavailable("the ranking cannot be counted")))
}

/// Counts, in turn; who waited takes what the one before him has found.
async fn counted(app: &App) -> Result<Popular, Error> {
    let _turn = app.popular.reading.lock().await;
    if let Some(popular) = told(app) {
        return Ok(popular);
    }
    let (read, as_of) = (Instant::now(), app.clock.now());
    let (from, counts) = count(app).await?;
    let menus = app.board.version();
    let popular = Popular { items: top(&counts, |id| app.board.menu(id)), from: begin_of(from), as_of };
    Ok(app.popular.set(Shown { counts, popular, menus, read }))
}

/// The last answer where it is fresh; with the menu as it is now.
fn told(app: &App) -> Option<Popular> {
    let shown = app.popular.get()?;
    let menus = app.board.version();
    if shown.menus == menus {
        return Some(shown.popular.clone());
    }
    let popular = Popular { items: top(&shown.counts, |id| app.board.menu(id)), ..shown.popular.clone() };
    Some(app.popular.set(Shown { counts: shown.counts.clone(), popular, menus, read: shown.read }))
}

/// All shards at one window.
async fn count(app: &App) -> Result<(Hour, BTreeMap<MenuId, Count>), Error> {
    let mut from = 0;
    for _ in 0..TRIES {
        let shards =
            try_join_all(app.journal.shards.all().map(|shard| count_shard(app, shard, from))).await?;
        from = shards.iter().map(|(begin, _)| *begin).max().unwrap_or(0);
        if shards.iter().all(|(begin, _)| *begin == from) {
            let mut counts = BTreeMap::<MenuId, Count>::new();
            for (menu, count) in shards.into_iter().flat_map(|(_, counts)| counts) {
                counts.entry(menu).or_default().add(count, 1);
            }
            counts.retain(|_, count| count.orders > 0);
            return Ok((from, counts));
        }
    }
    Err(Error::unavailable("the ranking's window moves on faster than shards are read"))
}

async fn count_shard(app: &App, shard: Shard, from: Hour) -> Result<(Hour, BTreeMap<MenuId, Count>), Error> {
    let reply = app.journal.ask(shard, |space| store::read(space, from, GONE_MAX)).await?;
    if reply.word() != "done" {
        return Err(refusal(&reply));
    }
    let mut counts = BTreeMap::<MenuId, Count>::new();
    for [menu, orders] in rows(&reply, 1)? {
        counts.entry(parse(&menu)?).or_default().orders += parse::<i64>(&orders)?;
    }
    for [menu, quantity] in rows(&reply, 2)? {
        counts.entry(parse(&menu)?).or_default().quantity += parse::<i64>(&quantity)?;
    }
    for [menu, orders, quantity] in rows(&reply, 3)? {
        let gone = Count { orders: parse(&orders)?, quantity: parse(&quantity)? };
        counts.entry(parse(&menu)?).or_default().add(gone, -1);
    }
    Ok((reply.parse(0)?, counts))
}

/// A flat list as rows of `N`.
fn rows<const N: usize>(reply: &Reply, at: usize) -> Result<Vec<[String; N]>, RedisError> {
    Ok(reply.list(at)?.as_chunks::<N>().0.to_vec())
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::internal(format_args!("redis holds {text:?} in the ranking")))
}
