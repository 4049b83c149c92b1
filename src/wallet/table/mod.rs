//! What Postgres remembers of points.

mod adopt;

pub use adopt::adopt;

use std::collections::BTreeMap;

use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::event::WalletEvent;
use super::model::{Transaction, TransactionType};
use super::store;
use crate::error::Error;
use crate::http::page::{Page, PageRequest};
use crate::ids::{ConcertId, PaymentId, Points, ReservationId, TransactionId, UserId};
use crate::journal::entry::Entry;
use crate::journal::loader::{Content, Loader};
use crate::journal::table::statements::Statements;
use crate::orders::event::OrderPlaced;
use crate::redis::Shard;

struct LedgerRow {
    transaction: TransactionId,
    user: UserId,
    kind: TransactionType,
    amount: i64,
    balance_after: Points,
    reference: Option<Uuid>,
    epoch: u64,
    seq: u64,
    at: chrono::DateTime<chrono::Utc>,
}

struct TransferRow {
    op: Uuid,
    payment: PaymentId,
    user: UserId,
    shard: Shard,
    reservation: ReservationId,
    concert: ConcertId,
    amount: Points,
    balance_after: Points,
    at: chrono::DateTime<chrono::Utc>,
}

/// What a round changes: sums for balances, rows for all else.
#[derive(Default)]
pub struct Changes {
    balances: BTreeMap<UserId, (Shard, i64)>,
    ledger: Vec<LedgerRow>,
    transfers: Vec<TransferRow>,
    voided: Vec<Uuid>,
}

impl Changes {
    /// Takes up one fact.
    pub fn fold(&mut self, entry: &Entry, event: WalletEvent) {
        match event {
            WalletEvent::PointsCharged(fact) => {
                let signed = fact.amount.get();
                let row = (fact.transaction, fact.user, TransactionType::Charge, fact.balance, None);
                self.change(entry, signed, row);
            }
            WalletEvent::PointsRewarded(fact) => {
                let reference = Some(fact.request.uuid());
                let row = (fact.transaction, fact.user, TransactionType::Reward, fact.balance, reference);
                self.change(entry, fact.amount.get(), row);
            }
            WalletEvent::PointsReserved(fact) => {
                let reference = Some(fact.payment.uuid());
                let row = (fact.transaction, fact.user, TransactionType::Payment, fact.balance, reference);
                self.change(entry, -fact.amount.get(), row);
                self.transfers.push(TransferRow {
                    op: entry.op.op,
                    payment: fact.payment,
                    user: fact.user,
                    shard: entry.receipt.shard,
                    reservation: fact.reservation,
                    concert: fact.concert,
                    amount: fact.amount,
                    balance_after: fact.balance,
                    at: entry.at(),
                });
            }
            WalletEvent::PointsRefunded(fact) => {
                let reference = Some(fact.payment.uuid());
                let row = (fact.transaction, fact.user, TransactionType::Refund, fact.balance, reference);
                self.change(entry, fact.amount.get(), row);
                self.voided.push(fact.transfer);
            }
        }
    }

    /// An order was paid.
    pub fn spend(&mut self, entry: &Entry, order: &OrderPlaced) {
        let reference = Some(order.order.uuid());
        let row = (order.transaction, order.user, TransactionType::Order, order.balance, reference);
        self.change(entry, -order.total.get(), row);
    }

    fn change(
        &mut self,
        entry: &Entry,
        amount: i64,
        (transaction, user, kind, balance_after, reference): (
            TransactionId,
            UserId,
            TransactionType,
            Points,
            Option<Uuid>,
        ),
    ) {
        self.balances.entry(user).or_insert((entry.receipt.shard, 0)).1 += amount;
        let (epoch, seq, at) = (entry.receipt.epoch, entry.receipt.seq, entry.at());
        self.ledger.push(LedgerRow {
            transaction,
            user,
            kind,
            amount,
            balance_after,
            reference,
            epoch,
            seq,
            at,
        });
    }

    /// Says it all.
    pub fn say(&self, to: &mut Statements) {
        if self.ledger.is_empty() {
            return;
        }
        self.say_ledger(to);
        if !self.transfers.is_empty() {
            self.say_transfers(to);
        }
        if !self.voided.is_empty() {
            to.say(
                "void_transfers",
                "update transfers set state = 'VOIDED' where op = any($1) and state = 'PENDING'",
            )
            .bind(&self.voided);
            to.say(
                "close_decisions",
                "update decisions set closed_at = now() where op = any($1) and closed_at is null",
            )
            .bind(&self.voided);
        }
    }

