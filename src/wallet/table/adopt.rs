//! Taking over what Redis knows of points, where Postgres was restored from an older backup.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{Changes, LedgerRow, TransferRow, points};
use crate::clock::from_millis;
use crate::error::Error;
use crate::ids::{Points, TransactionId, UserId};
use crate::journal::adopt::Kept;
use crate::journal::table::statements::Statements;
use crate::wallet::model::TransactionType;
use crate::wallet::store;

/// Balances become those of Redis; transfers that Redis has finished are finished, those that are under way
/// are known again. What each user's ledger lacks is booked as one charge or one payment without a reference.
pub async fn adopt(pg: &mut PgConnection, kept: &Kept) -> Result<(), Error> {
    let shard = kept.space.shard;
    let wanted = kept.hash::<UserId, i64>(&store::balances(&kept.space))?;
    let under_way = kept.hash::<Uuid, String>(&store::transfers(&kept.space))?;
    let (users, shards): (Vec<UserId>, Vec<i32>) = wanted.keys().map(|user| (*user, shard.as_i32())).unzip();
    sqlx::query(
        "insert into balances (user_id, shard, balance)
         select user_id, shard, 0 from unnest($1::uuid[], $2::int[]) as b(user_id, shard)
         on conflict (user_id) do nothing",
    )
    .bind(users)
    .bind(shards)
    .execute(&mut *pg)
    .await?;
    sqlx::query(
        "update transfers t set state = 'POSTED' from decisions d
         where d.op = t.op and d.decision = 'C' and t.shard = $1 and t.state = 'PENDING'",
    )
    .bind(shard.as_i32())
    .execute(&mut *pg)
    .await?;
    let mut books = Books { changes: Changes::default(), have: balances(pg, kept).await?, kept, rows: 0 };
    for row in transfers(pg, kept).await? {
        let (op, user, payment): (Uuid, UserId, Uuid) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let is_pending = row.try_get::<&str, _>(4)? == "PENDING";
        if is_pending && !under_way.contains_key(&op) {
            books.add(user, row.try_get(3)?, TransactionType::Refund, Some(payment))?;
            books.changes.voided.push(op);
        }
    }
    let known: Vec<Uuid> = transfers(pg, kept).await?.iter().map(|row| row.get(0)).collect();
    let new: Vec<TransferRow> = under_way
        .iter()
        .filter(|(op, _)| !known.contains(op))
        .map(|(op, record)| transfer(*op, record, kept))
        .collect::<Result<_, _>>()?;
    let mut aside: BTreeMap<UserId, i64> = BTreeMap::new();
    new.iter().for_each(|row| *aside.entry(row.user).or_default() += row.amount.get());
    for (user, balance) in &wanted {
        let lacks = balance + aside.get(user).unwrap_or(&0) - books.have.get(user).unwrap_or(&0);
        let kind = if lacks > 0 { TransactionType::Charge } else { TransactionType::Payment };
        if lacks != 0 {
            books.add(*user, lacks, kind, None)?;
        }
    }
    for row in new {
        books.add(row.user, -row.amount.get(), TransactionType::Payment, Some(row.payment.uuid()))?;
        books.changes.transfers.push(row);
    }
    let mut each = Statements::each();
    books.changes.say(&mut each);
    each.make(pg).await
}

struct Books<'a> {
    changes: Changes,
    have: BTreeMap<UserId, i64>,
    kept: &'a Kept,
    rows: u64,
}

impl Books<'_> {
    /// One more row of a user's ledger, after all that he has.
    fn add(
        &mut self,
        user: UserId,
        amount: i64,
        kind: TransactionType,
        reference: Option<Uuid>,
    ) -> Result<(), Error> {
        let balance = self.have.entry(user).or_default();
        *balance += amount;
        self.rows += 1;
        self.changes.balances.entry(user).or_insert((self.kept.space.shard, 0)).1 += amount;
        self.changes.ledger.push(LedgerRow {
            transaction: TransactionId::mint(),
            user,
            kind,
            amount,
            balance_after: points(*balance)?,
            reference,
            epoch: self.kept.space.epoch,
            seq: self.kept.last + self.rows,
            at: from_millis(self.kept.now_ms),
        });
        Ok(())
    }
}

async fn balances(pg: &mut PgConnection, kept: &Kept) -> Result<BTreeMap<UserId, i64>, Error> {
    let rows = sqlx::query("select user_id, balance from balances where shard = $1")
        .bind(kept.space.shard.as_i32())
        .fetch_all(pg)
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

async fn transfers(pg: &mut PgConnection, kept: &Kept) -> Result<Vec<sqlx::postgres::PgRow>, Error> {
    Ok(sqlx::query("select op, user_id, payment_id, amount, state from transfers where shard = $1")
        .bind(kept.space.shard.as_i32())
        .fetch_all(pg)
        .await?)
}

/// `user|amount|balance|payment|reservation|concert`.
fn transfer(op: Uuid, record: &str, kept: &Kept) -> Result<TransferRow, Error> {
    let bad = || Error::internal(format_args!("{record:?} is no transfer"));
    let fields: Vec<&str> = record.split('|').collect();
    let [user, amount, balance, payment, reservation, concert] = fields[..] else { return Err(bad()) };
    let number = |text: &str| text.parse::<Points>().map_err(|_| bad());
    let id = |text: &str| text.parse::<Uuid>().map_err(|_| bad());
    Ok(TransferRow {
        op,
        payment: id(payment)?.into(),
        user: id(user)?.into(),
        shard: kept.space.shard,
        reservation: id(reservation)?.into(),
        concert: id(concert)?.into(),
        amount: number(amount)?,
        balance_after: number(balance)?,
        at: from_millis(kept.now_ms),
    })
}
