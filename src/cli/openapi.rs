//! `onrush openapi`.

use std::process::ExitCode;

/// Prints the document that `/openapi.json` serves.
pub fn run() -> anyhow::Result<ExitCode> {
    let document = crate::http::openapi::document(&crate::router::api());
    super::print(&format!("{}\n", serde_json::to_string_pretty(&document)?))
}