    /// The ledger, and the balances: sums are added, so that Postgres does its own arithmetic. A row begins
    /// at nothing: an insert with a negative sum would meet the constraint before it met the row.
    fn say_ledger(&self, to: &mut Statements) {
        let rows = &self.ledger;
        let users: Vec<UserId> = self.balances.keys().copied().collect();
        let shards: Vec<i32> = self.balances.values().map(|(shard, _)| shard.as_i32()).collect();
        let sums: Vec<i64> = self.balances.values().map(|(_, sum)| *sum).collect();
        to.say(
            "change_balances",
            "with change as (
                 select * from unnest($1::uuid[], $2::int[], $3::bigint[]) as change(user_id, shard, amount)
             ), made as (
                 insert into balances (user_id, shard, balance)
                 select change.user_id, change.shard, change.amount from change
                 where not exists (select from balances b where b.user_id = change.user_id)
                 returning user_id
             ), written as (
                 insert into ledger (transaction_id, user_id, type, amount, balance_after, reference, epoch,
                     seq, created_at)
                 select * from unnest($4::uuid[], $5::uuid[], $6::text[], $7::bigint[], $8::bigint[],
                     $9::uuid[], $10::bigint[], $11::bigint[], $12::timestamptz[])
             )
             update balances b set balance = b.balance + change.amount
             from change
             where b.user_id = change.user_id
               and not exists (select from made where made.user_id = b.user_id)",
        )
        .bind(users)
        .bind(shards)
        .bind(sums)
        .bind(rows.iter().map(|r| r.transaction).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.user).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.kind.word()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.amount).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.balance_after.get()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.reference).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.epoch as i64).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.seq as i64).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.at).collect::<Vec<_>>());
    }

    /// A Postgres that went back a little is filled again shard by shard: the decision may come first.
    fn say_transfers(&self, to: &mut Statements) {
        let rows = &self.transfers;
        to.say(
            "begin_transfers",
            "insert into transfers
                 (op, payment_id, user_id, shard, reservation_id, concert_id, amount, balance_after,
                  issued_at, state)
             select t.*, case when exists (select from decisions d where d.op = t.op and d.decision = 'C')
                              then 'POSTED' else 'PENDING' end
             from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::uuid[], $6::uuid[], $7::bigint[],
                 $8::bigint[], $9::timestamptz[])
                 as t(op, payment_id, user_id, shard, reservation_id, concert_id, amount, balance_after,
                      issued_at)",
        )
        .bind(rows.iter().map(|r| r.op).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.payment).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.user).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.shard.as_i32()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.reservation).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.concert).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.amount.get()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.balance_after.get()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.at).collect::<Vec<_>>());
    }
}

