//! `onrush verify`.

use std::process::ExitCode;

use super::Target;

/// Differences that are printed.
const PRINT_MAX: usize = 100;

/// Compares the two stores and the books; exits with 1 and the differences when they do not agree.
pub fn run(target: &Target) -> anyhow::Result<ExitCode> {
    target.connected(async |app| {
        let differences = app.verify().await;
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
