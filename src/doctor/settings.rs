//! Settings, the secret, and what the machine allows.

use rustix::process::{Resource, getrlimit};
use secrecy::ExposeSecret;

use super::{Finding, Grade, Report, has_password, is_here};
use crate::config::{Config, Settings};

/// Guessing a secret of less is possible; by Shannon's measure of its own letters.
const SECRET_BITS_MIN: f64 = 100.0;
/// Words of secrets that stand in examples.
const EXAMPLE_WORDS: &[&str] =
    &["change", "secret", "password", "example", "test", "demo", "onrush", "1234567"];
/// Files that are open besides clients' connections.
const OTHER_FILES: u64 = 200;
/// OWASP's least cost of bcrypt.
const BCRYPT_COST_MIN: u32 = 10;
/// A stolen access token is good for so long.
const ACCESS_TOKEN_DOUBTFUL_SECONDS: i64 = 3_600;

/// Findings, and the settings where they are good.
pub(super) fn examine(settings: &Settings) -> (Vec<Finding>, Option<Config>) {
    let config = match settings.check() {
        Ok(config) => config,
        Err(mistakes) => {
            let mut report = Report::of("settings");
            mistakes.into_iter().for_each(|mistake| report.say(Grade::Bad, mistake));
            return (report.findings, None);
        }
    };
    let mut findings = secret(config.secret.expose_secret());
    findings.extend(general(settings, &config));
    findings.extend(files(config.limits.connections_max as u64));
    (findings, Some(config))
}

fn secret(secret: &str) -> Vec<Finding> {
    let mut report = Report::of("ONRUSH_JWT_SECRET");
    let make = "make one: openssl rand -base64 48";
    let bits = bits(secret);
    report.must(
        bits >= SECRET_BITS_MIN,
        format!("could be guessed ({bits:.0} bits of its own letters); {make}"),
    );
    let lower = secret.to_lowercase();
    let word = EXAMPLE_WORDS.iter().find(|word| lower.contains(**word));
    if let Some(word) = word {
        report.say(Grade::Doubtful, format!("holds {word:?}: was it copied from somewhere? {make}"));
    }
    report.or_good(format!("{} bytes", secret.len()))
}

/// How much its letters tell, if each stood where it does by chance.
fn bits(text: &str) -> f64 {
    let length = text.len() as f64;
    let mut counts = [0_u32; 256];
    text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let shares = counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / length);
    shares.map(|share| -share * share.log2()).sum::<f64>() * length
}

fn general(settings: &Settings, config: &Config) -> Vec<Finding> {
    let mut report = Report::of("settings");
    report.should(config.bcrypt_cost >= BCRYPT_COST_MIN, {
        format!(
            "ONRUSH_BCRYPT_COST is {}: passwords that leak are guessed soon; 10 or more",
            config.bcrypt_cost
        )
    });
    report
        .should(config.limits.rates.is_some(), "ONRUSH_LIMITS is off: good for load tests and nothing else");
    report.should(settings.access_token_seconds <= ACCESS_TOKEN_DOUBTFUL_SECONDS, {
        "ONRUSH_ACCESS_TOKEN_SECONDS is more than an hour: a stolen token is good for so long"
    });
    let anyone = ["8.8.8.8", "2001:4860:4860::8888"].iter().filter_map(|address| address.parse().ok());
    report.must(!anyone.into_iter().any(|address| config.limits.trusted_proxies.trusts(address)), {
        "ONRUSH_TRUSTED_PROXIES holds everybody: any client could say who he is; name your proxies' networks"
    });
    for (name, url) in [("REDIS", &config.redis_url), ("DATABASE", &config.database_url)] {
        report.should(is_here(url) || has_password(url), {
            format!("ONRUSH_{name}_URL is another machine's and has no password")
        });
    }
    report.or_good("as they should be")
}

fn files(connections_max: u64) -> Vec<Finding> {
    let mut report = Report::of("open files");
    let (limit, needed) = (getrlimit(Resource::Nofile).current, connections_max + OTHER_FILES);
    report.should(limit.is_none_or(|limit| limit >= needed), {
        let limit = limit.unwrap_or_default();
        format!("{limit} allowed here, {needed} needed for ONRUSH_CONNECTIONS_MAX: ulimit -n, LimitNOFILE=")
    });
    report.or_good(format!("room for {connections_max} connections"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_was_not_made_by_chance_is_told() {
        let grade = |text: &str| secret(text)[0].grade;
        assert_eq!(grade("q7Zk2m0VnX8fT4sLhR1cW9yBdJ6gPaEoUi3NxHvKtQw5MzCb"), Grade::Good);
        assert_eq!(grade("9f86d081884c7d659a2feaa0c55ad015"), Grade::Good, "openssl rand -hex 16");
        assert_eq!(grade(&"s".repeat(40)), Grade::Bad);
        assert_eq!(grade(&"abcd".repeat(10)), Grade::Bad);
        assert_eq!(grade("please-change-me-before-you-go-to-production-q7Zk2m0V"), Grade::Doubtful);
    }
}
