//! Coupons that change, many in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::coupon::{read, select_coupons};
use crate::audit;
use crate::coupons::life::{Action, Change, Changed, decide};
use crate::coupons::model::{Coupon, Status};
use crate::error::{Code, Error};
use crate::ids::UserId;

/// Coupons that nobody else changes until the transaction ends, by code, with their campaigns' ordinals.
type Locked = HashMap<String, (i32, Coupon)>;

/// Decides all, in order, in one transaction.
pub async fn decide_all(
    pool: &PgPool,
    changes: &[Change],
    now: DateTime<Utc>,
    slot: i16,
) -> Result<Vec<Changed>, Error> {
    let mut tx = pool.begin().await?;
    let changed = round(&mut tx, changes, now, slot).await?;
    // Where it breaks here, nobody knows.
    tx.commit().await.map_err(Error::outcome_unknown)?;
    Ok(changed)
}

/// What a transaction comes to.
#[derive(Default)]
struct Outcome {
    history: Vec<(String, Status, UserId)>,
    uses: BTreeMap<i32, i64>,
    touched: BTreeSet<String>,
    records: Vec<(usize, Coupon)>,
}

async fn round(
    pg: &mut PgConnection,
    changes: &[Change],
    now: DateTime<Utc>,
    slot: i16,
) -> Result<Vec<Changed>, Error> {
    // Keys are looked up when nobody else can change the coupons any more: their requests have ended.
    let mut coupons = lock(&mut *pg, changes).await?;
    let known = known(&mut *pg, changes).await?;
    let users = users(&mut *pg, changes).await?;
    let mut outcome = Outcome::default();
    let mut done = HashMap::new();
    let mut answers = Vec::with_capacity(changes.len());
    for (place, change) in changes.iter().enumerate() {
        let keyed = change.request.key.is_some();
        let before = known.get(&change.request.op).or_else(|| done.get(&change.request.op).filter(|_| keyed));
        if let Some((fingerprint, view)) = before {
            let same = *fingerprint == change.request.fingerprint;
            answers.push(if same { Ok((view.clone(), true)) } else { Err(Code::IdempotencyKeyReused) });
            continue;
        }
        let Some((ordinal, coupon)) = coupons.get_mut(&change.code) else {
            answers.push(Err(Code::CouponNotFound));
            continue;
        };
        answers.push(decide(coupon, change, now, |user| users.contains(&user)).map(|next| {
            let used = |coupon: &Coupon| i64::from(coupon.status == Status::Used);
            *outcome.uses.entry(*ordinal).or_default() += used(&next) - used(coupon);
            outcome.history.push((change.code.clone(), next.status, change.me.user));
            outcome.touched.insert(change.code.clone());
            outcome.records.push((place, next.clone()));
            done.insert(change.request.op, (change.request.fingerprint.clone(), next.clone()));
            coupon.clone_from(&next);
            (next, false)
        }));
    }
    write(pg, changes, &coupons, &outcome, now, slot).await?;
    Ok(answers)
}

/// What keys came to before.
async fn known(pg: &mut PgConnection, changes: &[Change]) -> Result<HashMap<Uuid, (String, Coupon)>, Error> {
    let keyed = changes.iter().filter(|change| change.request.key.is_some());
    let ops: Vec<Uuid> = keyed.map(|change| change.request.op).collect();
    if ops.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query("select op, fingerprint, body from direct_requests where op = any($1)")
        .bind(ops)
        .fetch_all(pg)
        .await?;
    let read = |row: &sqlx::postgres::PgRow| {
        let Json(body) = row.try_get("body")?;
        Ok((row.try_get("op")?, (row.try_get("fingerprint")?, body)))
    };
    rows.iter().map(read).collect()
}

/// In the order of codes, so that no two transactions wait for each other; one by one, since each is looked
/// for in its own partition then, and not in all of them.
async fn lock(pg: &mut PgConnection, changes: &[Change]) -> Result<Locked, Error> {
    let codes: BTreeSet<&str> = changes.iter().map(|change| change.code.as_str()).collect();
    let rows = sqlx::query(select_coupons!(
        "unnest($1::text[]) as n(code)
         cross join lateral (select * from coupons c where c.code = n.code for update) c"
    ))
    .bind(codes.into_iter().collect::<Vec<_>>())
    .fetch_all(pg)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("code")?, (row.try_get("ordinal")?, read(row)?)))).collect()
}

