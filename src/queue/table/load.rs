//! Queues on their way from Postgres into Redis.

use sqlx::{PgConnection, Row};

use crate::error::Error;
use crate::ids::{QueueId, UserId};
use crate::journal::loader::{Content, Loader};
use crate::queue::model::{POLL_FAR_MS, POLL_JITTER_PERCENT};
use crate::queue::store;
use crate::redis::Key;

/// After a rebuild numbers above the first gap rest until every client had time to poll.
const REST_MS: i64 = POLL_FAR_MS + POLL_FAR_MS * POLL_JITTER_PERCENT / 100 + 5_000;

/// Loads a shard's queues. Nobody is let in for the first window (whom the lost Redis let in last is counted
/// nowhere), and nobody above the first gap until the lost had time to ask; silence counts from now.
pub async fn load(pg: &mut PgConnection, loader: &mut Loader, now_ms: i64, tidy: bool) -> Result<(), Error> {
    let rows = sqlx::query(
        "select queue_id, state, rate_tenths, max_active, active_seconds, max_waiting, number, closed_below,
             (select coalesce(string_agg(low || '-' || high || '-' || epoch, ',' order by low), '')
              from queue_gaps g where g.queue_id = q.queue_id) as gaps,
             (select min(low) from queue_gaps g where g.queue_id = q.queue_id) as lowest,
             (select min(p.number) from queue_places p
              where p.queue_id = q.queue_id and p.deadline_ms is null) as first
         from queues q where shard = $1",
    )
    .bind(loader.space.shard.as_i32())
    .fetch_all(&mut *pg)
    .await?;
    for row in rows {
        let queue: QueueId = row.try_get("queue_id")?;
        let line_from = line_from(&row)?;
        load_room(&row, loader, queue, now_ms, tidy).await?;
        loader.hset(&store::room(&loader.space, queue), "line_from", line_from).await?;
        load_places(pg, loader, queue, now_ms, line_from).await?;
        let key = store::ended(&loader.space, queue);
        for row in sqlx::query("select user_id, epoch from queue_ends where queue_id = $1")
            .bind(queue)
            .fetch_all(&mut *pg)
            .await?
        {
            loader.hset(&key, row.try_get::<UserId, _>(0)?, row.try_get::<i64, _>(1)?).await?;
        }
        let key = store::busy(&loader.space);
        loader.sadd(&key, queue).await?;
    }
    Ok(())
}

/// Where the line's bits begin: at the first who waits, or who may come back.
fn line_from(row: &sqlx::postgres::PgRow) -> Result<i64, Error> {
    let (first, lowest): (Option<i64>, Option<i64>) = (row.try_get("first")?, row.try_get("lowest")?);
    let from = [first, lowest].into_iter().flatten().min();
    Ok(from.map_or_else(|| row.try_get("number"), Ok)? / 8 * 8)
}

async fn load_room(
    row: &sqlx::postgres::PgRow,
    loader: &mut Loader,
    queue: QueueId,
    now_ms: i64,
    tidy: bool,
) -> Result<(), Error> {
    let number = |column: &str| row.try_get::<i64, _>(column);
    let rate = number("rate_tenths")?;
    let window_ms = if rate < 100 { 10_000 } else { 1_000 };
    let lowest: Option<i64> = row.try_get("lowest")?;
    let key = store::room(&loader.space, queue);
    let fields: [(&str, String); 18] = [
        ("state", row.try_get("state")?),
        ("rate", rate.to_string()),
        ("max_active", number("max_active")?.to_string()),
        ("active_ms", (number("active_seconds")? * 1_000).to_string()),
        (
            "max_waiting",
            row.try_get::<Option<i64>, _>("max_waiting")?.map_or_else(String::new, |m| m.to_string()),
        ),
        ("number", number("number")?.to_string()),
        ("closed_below", number("closed_below")?.to_string()),
        ("gaps", row.try_get("gaps")?),
        ("admit_from", (now_ms + window_ms).to_string()),
        ("hold_until", (if tidy { 0 } else { now_ms + REST_MS }).to_string()),
        ("hold_above", lowest.map_or_else(|| "+inf".into(), |low| low.to_string())),
        ("served_at", now_ms.to_string()),
        ("served_since", now_ms.to_string()),
        ("pace", "0".into()),
        ("paced_at", now_ms.to_string()),
        ("told", number("number")?.to_string()),
        ("restores", "0".into()),
        ("seen_in", (now_ms / store::SEEN_MS).to_string()),
    ];
    for (field, value) in fields {
        loader.hset(&key, field, value).await?;
    }
    Ok(())
}

async fn load_places(
    pg: &mut PgConnection,
    loader: &mut Loader,
    queue: QueueId,
    now_ms: i64,
    line_from: i64,
) -> Result<(), Error> {
    use futures::TryStreamExt;
    let space = loader.space.clone();
    let waiting = store::waiting(&space, queue);
    let mut line = Words::new(store::line(&space, queue));
    let part = now_ms / store::SEEN_MS % store::SEEN_PARTS;
    let mut seen = Words::new(store::seen(&space, queue).swap_remove(part as usize));
    let (passes, active) = (store::passes(&space, queue), store::active(&space, queue));
    loader.declare(&waiting, Content::sorted());
    loader.declare(&active, Content::sorted());
    loader.declare(&passes, Content::hash());
    let mut rows = sqlx::query(
        "select number, user_id, deadline_ms from queue_places where queue_id = $1 order by number desc",
    )
    .bind(queue)
    .fetch(pg);
    while let Some(row) = rows.try_next().await? {
        let (number, user): (i64, UserId) = (row.try_get(0)?, row.try_get(1)?);
        match row.try_get::<Option<i64>, _>(2)? {
            Some(deadline) => {
                loader.hset(&passes, user, number).await?;
                loader.zadd(&active, deadline, user).await?;
            }
            None => {
                loader.zadd(&waiting, number, user).await?;
                let at = number - line_from;
                line.set(loader, at).await?;
                seen.set(loader, at).await?;
            }
        }
    }
    line.end(loader).await?;
    seen.end(loader).await
}

/// Bits on their way, in words of 32, the first the highest.
struct Words {
    key: Key,
    index: i64,
    word: u32,
}

impl Words {
    fn new(key: Key) -> Self {
        Self { key, index: 0, word: 0 }
    }

    /// Sets a bit; neighbours are sent together.
    async fn set(&mut self, loader: &mut Loader, at: i64) -> Result<(), Error> {
        if at / 32 != self.index {
            self.end(loader).await?;
            (self.index, self.word) = (at / 32, 0);
        }
        self.word |= 1 << (31 - at % 32);
        Ok(())
    }

    async fn end(&self, loader: &mut Loader) -> Result<(), Error> {
        loader.set_bits(&self.key, self.index, self.word).await
    }
}
