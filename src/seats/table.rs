//! What Postgres remembers of seats.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::event::{SeatEvent, SeatsHeld};
use super::model::{Hold, Reservation, ReservationStatus};
use super::store;
use crate::clock::from_millis;
use crate::error::Error;
use crate::http::page::{Page, PageRequest};
use crate::ids::{ConcertId, Points, ReservationId, ShowId, UserId};
use crate::journal::adopt::Kept;
use crate::journal::entry::Entry;
use crate::journal::loader::{Content, Loader};
use crate::journal::table::statements::Statements;
use crate::payments::event::PaymentConfirmed;
use crate::redis::{Shard, by_commas};

/// What a round changes: new reservations, and the last status of each that changed.
#[derive(Default)]
pub struct Changes {
    held: Vec<(Shard, DateTime<Utc>, SeatsHeld)>,
    statuses: BTreeMap<ReservationId, ReservationStatus>,
    sold: Vec<(Shard, PaymentConfirmed)>,
}

impl Changes {
    /// Takes up one fact.
    pub fn fold(&mut self, entry: &Entry, event: SeatEvent) {
        match event {
            SeatEvent::SeatsHeld(fact) => self.held.push((entry.receipt.shard, entry.at(), fact)),
            SeatEvent::HoldLapsed(fact) => {
                self.statuses.insert(fact.reservation, ReservationStatus::Expired);
            }
            SeatEvent::HoldCancelled(fact) => {
                self.statuses.insert(fact.reservation, ReservationStatus::Cancelled);
            }
        }
    }

    /// Seats were sold by a payment.
    pub fn sell(&mut self, entry: &Entry, fact: &PaymentConfirmed) {
        self.statuses.insert(fact.reservation, ReservationStatus::Confirmed);
        self.sold.push((entry.receipt.shard, fact.clone()));
    }

    /// Says it all.
    pub fn say(&self, to: &mut Statements) {
        if !self.held.is_empty() {
            self.say_held(to);
        }
        if !self.statuses.is_empty() {
            to.say(
                "change_reservations",
                "update reservations r set status = n.status
                 from unnest($1::uuid[], $2::text[]) n(reservation_id, status)
                 where r.reservation_id = n.reservation_id",
            )
            .bind(self.statuses.keys().copied().collect::<Vec<_>>())
            .bind(self.statuses.values().map(|status| status.word()).collect::<Vec<_>>());
        }
        if !self.sold.is_empty() {
            self.say_sold(to);
        }
    }

    fn say_held(&self, to: &mut Statements) {
        let rows = &self.held;
        // Arrays of arrays must be of one length, so the seats of each reservation go as text.
        let seats: Vec<String> = rows.iter().map(|(_, _, fact)| by_commas(&fact.seats)).collect();
        to.say(
            "hold_seats",
            "insert into reservations
                 (reservation_id, concert_id, show_id, shard, user_id, date, seats, amount, status,
                 expires_at, created_at)
             select r.reservation_id, r.concert_id, r.show_id, r.shard, r.user_id, r.date,
                 string_to_array(r.seats, ',')::int[], r.amount, 'RESERVED', r.expires_at, r.created_at
             from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::uuid[], $6::date[], $7::text[],
                 $8::bigint[], $9::timestamptz[], $10::timestamptz[])
                 as r(reservation_id, concert_id, show_id, shard, user_id, date, seats, amount, expires_at,
                     created_at)",
        )
        .bind(rows.iter().map(|(_, _, r)| r.reservation).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| r.concert).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| r.show).collect::<Vec<_>>())
        .bind(rows.iter().map(|(shard, _, _)| shard.as_i32()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| r.user).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| r.date).collect::<Vec<_>>())
        .bind(seats)
        .bind(rows.iter().map(|(_, _, r)| r.amount.get()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| from_millis(r.deadline_ms)).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, at, _)| *at).collect::<Vec<_>>());
    }

    /// A seat that is sold already is refused by Postgres: the last wall.
    fn say_sold(&self, to: &mut Statements) {
        let (mut shows, mut seats, mut shards, mut reservations, mut users) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (shard, fact) in &self.sold {
            for seat in &fact.seats {
                shows.push(fact.show);
                seats.push(*seat as i32);
                shards.push(shard.as_i32());
                reservations.push(fact.reservation);
                users.push(fact.user);
            }
        }
        to.say(
            "sell_seats",
            "insert into sold_seats (show_id, seat, shard, reservation_id, user_id)
             select * from unnest($1::uuid[], $2::int[], $3::int[], $4::uuid[], $5::uuid[])",
        )
        .bind(shows)
        .bind(seats)
        .bind(shards)
        .bind(reservations)
        .bind(users);
    }
}

