//! `onrush doctor`.

use std::process::ExitCode;

use super::Target;
use crate::doctor::{Grade, examine};

/// Looks, prints what was found, worst last; exits with 1 when something must be mended.
pub fn run(target: &Target) -> anyhow::Result<ExitCode> {
    super::log("error", "text")?;
    let settings = target.settings()?;
    let mut findings = super::runtime(1)?.block_on(examine(&settings));
    findings.sort_by_key(|finding| finding.grade);
    findings.iter().for_each(|finding| println!("{finding}"));
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    println!("doctor: {} to mend, {} to look at", count(Grade::Bad), count(Grade::Doubtful));
    Ok(if count(Grade::Bad) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
