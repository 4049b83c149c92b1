//! `onrush openapi`.

use std::process::ExitCode;

/// Prints the document that `/openapi.json` serves.
pub fn run() -> anyhow::Result<ExitCode> {
    println!("{}", serde_json::to_string_pretty(&crate::http::openapi::document(&crate::router::api()))?);
    Ok(ExitCode::SUCCESS)
}
