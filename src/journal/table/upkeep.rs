//! The journal's calendar: days to come get their partition, days long past go.

use chrono::{Days, NaiveDate};
use sqlx::{AssertSqlSafe, PgPool, Row};

use crate::error::Error;
use crate::ids::InstanceId;

/// How long operations and entries are kept; clients are promised a day.
const KEEP_DAYS: u64 = 7;
/// Rows that one statement deletes.
const DELETE_MAX: i64 = 10_000;

/// Makes the partitions of today and the next three days.
pub async fn make_partitions(pool: &PgPool, today: NaiveDate) -> Result<(), Error> {
    for ahead in 0..=3 {
        let Some(day) = today.checked_add_days(Days::new(ahead)) else { continue };
        let Some(next) = day.succ_opt() else { continue };
        // Only digits of a calendar day get into the statement.
        let statement = format!(
            "create table if not exists journal_entries_{} partition of journal_entries
             for values from ('{day} 00:00:00+00') to ('{next} 00:00:00+00')",
            day.format("%Y%m%d")
        );
        if let Err(error) = sqlx::query(AssertSqlSafe(statement)).execute(pool).await {
            // Rows of that day are in the default partition, and stay there.
            tracing::warn!(%day, %error, "no partition for the day");
        }
    }
    Ok(())
}

/// Drops partitions and deletes operations that are older than the journal is kept. Returns how many rows
/// went.
pub async fn drop_old(pool: &PgPool, today: NaiveDate) -> Result<u64, Error> {
    let Some(oldest) = today.checked_sub_days(Days::new(KEEP_DAYS)) else { return Ok(0) };
    let name = format!("journal_entries_{}", oldest.format("%Y%m%d"));
    let rows = sqlx::query(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
         where i.inhparent = 'journal_entries'::regclass and c.relname ~ '^journal_entries_[0-9]{8}$'
           and c.relname < $1",
    )
    .bind(&name)
    .fetch_all(pool)
    .await?;
    for row in rows {
        let partition: String = row.try_get(0)?;
        // The name was matched against digits above.
        sqlx::query(AssertSqlSafe(format!("drop table if exists {partition}"))).execute(pool).await?;
    }
    let mut gone = 0;
    let before = oldest.and_time(chrono::NaiveTime::MIN).and_utc();
    loop {
        let deleted = sqlx::query(
            "delete from operations
             where ctid = any (array(select ctid from operations where at < $1 limit $2))",
        )
        .bind(before)
        .bind(DELETE_MAX)
        .execute(pool)
        .await?
        .rows_affected();
        gone += deleted;
        if deleted < DELETE_MAX as u64 {
            break;
        }
    }
    for statement in [
        "delete from journal_entries_default where at < $1",
        "delete from direct_requests where at < $1",
        "delete from refresh_families where expires_at < $1",
    ] {
        gone += sqlx::query(statement).bind(before).execute(pool).await?.rows_affected();
    }
    Ok(gone)
}

/// Claims a run of a calendar job; false when another instance has it.
pub async fn claim_job(
    pool: &PgPool,
    job: &str,
    scheduled_for: chrono::DateTime<chrono::Utc>,
    me: InstanceId,
) -> Result<bool, Error> {
    let claimed = sqlx::query(
        "insert into job_runs (job, scheduled_for, instance_id) values ($1, $2, $3) on conflict do nothing",
    )
    .bind(job)
    .bind(scheduled_for)
    .bind(me)
    .execute(pool)
    .await?;
    Ok(claimed.rows_affected() == 1)
}
