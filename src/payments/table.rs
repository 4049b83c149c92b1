//! What Postgres remembers of payments and their decisions.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::event::{PaymentConfirmed, PaymentEvent};
use super::model::{DECIDE, Payment, PaymentStatus, Transfer};
use super::store;
use crate::coupons::codes::Codes;
use crate::error::Error;
use crate::http::page::{Page, PageRequest};
use crate::ids::{ConcertId, PaymentId, Points, UserId};
use crate::journal::adopt::Kept;
use crate::journal::entry::{Entry, OpStep};
use crate::journal::loader::{Content, Loader};
use crate::journal::table::statements::Statements;
use crate::redis::Shard;
use crate::wallet::event::PointsReserved;

struct Decision {
    op: Uuid,
    shard: Shard,
    concert: ConcertId,
    word: &'static str,
    epoch: u64,
    seq: u64,
    hash: String,
    facts: String,
    at: DateTime<Utc>,
}

/// What a round adds.
#[derive(Default)]
pub struct Changes {
    paid: Vec<(DateTime<Utc>, PaymentConfirmed)>,
    decisions: Vec<Decision>,
}

impl Changes {
    /// Takes up one fact.
    pub fn fold(&mut self, entry: &Entry, event: PaymentEvent) {
        let (op, concert, word) = match event {
            PaymentEvent::PaymentConfirmed(fact) => {
                let decision = (fact.transfer, fact.concert, "C");
                self.paid.push((entry.at(), fact));
                decision
            }
            PaymentEvent::PaymentRefused(fact) => (fact.transfer, fact.concert, "A"),
        };
        self.decisions.push(Decision {
            op,
            shard: entry.receipt.shard,
            concert,
            word,
            epoch: entry.receipt.epoch,
            seq: entry.receipt.seq,
            hash: entry.receipt.hash.to_string(),
            facts: entry.facts.as_str().to_owned(),
            at: entry.at(),
        });
    }

    /// Says it all. A yes closes its transfer; a no is closed when the points are back, which may stand
    /// here already where a Postgres that went back is filled again.
    pub fn say(&self, to: &mut Statements) {
        if !self.paid.is_empty() {
            self.say_paid(to);
        }
        if !self.decisions.is_empty() {
            self.say_decisions(to);
        }
    }

    fn say_paid(&self, to: &mut Statements) {
        let rows = &self.paid;
        to.say(
            "add_payments",
            "insert into payments (payment_id, reservation_id, user_id, amount, balance_after, paid_at)
             select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::bigint[],
                 $6::timestamptz[])",
        )
        .bind(rows.iter().map(|(_, r)| r.payment).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.reservation).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.user).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.amount.get()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.balance.get()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(at, _)| *at).collect::<Vec<_>>());
        let mut transfers: Vec<Uuid> = rows.iter().map(|(_, r)| r.transfer).collect();
        transfers.sort_unstable();
        to.say(
            "post_transfers",
            "update transfers set state = 'POSTED' where op = any($1) and state = 'PENDING'",
        )
        .bind(transfers);
    }

    fn say_decisions(&self, to: &mut Statements) {
        let rows = &self.decisions;
        to.say(
            "add_decisions",
            "insert into decisions (op, shard, concert_id, decision, epoch, seq, h, facts, at, closed_at)
             select op, shard, concert_id, decision, epoch, seq, h, facts, at,
                 case when decision = 'C'
                          or exists (select from transfers t where t.op = d.op and t.state = 'VOIDED')
                      then now() end
             from unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[],
                 $7::text[], $8::text[], $9::timestamptz[])
                 as d(op, shard, concert_id, decision, epoch, seq, h, facts, at)",
        )
        .bind(rows.iter().map(|r| r.op).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.shard.as_i32()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.concert).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.word).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.epoch as i64).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.seq as i64).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.hash.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.facts.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.at).collect::<Vec<_>>());
    }
}

/// Loads a shard's decisions, as records of their operations.
pub async fn load(pg: &mut PgConnection, loader: &mut Loader) -> Result<(), Error> {
    let key = store::decided(&loader.space);
    loader.declare(&key, Content::hash());
    for row in sqlx::query("select op, epoch, seq, h, at, facts from decisions where shard = $1")
        .bind(loader.space.shard.as_i32())
        .fetch_all(pg)
        .await?
    {
        let (epoch, seq): (i64, i64) = (row.try_get("epoch")?, row.try_get("seq")?);
        let (hash, facts): (&str, &str) = (row.try_get("h")?, row.try_get("facts")?);
        let at: DateTime<Utc> = row.try_get("at")?;
        let record = format!("{epoch}|{seq}|{hash}|{}||{facts}", at.timestamp_millis());
        loader.hset(&key, row.try_get::<Uuid, _>("op")?, record).await?;
    }
    Ok(())
}

