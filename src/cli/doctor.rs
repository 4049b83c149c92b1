//! `onrush doctor`.

use std::process::ExitCode;

use super::Target;
use crate::doctor::{Grade, examine};

/// Looks, prints what was found, worst last; exits with 1 when something must be mended.
pub fn run(target: &Target) -> anyhow::Result<ExitCode> {
    super::log("error", "text")?;
    let settings = target.settings()?;
    let mut findings = super::runtime(Some(1))?.block_on(examine(&settings));
    findings.sort_by_key(|finding| finding.grade);
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    let mut told: Vec<String> = findings.iter().map(ToString::to_string).collect();
    told.push(format!("doctor: {} to mend, {} to look at\n", count(Grade::Bad), count(Grade::Doubtful)));
    let printed = super::print(&told.join("\n"))?;
    Ok(if count(Grade::Bad) == 0 { printed } else { ExitCode::FAILURE })
}
