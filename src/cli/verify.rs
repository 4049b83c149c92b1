//! `onrush verify`.

use std::process::ExitCode;

use super::Target;
use crate::app::App;

/// Differences that are printed.
const PRINT_MAX: usize = 100;

/// Compares the two stores and the books; exits with 1 and the differences when they do not agree.
pub fn run(target: &Target) -> anyhow::Result<ExitCode> {
    super::log("warn", "text")?;
    let config = target.config()?;
    super::runtime(1)?.block_on(async {
        let app = App::connect(config).await?;
        let differences = app.verify().await?;
        app.close().await;
        if differences.is_empty() {
            println!(
                "verify: Redis, Postgres and the books agree in all {} shards",
                app.journal.shards.count()
            );
            return Ok(ExitCode::SUCCESS);
        }
        differences.iter().take(PRINT_MAX).for_each(|difference| println!("{difference}"));
        println!("verify: {} differences", differences.len());
        Ok(ExitCode::FAILURE)
    })
}
