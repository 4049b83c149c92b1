//! `onrush migrate`.

use std::process::ExitCode;

use anyhow::Context;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::Target;
use crate::database::MIGRATIONS;
use crate::journal::table::upkeep;

/// Brings the schema up to date.
pub fn run(target: &Target) -> anyhow::Result<ExitCode> {
    let url = target.database_url()?;
    super::runtime(Some(1))?.block_on(async {
        let steps = migrate(&url).await?;
        println!("the schema is up to date ({steps} steps)");
        Ok(ExitCode::SUCCESS)
    })
}

/// Runs the steps that are missing, and makes the journal's first partitions; returns how many steps there
/// are.
pub async fn migrate(database_url: &str) -> anyhow::Result<usize> {
    let options: PgConnectOptions = database_url.parse().context("the database's URL cannot be read")?;
    // That a partition is there already is no news.
    let options = options.options([("client_min_messages", "warning")]);
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await;
    let pool = pool.context("cannot connect to Postgres")?;
    MIGRATIONS.run(&pool).await?;
    upkeep::make_partitions(&pool, chrono::Utc::now().date_naive()).await?;
    pool.close().await;
    Ok(MIGRATIONS.iter().count())
}
