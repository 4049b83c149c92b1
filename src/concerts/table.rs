//! What Postgres remembers of concerts and shows.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::event::{ConcertCreated, ConcertEvent, ShowAdded};
use super::model::{Concert, Show};
use super::store;
use crate::clock::from_millis;
use crate::error::Error;
use crate::http::page::{Page, PageRequest};
use crate::ids::{ConcertId, Points, ShowId};
use crate::journal::adopt::Kept;
use crate::journal::entry::Entry;
use crate::journal::loader::{Content, Loader};
use crate::journal::table::statements::Statements;
use crate::queue::model::{QueueSettings, rate};
use crate::redis::Shard;

/// What a round adds.
#[derive(Default)]
pub struct Changes {
    concerts: Vec<(Shard, DateTime<Utc>, ConcertCreated)>,
    shows: Vec<(Shard, DateTime<Utc>, ShowAdded)>,
}

impl Changes {
    /// Takes up one fact.
    pub fn fold(&mut self, entry: &Entry, event: ConcertEvent) {
        let (shard, at) = (entry.receipt.shard, entry.at());
        match event {
            ConcertEvent::ConcertCreated(fact) => self.concerts.push((shard, at, fact)),
            ConcertEvent::ShowAdded(fact) => self.shows.push((shard, at, fact)),
        }
    }