/// Loads a shard's held and sold seats.
pub async fn load(pg: &mut PgConnection, loader: &mut Loader) -> Result<(), Error> {
    use futures::TryStreamExt;
    let space = loader.space.clone();
    let shard = space.shard.as_i32();
    declare(pg, loader).await?;
    let mut seats_of: BTreeMap<(ShowId, UserId), usize> = BTreeMap::new();
    let mut holds_of: BTreeMap<(ConcertId, UserId), usize> = BTreeMap::new();
    let held = sqlx::query(
        "select reservation_id, concert_id, show_id, date, user_id, seats, amount, status, expires_at
         from reservations where shard = $1 and status = 'RESERVED'",
    )
    .bind(shard)
    .fetch_all(&mut *pg)
    .await?;
    for row in &held {
        let hold = reservation_of(row)?;
        let (id, deadline) = (hold.reservation_id, hold.expires_at.timestamp_millis());
        let record = store::hold_record(&Hold::from(&hold));
        loader.hset(&store::holds(&space, hold.concert_id), id, record).await?;
        let member = format!("{}|{}|{id}", hold.concert_id, hold.show_id);
        loader.zadd(&store::deadlines(&space), deadline, member).await?;
        for seat in &hold.seat_numbers {
            loader.hset(&store::state(&space, hold.show_id), seat, format!("h:{id}")).await?;
            loader.setbit(&store::taken(&space, hold.show_id), *seat).await?;
        }
        *seats_of.entry((hold.show_id, hold.user_id)).or_default() += hold.seat_numbers.len();
        *holds_of.entry((hold.concert_id, hold.user_id)).or_default() += 1;
    }
    let mut sold =
        sqlx::query("select show_id, seat, reservation_id, user_id from sold_seats where shard = $1")
            .bind(shard)
            .fetch(pg);
    while let Some(row) = sold.try_next().await? {
        let (show, seat): (ShowId, i32) = (row.try_get(0)?, row.try_get(1)?);
        let (reservation, user): (ReservationId, UserId) = (row.try_get(2)?, row.try_get(3)?);
        loader.hset(&store::state(&space, show), seat, format!("s:{reservation}")).await?;
        loader.setbit(&store::taken(&space, show), seat as u32).await?;
        *seats_of.entry((show, user)).or_default() += 1;
    }
    for ((show, user), count) in seats_of {
        loader.hset(&store::users(&space, show), user, count).await?;
    }
    for ((concert, user), count) in holds_of {
        loader.hset(&store::holders(&space, concert), user, count).await?;
    }
    Ok(())
}

/// Takes over the holds that Redis knows, where Postgres was restored from an older backup; what it does not
/// hold any more, and was not sold, is over. Sold seats come with their payments.
pub async fn adopt(pg: &mut PgConnection, kept: &Kept) -> Result<(), Error> {
    let mut held = Vec::new();
    for (concert, holds) in kept.hashes::<ConcertId>("seats", "holds") {
        for (reservation, record) in holds {
            let bad = || Error::internal(format_args!("{record:?} is no hold"));
            let fields: Vec<&str> = record.split('|').collect();
            let [user, show, seats, amount, deadline] = fields[..] else { return Err(bad()) };
            let id = |text: &str| text.parse::<Uuid>().map_err(|_| bad());
            let number = |text: &str| text.parse::<i64>().map_err(|_| bad());
            let (reservation, deadline) = (id(&reservation)?, from_millis(number(deadline)?));
            sqlx::query(
                "insert into reservations (reservation_id, concert_id, show_id, shard, user_id, date, seats,
                     amount, status, expires_at, created_at)
                 select $1, $2, $3, $4, $5, date, string_to_array($6, ',')::int[], $7, 'RESERVED', $8, $9
                 from shows where show_id = $3
                 on conflict (reservation_id)
                     do update set status = excluded.status, expires_at = excluded.expires_at",
            )
            .bind(reservation)
            .bind(concert)
            .bind(id(show)?)
            .bind(kept.space.shard.as_i32())
            .bind(id(user)?)
            .bind(seats)
            .bind(number(amount)?)
            .bind(deadline)
            .bind(from_millis(kept.now_ms))
            .execute(&mut *pg)
            .await?;
            held.push(reservation);
        }
    }
    sqlx::query(
        "update reservations set status = case when expires_at <= now() then 'EXPIRED' else 'CANCELLED' end
         where shard = $1 and status = 'RESERVED' and reservation_id <> all($2)",
    )
    .bind(kept.space.shard.as_i32())
    .bind(held)
    .execute(pg)
    .await?;
    Ok(())
}

