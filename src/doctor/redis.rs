//! Redis: version, what it forgets, what it keeps, its clock.

use std::sync::Arc;
use std::time::Duration;

use super::{Finding, Grade, Report, clocks};
use crate::config::Config;
use crate::redis::{Redis, Scripts, ServerReport};

/// A server that does not answer for so long is away.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The oldest version that runs the scripts.
const VERSION_MIN: u32 = 7;
/// Memory in use, of what is allowed, in percent.
const MEMORY_DOUBTFUL_PERCENT: u64 = 75;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    match tokio::time::timeout(ANSWER_MAX, ask(config)).await {
        Ok(Ok(reports)) => reports.iter().flat_map(server).collect(),
        Ok(Err(error)) => away(&error),
        Err(_) => away("it does not answer"),
    }
}

fn away(why: &str) -> Vec<Finding> {
    let mut report = Report::of("redis");
    report.say(Grade::Bad, format!("cannot be asked: {why}; is ONRUSH_REDIS_URL right, does it run?"));
    report.findings
}

async fn ask(config: &Config) -> Result<Vec<ServerReport>, String> {
    let scripts = Scripts::compose(&crate::scripts(), |_, text| text.to_owned())?;
    let redis = Redis::connect(&config.redis_url, Arc::new(scripts), false).await;
    let redis = redis.map_err(|error| error.to_string())?;
    let reports = redis.reports().await;
    redis.close().await;
    reports.map_err(|error| error.to_string())
}

fn server(told: &ServerReport) -> Vec<Finding> {
    let mut report =
        Report::of(if told.address == "redis" { "redis".into() } else { format!("redis {}", told.address) });
    let version = told.info("redis_version");
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    report.must(major >= VERSION_MIN, format!("is {version}; 7.0 or newer is needed"));
    let policy = told.info("maxmemory_policy");
    report.must(policy == "noeviction", {
        format!("maxmemory-policy is {policy}: it may drop keys; CONFIG SET maxmemory-policy noeviction")
    });
    report.should(told.info("aof_enabled") == "1", {
        "appendonly is no: each restart is a rebuild, and places whose tickets are not shown again are gone; \
         CONFIG SET appendonly yes"
    });
    let fsync = told.appendfsync.as_deref().unwrap_or("everysec");
    report.should(fsync != "no", "appendfsync is no: a power failure loses half a minute; set everysec");
    let number = |name: &str| told.info(name).parse::<u64>().unwrap_or(0);
    let (used, max) = (number("used_memory"), number("maxmemory"));
    report.should(max > 0, {
        "maxmemory is 0: when memory ends the kernel ends Redis; set it to what the machine can spare"
    });
    report.should(max == 0 || used * 100 < max * MEMORY_DOUBTFUL_PERCENT, {
        format!(
            "{} MiB of {} are in use: when it is full, joins and holds are refused",
            used >> 20,
            max >> 20
        )
    });
    report
        .must(told.info("role") == "master", "follows another server; ONRUSH_REDIS_URL must name the master");
    clocks(&mut report, told.ahead_ms);
    report.or_good(format!("Redis {version}, append-only ({fsync}), noeviction, {} MiB in use", used >> 20))
}