    /// Says it all.
    pub fn say(&self, to: &mut Statements) {
        for (shard, at, fact) in &self.concerts {
            to.say(
                "make_concerts",
                "insert into concerts (concert_id, shard, title, seats_per_user, hold_seconds, created_at)
                 values ($1, $2, $3, $4, $5, $6)",
            )
            .bind(fact.concert)
            .bind(shard.as_i32())
            .bind(&fact.title.0)
            .bind(fact.seats_per_user)
            .bind(fact.hold_seconds)
            .bind(at);
        }
        for (shard, at, fact) in &self.shows {
            to.say(
                "make_shows",
                "insert into shows
                     (show_id, concert_id, shard, date, price, seats, opens_at, closes_at, created_at)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(fact.show)
            .bind(fact.concert)
            .bind(shard.as_i32())
            .bind(fact.date)
            .bind(fact.price)
            .bind(fact.seats)
            .bind(fact.opens_ms.map(from_millis))
            .bind(fact.closes_ms.map(from_millis))
            .bind(at);
        }
    }
}

/// Loads a shard's concerts and shows.
pub async fn load(pg: &mut PgConnection, loader: &mut Loader) -> Result<(), Error> {
    let space = loader.space.clone();
    let shard = space.shard.as_i32();
    for row in sqlx::query("select concert_id, seats_per_user, hold_seconds from concerts where shard = $1")
        .bind(shard)
        .fetch_all(&mut *pg)
        .await?
    {
        let concert: ConcertId = row.try_get(0)?;
        for key in
            [store::shows(&space, concert), store::dates(&space, concert), store::free(&space, concert)]
        {
            loader.declare(&key, Content::hash());
        }
        let key = store::policy(&space, concert);
        loader.hset(&key, "seats_per_user", row.try_get::<i64, _>(1)?).await?;
        loader.hset(&key, "hold_ms", row.try_get::<i64, _>(2)? * 1_000).await?;
    }
    for row in sqlx::query(
        "select s.show_id, s.concert_id, s.date, s.price, s.seats, s.opens_at, s.closes_at,
             s.seats - (select count(*) from sold_seats x where x.show_id = s.show_id)
                     - (select coalesce(sum(cardinality(r.seats)), 0) from reservations r
                        where r.show_id = s.show_id and r.status = 'RESERVED')::bigint as free
         from shows s where s.shard = $1",
    )
    .bind(shard)
    .fetch_all(&mut *pg)
    .await?
    {
        let show = show_of(&row)?;
        let millis =
            |time: Option<DateTime<Utc>>| time.map_or_else(String::new, |t| t.timestamp_millis().to_string());
        let record = [
            show.date.to_string(),
            show.price.to_string(),
            show.seat_count.to_string(),
            millis(show.opens_at),
            millis(show.closes_at),
        ];
        loader.hset(&store::shows(&space, show.concert_id), show.show_id, record.join("|")).await?;
        loader.hset(&store::dates(&space, show.concert_id), show.date, show.show_id).await?;
        loader
            .hset(&store::free(&space, show.concert_id), show.show_id, row.try_get::<i64, _>("free")?)
            .await?;
    }
    Ok(())
}

/// Takes over what Redis knows of concerts, where Postgres was restored from an older backup. One that the
/// backup does not know has lost its title; its id stands for it.
pub async fn adopt(pg: &mut PgConnection, kept: &Kept) -> Result<(), Error> {
    let shard = kept.space.shard.as_i32();
    for (concert, policy) in kept.hashes::<ConcertId>("concerts", "policy") {
        let number = |field: &str| policy.get(field).and_then(|value| value.parse::<i64>().ok()).unwrap_or(0);
        sqlx::query(
            "insert into concerts (concert_id, shard, title, seats_per_user, hold_seconds, created_at)
             values ($1, $2, $3, $4, $5, $6) on conflict (concert_id) do nothing",
        )
        .bind(concert)
        .bind(shard)
        .bind(concert.to_string())
        .bind(number("seats_per_user"))
        .bind(number("hold_ms") / 1_000)
        .bind(from_millis(kept.now_ms))
        .execute(&mut *pg)
        .await?;
    }
    for (concert, shows) in kept.hashes::<ConcertId>("concerts", "shows") {
        for (show, record) in shows {
            let fields: Vec<&str> = record.split('|').collect();
            let bad = || Error::internal(format_args!("{record:?} is no show"));
            let [date, price, seats, opens, closes] = fields[..] else { return Err(bad()) };
            let time = |text: &str| text.parse::<i64>().ok().map(from_millis);
            sqlx::query(
                "insert into shows (show_id, concert_id, shard, date, price, seats, opens_at, closes_at, created_at)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (show_id) do nothing",
            )
            .bind(show.parse::<Uuid>().map_err(|_| bad())?)
            .bind(concert)
            .bind(shard)
            .bind(date.parse::<NaiveDate>().map_err(|_| bad())?)
            .bind(price.parse::<i64>().map_err(|_| bad())?)
            .bind(seats.parse::<i64>().map_err(|_| bad())?)
            .bind(time(opens))
            .bind(time(closes))
            .bind(from_millis(kept.now_ms))
            .execute(&mut *pg)
            .await?;
        }
    }
    Ok(())
}

fn show_of(row: &sqlx::postgres::PgRow) -> Result<Show, Error> {
    let price: i64 = row.try_get("price")?;
    Ok(Show {
        show_id: row.try_get::<ShowId, _>("show_id")?,
        concert_id: row.try_get("concert_id")?,
        date: row.try_get("date")?,
        price: Points::new(price)
            .ok_or_else(|| Error::internal(format_args!("postgres holds {price} as a price")))?,
        seat_count: row.try_get("seats")?,
        opens_at: row.try_get("opens_at")?,
        closes_at: row.try_get("closes_at")?,
    })
}

fn concert_of(row: &sqlx::postgres::PgRow) -> Result<Concert, Error> {
    Ok(Concert {
        concert_id: row.try_get("concert_id")?,
        title: row.try_get("title")?,
        queue: QueueSettings {
            admit_per_second: rate(row.try_get("rate_tenths")?),
            max_active: row.try_get("max_active")?,
            active_seconds: row.try_get("active_seconds")?,
            max_waiting: row.try_get("max_waiting")?,
        },
        max_seats_per_user: row.try_get("seats_per_user")?,
        hold_seconds: row.try_get("hold_seconds")?,
        created_at: row.try_get("created_at")?,
    })
}

/// A page of concerts, newest first.
pub async fn page(pool: &PgPool, page: &PageRequest) -> Result<Page<Concert>, Error> {
    let rows = sqlx::query(
        "select c.concert_id, c.title, c.seats_per_user, c.hold_seconds, c.created_at,
             q.rate_tenths, q.max_active, q.active_seconds, q.max_waiting
         from concerts c join queues q on q.queue_id = c.concert_id
         where (c.created_at, c.concert_id)
             < (coalesce((select created_at from concerts where concert_id = $1), 'infinity'), $1)
         order by c.created_at desc, c.concert_id desc limit $2",
    )
    .bind(page.after_id()?.unwrap_or(Uuid::max()))
    .bind(page.fetch())
    .fetch_all(pool)
    .await?;
    page.cut(rows, |row| Ok(row.try_get::<Uuid, _>("concert_id")?.to_string()), concert_of)
}

/// One concert.
pub async fn concert(pool: &PgPool, concert: ConcertId) -> Result<Option<Concert>, Error> {
    let row = sqlx::query(
        "select c.concert_id, c.title, c.seats_per_user, c.hold_seconds, c.created_at,
             q.rate_tenths, q.max_active, q.active_seconds, q.max_waiting
         from concerts c join queues q on q.queue_id = c.concert_id where c.concert_id = $1",
    )
    .bind(concert)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(concert_of).transpose()
}

/// A concert's shows, by date.
pub async fn shows(pool: &PgPool, concert: ConcertId) -> Result<Vec<Show>, Error> {
    let rows = sqlx::query(
        "select show_id, concert_id, date, price, seats, opens_at, closes_at from shows
         where concert_id = $1 order by date",
    )
    .bind(concert)
    .fetch_all(pool)
    .await?;
    rows.iter().map(show_of).collect()
}

/// The show of a day.
pub async fn show(pool: &PgPool, concert: ConcertId, date: NaiveDate) -> Result<Option<Show>, Error> {
    let row = sqlx::query(
        "select show_id, concert_id, date, price, seats, opens_at, closes_at from shows
         where concert_id = $1 and date = $2",
    )
    .bind(concert)
    .bind(date)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(show_of).transpose()
}