/// Those to whom coupons are to be given, and who exist.
async fn users(pg: &mut PgConnection, changes: &[Change]) -> Result<BTreeSet<UserId>, Error> {
    let asked = changes.iter().filter_map(|change| match change.action {
        Action::Assign(user) => Some(user),
        _ => None,
    });
    let asked: Vec<UserId> = asked.collect();
    if asked.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows =
        sqlx::query("select user_id from users where user_id = any($1)").bind(asked).fetch_all(pg).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn write(
    pg: &mut PgConnection,
    changes: &[Change],
    coupons: &Locked,
    outcome: &Outcome,
    now: DateTime<Utc>,
    slot: i16,
) -> Result<(), Error> {
    if outcome.records.is_empty() {
        return Ok(());
    }
    let touched = outcome.touched.iter().filter_map(|code| coupons.get_key_value(code));
    let touched: Vec<(&String, &Coupon)> = touched.map(|(code, (_, coupon))| (code, coupon)).collect();
    sqlx::query(
        "update coupons c
         set status = n.status, user_id = n.user_id, assigned_at = n.assigned_at, used_at = n.used_at
         from unnest($1::text[], $2::smallint[], $3::uuid[], $4::timestamptz[], $5::timestamptz[])
             as n(code, status, user_id, assigned_at, used_at)
         where c.code = n.code",
    )
    .bind(touched.iter().map(|(code, _)| code.as_str()).collect::<Vec<_>>())
    .bind(touched.iter().map(|(_, coupon)| coupon.status.number()).collect::<Vec<_>>())
    .bind(touched.iter().map(|(_, coupon)| coupon.user_id).collect::<Vec<_>>())
    .bind(touched.iter().map(|(_, coupon)| coupon.assigned_at).collect::<Vec<_>>())
    .bind(touched.iter().map(|(_, coupon)| coupon.used_at).collect::<Vec<_>>())
    .execute(&mut *pg)
    .await?;
    sqlx::query(
        "insert into coupon_history (at, actor, status, code)
         select $1, h.actor, h.status, h.code
         from unnest($2::uuid[], $3::smallint[], $4::text[]) with ordinality as h(actor, status, code, place)
         order by h.place",
    )
    .bind(now)
    .bind(outcome.history.iter().map(|(_, _, actor)| *actor).collect::<Vec<_>>())
    .bind(outcome.history.iter().map(|(_, status, _)| status.number()).collect::<Vec<_>>())
    .bind(outcome.history.iter().map(|(code, _, _)| code.as_str()).collect::<Vec<_>>())
    .execute(&mut *pg)
    .await?;
    for (place, _) in &outcome.records {
        let request = &changes[*place].request;
        if let Some(act) = &request.act {
            audit::table::record(pg, (request.op, request.operation), act, None, now).await?;
        }
    }
    count_uses(&mut *pg, &outcome.uses, slot).await?;
    record(pg, changes, &outcome.records).await
}

async fn count_uses(pg: &mut PgConnection, uses: &BTreeMap<i32, i64>, slot: i16) -> Result<(), Error> {
    let uses: Vec<(i32, i64)> = uses.iter().map(|(of, by)| (*of, *by)).filter(|(_, by)| *by != 0).collect();
    if uses.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into coupon_uses (ordinal, slot, used)
         select n.ordinal, $3, n.used from unnest($1::int[], $2::bigint[]) as n(ordinal, used)
         on conflict (ordinal, slot) do update set used = coupon_uses.used + excluded.used",
    )
    .bind(uses.iter().map(|(of, _)| *of).collect::<Vec<_>>())
    .bind(uses.iter().map(|(_, by)| *by).collect::<Vec<_>>())
    .bind(slot)
    .execute(pg)
    .await?;
    Ok(())
}

/// Who had the coupons locked before has recorded its keys before they were looked up, so each is new.
async fn record(pg: &mut PgConnection, changes: &[Change], records: &[(usize, Coupon)]) -> Result<(), Error> {
    let keyed = records.iter().map(|(place, view)| (&changes[*place].request, view));
    let keyed: Vec<_> = keyed.filter(|(request, _)| request.key.is_some()).collect();
    if keyed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into direct_requests (op, fingerprint, status, body)
         select n.op, n.fingerprint, 200, n.body
         from unnest($1::uuid[], $2::text[], $3::jsonb[]) as n(op, fingerprint, body)",
    )
    .bind(keyed.iter().map(|(request, _)| request.op).collect::<Vec<_>>())
    .bind(keyed.iter().map(|(request, _)| request.fingerprint.as_str()).collect::<Vec<_>>())
    .bind(keyed.iter().map(|(_, view)| Json(view)).collect::<Vec<_>>())
    .execute(pg)
    .await?;
    Ok(())
}
