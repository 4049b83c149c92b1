//! `onrush doctor`: looks at settings, servers, schema and shards, and says what to mend. It changes nothing.
//!
//! What must always hold: each finding says what was found, why it matters, and the command or setting that
//! mends it; what makes a guarantee untrue is bad, what makes it dear or unlikely is doubtful.

mod postgres;
mod redis;
mod settings;
pub mod table;

use std::fmt;

use crate::config::Settings;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should be.
    Good,
    /// It works; look at it.
    Doubtful,
    /// A guarantee does not hold, or the service will not start.
    Bad,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How bad it is.
    pub grade: Grade,
    /// Of what: a setting, `redis 127.0.0.1:6379`, `postgres`.
    pub of: String,
    /// What was found, and what to do about it.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grade = match self.grade {
            Grade::Good => "good",
            Grade::Doubtful => "look",
            Grade::Bad => "MEND",
        };
        write!(f, "{grade}  {:<24} {}", self.of, self.what)
    }
}

/// Findings about one thing.
struct Report {
    of: String,
    findings: Vec<Finding>,
}

impl Report {
    fn of(of: impl Into<String>) -> Self {
        Self { of: of.into(), findings: Vec::new() }
    }

    fn say(&mut self, grade: Grade, what: impl Into<String>) {
        self.findings.push(Finding { grade, of: self.of.clone(), what: what.into() });
    }

    /// Bad unless it holds.
    fn must(&mut self, holds: bool, otherwise: impl Into<String>) {
        if !holds {
            self.say(Grade::Bad, otherwise);
        }
    }

    /// Doubtful unless it holds.
    fn should(&mut self, holds: bool, otherwise: impl Into<String>) {
        if !holds {
            self.say(Grade::Doubtful, otherwise);
        }
    }

    /// What was found; this where there was nothing to say.
    fn or_good(mut self, what: impl Into<String>) -> Vec<Finding> {
        if self.findings.is_empty() {
            self.say(Grade::Good, what);
        }
        self.findings
    }
}

/// Looks at everything that can be looked at.
pub async fn examine(settings: &Settings) -> Vec<Finding> {
    let (mut findings, config) = settings::examine(settings);
    let Some(config) = config else { return findings };
    let (of_postgres, deployment) = postgres::examine(&config).await;
    findings.extend(redis::examine(&config, deployment).await);
    findings.extend(of_postgres);
    findings
}

/// Whose data the database holds, and in how many shards.
type Deployment = Option<(uuid::Uuid, u16)>;

/// Beyond this two clocks do not agree.
const CLOCK_DOUBTFUL_MS: i64 = 500;
/// Beyond this deadlines are far from what people were told.
const CLOCK_BAD_MS: i64 = 10_000;

fn clocks(report: &mut Report, ahead_ms: i64) {
    let told = format!("its clock differs from this machine's by {ahead_ms} ms: run NTP on both");
    report.must(ahead_ms.abs() <= CLOCK_BAD_MS, told.clone());
    report.should(!(CLOCK_DOUBTFUL_MS..=CLOCK_BAD_MS).contains(&ahead_ms.abs()), told);
}

/// Whether what a URL names is this machine.
fn is_here(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    ["127.", "localhost", "[::1]", "/"].iter().any(|here| host.starts_with(here)) || rest.contains("host=/")
}

/// Whether a URL carries a password.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.rsplit_once('@')
        .is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, pass)| !pass.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_apart() {
        assert!(is_here("redis://127.0.0.1:6379") && is_here("postgres://a:b@localhost/x"));
        assert!(!is_here("redis://:x@cache.internal:6379"));
        assert!(has_password("redis://:x@cache.internal") && !has_password("redis://cache.internal"));
        assert!(!has_password("postgres://onrush@db/x"));
    }
}