/// Every show and concert of the shard has these keys, or could have.
async fn declare(pg: &mut PgConnection, loader: &mut Loader) -> Result<(), Error> {
    let space = loader.space.clone();
    loader.declare(&store::deadlines(&space), Content::sorted());
    for row in sqlx::query("select show_id, concert_id from shows where shard = $1")
        .bind(space.shard.as_i32())
        .fetch_all(pg)
        .await?
    {
        let (show, concert): (ShowId, ConcertId) = (row.try_get(0)?, row.try_get(1)?);
        loader.declare(&store::taken(&space, show), Content::bits());
        let hashes = [
            store::state(&space, show),
            store::users(&space, show),
            store::holds(&space, concert),
            store::holders(&space, concert),
        ];
        hashes.iter().for_each(|key| loader.declare(key, Content::hash()));
    }
    Ok(())
}

fn reservation_of(row: &sqlx::postgres::PgRow) -> Result<Reservation, Error> {
    let (status, amount): (&str, i64) = (row.try_get("status")?, row.try_get("amount")?);
    let seats: Vec<i32> = row.try_get("seats")?;
    Ok(Reservation {
        reservation_id: row.try_get("reservation_id")?,
        status: ReservationStatus::stored(status)?,
        concert_id: row.try_get("concert_id")?,
        show_id: row.try_get("show_id")?,
        date: row.try_get("date")?,
        seat_numbers: seats.into_iter().map(|seat| seat as u32).collect(),
        amount: Points::new(amount)
            .ok_or_else(|| Error::internal(format_args!("postgres holds {amount} as an amount")))?,
        expires_at: row.try_get("expires_at")?,
        user_id: row.try_get("user_id")?,
    })
}

/// One reservation.
pub async fn reservation(pool: &PgPool, id: ReservationId) -> Result<Option<Reservation>, Error> {
    let row = sqlx::query(
        "select reservation_id, concert_id, show_id, date, user_id, seats, amount, status, expires_at
         from reservations where reservation_id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(reservation_of).transpose()
}

/// A page of reservations, newest first: one user's, or all.
pub async fn page(pool: &PgPool, of: Option<UserId>, page: &PageRequest) -> Result<Page<Reservation>, Error> {
    let rows = sqlx::query(
        "select reservation_id, concert_id, show_id, date, user_id, seats, amount, status, expires_at
         from reservations where ($1::uuid is null or user_id = $1) and reservation_id < $2
         order by reservation_id desc limit $3",
    )
    .bind(of)
    .bind(page.after_id()?.unwrap_or(Uuid::max()))
    .bind(page.fetch())
    .fetch_all(pool)
    .await?;
    page.cut(rows, |row| Ok(row.try_get::<Uuid, _>("reservation_id")?.to_string()), reservation_of)
}

/// Seats that are held twice, or held and sold: (show, seat).
pub async fn seats_with_two_owners(pg: &mut PgConnection, shard: Shard) -> Result<Vec<(ShowId, i32)>, Error> {
    let rows = sqlx::query(
        "select show_id, seat from (
             select show_id, unnest(seats) as seat from reservations where shard = $1 and status = 'RESERVED'
             union all
             select show_id, seat from sold_seats where shard = $1
         ) owned group by show_id, seat having count(*) > 1",
    )
    .bind(shard.as_i32())
    .fetch_all(pg)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Confirmed reservations whose seats are not exactly those that were sold to them, and the other way round.
pub async fn reservations_without_their_seats(
    pg: &mut PgConnection,
    shard: Shard,
) -> Result<Vec<ReservationId>, Error> {
    let rows = sqlx::query(
        "select coalesce(r.reservation_id, s.reservation_id)
         from (select reservation_id, show_id, seats from reservations
               where shard = $1 and status = 'CONFIRMED') r
         full join (select reservation_id, show_id, array_agg(seat order by seat) as seats
                    from sold_seats where shard = $1 group by reservation_id, show_id) s
             on s.reservation_id = r.reservation_id and s.show_id = r.show_id
         where r.seats is distinct from s.seats",
    )
    .bind(shard.as_i32())
    .fetch_all(pg)
    .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
