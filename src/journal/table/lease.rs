//! Who looks after which shard. Leases save work; two owners at once do no harm.

use sqlx::{PgPool, Row};

use crate::error::Error;
use crate::ids::InstanceId;
use crate::redis::Shard;

/// Says that this instance lives, renews what it owns, takes what is free and its share, gives back what is
/// more than its share, and tells what it owns then. Time is Postgres'.
pub async fn renew(pool: &PgPool, me: InstanceId, lease_ms: i64) -> Result<Vec<Shard>, Error> {
    let mut tx = pool.begin().await?;
    sqlx::query(
        "insert into instances (instance_id, seen_at) values ($1, now())
         on conflict (instance_id) do update set seen_at = excluded.seen_at",
    )
    .bind(me)
    .execute(&mut *tx)
    .await?;
    let row = sqlx::query(
        "select (select count(*) from instances where seen_at > now() - 2 * make_interval(secs => $1 / 1000.0)),
                (select count(*) from shard_leases)",
    )
    .bind(lease_ms as f64)
    .fetch_one(&mut *tx)
    .await?;
    let (alive, shards): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let share = (shards + alive - 1) / alive.max(1);
    sqlx::query(
        "update shard_leases l set owner = null, expires_at = '-infinity'
         where l.shard in (select shard from shard_leases where owner = $1 order by shard offset $2)",
    )
    .bind(me)
    .bind(share)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "with free as (
             select shard from shard_leases
             where owner is distinct from $1 and (owner is null or expires_at < now())
             order by shard
             limit greatest(0, $2 - (select count(*) from shard_leases where owner = $1))
             for update skip locked
         )
         update shard_leases l set owner = $1, expires_at = now() + make_interval(secs => $3 / 1000.0)
         where l.owner = $1 or l.shard in (select shard from free)",
    )
    .bind(me)
    .bind(share)
    .bind(lease_ms as f64)
    .execute(&mut *tx)
    .await?;
    let rows = sqlx::query("select shard from shard_leases where owner = $1 order by shard")
        .bind(me)
        .fetch_all(&mut *tx)
        .await?;
    tx.commit().await?;
    rows.iter().map(|row| Ok(Shard(row.try_get::<i32, _>(0)? as u16))).collect()
}

/// Gives everything back, so that others need not wait for the leases to end.
pub async fn release(pool: &PgPool, me: InstanceId) -> Result<(), Error> {
    sqlx::query("update shard_leases set owner = null, expires_at = '-infinity' where owner = $1")
        .bind(me)
        .execute(pool)
        .await?;
    sqlx::query("delete from instances where instance_id = $1 or seen_at < now() - interval '1 hour'")
        .bind(me)
        .execute(pool)
        .await?;
    Ok(())
}

/// Whether any instance was seen a moment ago.
pub async fn is_anybody_alive(pool: &PgPool) -> Result<bool, Error> {
    let row =
        sqlx::query("select exists (select from instances where seen_at > now() - interval '3 seconds')")
            .fetch_one(pool)
            .await?;
    Ok(row.try_get(0)?)
}