/// Takes over what Redis knows to be decided, where Postgres was restored from an older backup: with a yes go
/// its reservation, its seats, its payment and its transfer. What Redis has forgotten was closed a day ago.
pub async fn adopt(
    pg: &mut PgConnection,
    kept: &Kept,
    codes: &Codes,
    shard_of: impl Fn(UserId) -> Shard,
) -> Result<(), Error> {
    let shard = kept.space.shard.as_i32();
    let decided = kept.hash::<Uuid, String>(&store::decided(&kept.space))?;
    sqlx::query("delete from decisions where shard = $1 and op <> all($2)")
        .bind(shard)
        .bind(decided.keys().copied().collect::<Vec<_>>())
        .execute(&mut *pg)
        .await?;
    let rows =
        sqlx::query("select op from decisions where shard = $1").bind(shard).fetch_all(&mut *pg).await?;
    let known: Vec<Uuid> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let mut entries = Vec::new();
    for (op, record) in decided.iter().filter(|(op, _)| !known.contains(op)) {
        let entry = kept.entry(OpStep { op: *op, step: DECIDE }, record)?;
        if let Some(sale) = entry.facts.find::<PaymentConfirmed>().map_err(Error::internal)? {
            adopt_sale(pg, kept, &sale, entry.at(), shard_of(sale.user)).await?;
        }
        entries.push(entry);
    }
    let entries: Vec<&Entry> = entries.iter().collect();
    crate::journal::changes::Changes::fold(&entries).map_err(Error::internal)?.make(&mut *pg, codes).await?;
    // A no to a transfer that is not known any more is closed.
    sqlx::query(
        "update decisions d set closed_at = now()
         where d.shard = $1 and d.decision = 'A' and d.closed_at is null
             and not exists (select from transfers t where t.op = d.op)",
    )
    .bind(shard)
    .execute(pg)
    .await?;
    Ok(())
}

/// What a sale was built on, where the backup lacks it.
async fn adopt_sale(
    pg: &mut PgConnection,
    kept: &Kept,
    sale: &PaymentConfirmed,
    at: DateTime<Utc>,
    shard: Shard,
) -> Result<(), Error> {
    sqlx::query(
        "insert into reservations (reservation_id, concert_id, show_id, shard, user_id, date, seats, amount,
             status, expires_at, created_at)
         select $1, $2, $3, $4, $5, date, $6, $7, 'RESERVED', $8, $8 from shows where show_id = $3
         on conflict (reservation_id) do nothing",
    )
    .bind(sale.reservation)
    .bind(sale.concert)
    .bind(sale.show)
    .bind(kept.space.shard.as_i32())
    .bind(sale.user)
    .bind(sale.seats.iter().map(|seat| *seat as i32).collect::<Vec<_>>())
    .bind(sale.amount.get())
    .bind(at)
    .execute(&mut *pg)
    .await?;
    sqlx::query(
        "insert into transfers (op, payment_id, user_id, shard, reservation_id, concert_id, amount,
             balance_after, issued_at, state)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'POSTED') on conflict (op) do nothing",
    )
    .bind(sale.transfer)
    .bind(sale.payment)
    .bind(sale.user)
    .bind(shard.as_i32())
    .bind(sale.reservation)
    .bind(sale.concert)
    .bind(sale.amount.get())
    .bind(sale.balance.get())
    .bind(at)
    .execute(pg)
    .await?;
    Ok(())
}

