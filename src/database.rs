//! Connections to Postgres.

use anyhow::{Context, bail};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool};

use crate::config::Config;

/// The schema's steps.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Connections to Postgres, whose schema is up to date.
pub async fn connect(config: &Config) -> anyhow::Result<PgPool> {
    let pool = PgPoolOptions::new()
        .max_connections(config.database_connections)
        .acquire_timeout(config.ack_timeout)
        .test_before_acquire(false)
        .connect_with(options(config)?)
        .await
        .context("cannot connect to Postgres (ONRUSH_DATABASE_URL)")?;
    check_migrations(&pool).await?;
    Ok(pool)
}

/// The one connection that keys are looked up with, many at once.
pub fn look_ups(config: &Config) -> anyhow::Result<PgPool> {
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(config.ack_timeout);
    Ok(pool.test_before_acquire(false).connect_lazy_with(planned_once(config)?))
}

/// How the writer and the look-ups of keys connect. Their statements run hundreds of times a second, on a few
/// rows each, which are found by keys that arrays give: one plan fits all, and making it costs more than
/// running it.
pub fn planned_once(config: &Config) -> anyhow::Result<PgConnectOptions> {
    Ok(options(config)?.options([("plan_cache_mode", "force_generic_plan")]))
}

/// How all connect.
pub fn options(config: &Config) -> anyhow::Result<PgConnectOptions> {
    let options: PgConnectOptions =
        config.database_url.parse().context("ONRUSH_DATABASE_URL is not a URL")?;
    let options = options.options([
        // That a partition is there already is no news.
        ("client_min_messages", "warning"),
        // Every statement here finds its rows by a key. A plan that was made while tables were empty reads
        // them whole and is kept until statistics say otherwise: with 40 000 operations, 5.7 ms a look-up
        // instead of 0.1. These make the only plan the one for full tables.
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        // Where a small table is read whole all the same, its cost would look worth compiling: 100 ms.
        ("jit", "off"),
    ]);
    Ok(options.application_name("onrush").log_statements(tracing::log::LevelFilter::Trace))
}

async fn check_migrations(pool: &PgPool) -> anyhow::Result<()> {
    let applied = sqlx::query_scalar::<_, i64>("select version from _sqlx_migrations where success")
        .fetch_all(pool)
        .await
        .context("the database has no schema yet: run `onrush migrate`")?;
    let missing = MIGRATIONS.iter().filter(|step| !applied.contains(&step.version)).count();
    if missing > 0 {
        bail!("the database lacks {missing} steps of the schema: run `onrush migrate`");
    }
    Ok(())
}