/// Loads a shard's balances and open transfers. A transfer whose seats are sold is closed already.
pub async fn load(pg: &mut PgConnection, loader: &mut Loader) -> Result<(), Error> {
    use futures::TryStreamExt;
    let shard = loader.space.shard.as_i32();
    let key = store::balances(&loader.space);
    loader.declare(&key, Content::hash());
    loader.declare(&store::transfers(&loader.space), Content::hash());
    let mut rows =
        sqlx::query("select user_id, balance from balances where shard = $1").bind(shard).fetch(&mut *pg);
    while let Some(row) = rows.try_next().await? {
        loader.hset(&key, row.try_get::<UserId, _>(0)?, row.try_get::<i64, _>(1)?).await?;
    }
    drop(rows);
    let mut reserved: BTreeMap<UserId, i64> = BTreeMap::new();
    for row in open_transfers(pg, shard).await? {
        let (op, user, amount): (Uuid, UserId, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let issued: chrono::DateTime<chrono::Utc> = row.try_get(3)?;
        let (balance, payment): (i64, PaymentId) = (row.try_get(4)?, row.try_get(5)?);
        let (reservation, concert): (ReservationId, ConcertId) = (row.try_get(6)?, row.try_get(7)?);
        let record = format!("{user}|{amount}|{balance}|{payment}|{reservation}|{concert}");
        loader.hset(&store::transfers(&loader.space), op, record).await?;
        loader.zadd(&store::ages(&loader.space), issued.timestamp_millis(), op).await?;
        *reserved.entry(user).or_default() += amount;
    }
    for (user, amount) in reserved {
        loader.hset(&store::reserved(&loader.space), user, amount).await?;
    }
    Ok(())
}

async fn open_transfers(pg: &mut PgConnection, shard: i32) -> Result<Vec<sqlx::postgres::PgRow>, Error> {
    let rows = sqlx::query(
        "select t.op, t.user_id, t.amount, t.issued_at, t.balance_after, t.payment_id, t.reservation_id,
             t.concert_id
         from transfers t
         where t.shard = $1 and t.state = 'PENDING'
           and not exists (select from decisions d where d.op = t.op and d.decision = 'C')",
    )
    .bind(shard)
    .fetch_all(pg)
    .await?;
    Ok(rows)
}

/// What a user has; nothing where he never had any.
pub async fn balance(pool: &PgPool, user: UserId) -> Result<Points, Error> {
    let row = sqlx::query("select balance from balances where user_id = $1")
        .bind(user)
        .fetch_optional(pool)
        .await?;
    match row {
        None => Ok(Points::ZERO),
        Some(row) => points(row.try_get(0)?),
    }
}

fn points(stored: i64) -> Result<Points, Error> {
    Points::new(stored).ok_or_else(|| Error::internal(format_args!("postgres holds {stored} as points")))
}

/// A page of a user's ledger, newest first.
pub async fn transactions(
    pool: &PgPool,
    user: UserId,
    page: &PageRequest,
) -> Result<Page<Transaction>, Error> {
    let (epoch, seq) = page.after_pair()?.unwrap_or((i64::MAX, i64::MAX));
    let rows = sqlx::query(
        "select transaction_id, type, amount, balance_after, reference, created_at, epoch, seq from ledger
         where user_id = $1 and (epoch, seq) < ($2, $3)
         order by epoch desc, seq desc limit $4",
    )
    .bind(user)
    .bind(epoch)
    .bind(seq)
    .bind(page.fetch())
    .fetch_all(pool)
    .await?;
    page.cut(
        rows,
        |row| Ok(format!("{}-{}", row.try_get::<i64, _>("epoch")?, row.try_get::<i64, _>("seq")?)),
        |row| {
            Ok(Transaction {
                transaction_id: row.try_get("transaction_id")?,
                kind: TransactionType::stored(row.try_get("type")?)?,
                amount: row.try_get("amount")?,
                balance_after: points(row.try_get("balance_after")?)?,
                reference: row.try_get("reference")?,
                created_at: row.try_get("created_at")?,
            })
        },
    )
}

/// Those of the transfers whose seats are sold.
pub async fn posted(pg: &mut PgConnection, transfers: &[Uuid]) -> Result<Vec<Uuid>, Error> {
    if transfers.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query("select op from transfers where op = any($1) and state = 'POSTED'")
        .bind(transfers)
        .fetch_all(pg)
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Users whose ledger does not add up to their balance: user, balance, sum, last row.
pub async fn uneven_ledgers(
    pg: &mut PgConnection,
    shard: Shard,
) -> Result<Vec<(UserId, i64, i64, i64)>, Error> {
    let rows = sqlx::query(
        "select b.user_id, b.balance, coalesce(l.total, 0)::bigint as total, coalesce(l.last, 0) as last
         from balances b
         left join lateral (
             select sum(amount) as total,
                 (array_agg(balance_after order by epoch desc, seq desc))[1] as last
             from ledger where user_id = b.user_id
         ) l on true
         where b.shard = $1 and (b.balance <> coalesce(l.total, 0) or b.balance <> coalesce(l.last, 0))",
    )
    .bind(shard.as_i32())
    .fetch_all(pg)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))).collect()
}

/// Transfers that were voided and whose refund is missing or of another amount.
pub async fn voided_without_refund(pg: &mut PgConnection, shard: Shard) -> Result<Vec<Uuid>, Error> {
    let rows = sqlx::query(
        "select t.op from transfers t where t.shard = $1 and t.state = 'VOIDED'
           and (select count(*) from ledger l
                where l.user_id = t.user_id and l.type = 'REFUND' and l.reference = t.payment_id
                  and l.amount = t.amount) <> 1",
    )
    .bind(shard.as_i32())
    .fetch_all(pg)
    .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