/// Transfers of a user's shard that are durable for long and not finished: undecided, or refused and not
/// given back; those that follow an operation, so that some that cannot be finished do not hide the others.
pub async fn abandoned(
    pool: &PgPool,
    shard: Shard,
    older_ms: i64,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Transfer>, Error> {
    let rows = sqlx::query(
        "select op, payment_id, user_id, reservation_id, concert_id, amount, balance_after, issued_at
         from transfers
         where shard = $1 and state = 'PENDING' and recorded_at < now() - make_interval(secs => $2 / 1000.0)
             and op > $3
         order by op limit $4",
    )
    .bind(shard.as_i32())
    .bind(older_ms as f64)
    .bind(after)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let issued: DateTime<Utc> = row.try_get("issued_at")?;
            Ok(Transfer {
                op: row.try_get("op")?,
                points: PointsReserved {
                    transaction: Uuid::nil().into(),
                    user: row.try_get("user_id")?,
                    amount: row.try_get("amount")?,
                    balance: row.try_get("balance_after")?,
                    payment: row.try_get("payment_id")?,
                    reservation: row.try_get("reservation_id")?,
                    concert: row.try_get("concert_id")?,
                },
                issued_ms: issued.timestamp_millis(),
            })
        })
        .collect()
}

/// Decisions of a shard that were closed more than a day ago.
pub async fn closed_long_ago(pool: &PgPool, shard: Shard, limit: i64) -> Result<Vec<Uuid>, Error> {
    let rows = sqlx::query(
        "select op from decisions where shard = $1 and closed_at < now() - interval '24 hours'
         order by closed_at limit $2",
    )
    .bind(shard.as_i32())
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Drops decisions that Redis has forgotten.
pub async fn drop_decisions(pool: &PgPool, ops: &[Uuid]) -> Result<(), Error> {
    sqlx::query("delete from decisions where op = any($1)").bind(ops).execute(pool).await?;
    Ok(())
}

fn payment_of(row: &sqlx::postgres::PgRow) -> Result<Payment, Error> {
    let points = |column: &str| -> Result<Points, Error> {
        let stored: i64 = row.try_get(column)?;
        Points::new(stored)
            .ok_or_else(|| Error::internal(format_args!("postgres holds {stored} as {column}")))
    };
    Ok(Payment {
        payment_id: row.try_get("payment_id")?,
        reservation_id: row.try_get("reservation_id")?,
        amount: points("amount")?,
        balance: points("balance_after")?,
        status: PaymentStatus::Paid,
        paid_at: row.try_get("paid_at")?,
        user_id: row.try_get("user_id")?,
    })
}

/// One payment.
pub async fn payment(pool: &PgPool, id: PaymentId) -> Result<Option<Payment>, Error> {
    let row = sqlx::query(
        "select payment_id, reservation_id, user_id, amount, balance_after, paid_at from payments
         where payment_id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(payment_of).transpose()
}

/// A page of payments, newest first: one user's, or all.
pub async fn page(pool: &PgPool, of: Option<UserId>, page: &PageRequest) -> Result<Page<Payment>, Error> {
    let rows = sqlx::query(
        "select payment_id, reservation_id, user_id, amount, balance_after, paid_at from payments
         where ($1::uuid is null or user_id = $1) and payment_id < $2
         order by payment_id desc limit $3",
    )
    .bind(of)
    .bind(page.after_id()?.unwrap_or(Uuid::max()))
    .bind(page.fetch())
    .fetch_all(pool)
    .await?;
    page.cut(rows, |row| Ok(row.try_get::<Uuid, _>("payment_id")?.to_string()), payment_of)
}

/// Confirmed reservations of a concert's shard that were not paid exactly once, in full.
pub async fn sales_without_payment(
    pg: &mut PgConnection,
    shard: Shard,
) -> Result<Vec<crate::ids::ReservationId>, Error> {
    let rows = sqlx::query(
        "select r.reservation_id from reservations r where r.shard = $1 and
             (select count(*) from payments p where p.reservation_id = r.reservation_id
                  and p.amount = r.amount and p.user_id = r.user_id)
             <> case when r.status = 'CONFIRMED' then 1 else 0 end",
    )
    .bind(shard.as_i32())
    .fetch_all(pg)
    .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Decisions of a concert's shard whose transfer does not say the same: a yes is posted, a no never
/// (one that is not known any more moved no points).
pub async fn decisions_not_followed(pg: &mut PgConnection, shard: Shard) -> Result<Vec<Uuid>, Error> {
    let rows = sqlx::query(
        "select d.op from decisions d left join transfers t on t.op = d.op
         where d.shard = $1 and not coalesce(
             case d.decision when 'C' then t.state = 'POSTED'
                 else coalesce(t.state in ('PENDING', 'VOIDED'), true) end,
             false)",
    )
    .bind(shard.as_i32())
    .fetch_all(pg)
    .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
