//! Redis: version, what it forgets, what it keeps, its clock.

use std::sync::Arc;
use std::time::Duration;

use super::{Deployment, Finding, Grade, Report, clocks};
use crate::config::Config;
use crate::redis::{Redis, RedisError, Scripts, ServerReport, Shard, Space};
use crate::sabotage::Sabotage;

/// A server that does not answer for so long is away.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The oldest version that runs the scripts.
const VERSION_MIN: u32 = 7;
/// Memory in use, of what is allowed, in percent.
const MEMORY_DOUBTFUL_PERCENT: u64 = 75;
/// From so many bytes on the append-only file may be rewritten. At 6 000 charges a second, with Redis' own
/// 64 MB, the 99th percentile was twice what it is with these.
const REWRITE_MIN: u64 = 256 << 20;

pub(super) async fn examine(config: &Config, deployment: Deployment) -> Vec<Finding> {
    match tokio::time::timeout(ANSWER_MAX, ask(config, deployment)).await {
        Ok(Ok((reports, other))) => {
            let mut findings: Vec<Finding> = reports.iter().flat_map(server).collect();
            let mut report = Report::of("redis");
            report.must(other.is_none(), {
                let other = other.unwrap_or_default();
                format!("holds data of deployment {other}: use the Redis of this database, or an empty one")
            });
            findings.extend(report.findings);
            findings
        }
        Ok(Err(error)) => away(&error),
        Err(_) => away("it does not answer"),
    }
}

fn away(why: &str) -> Vec<Finding> {
    let mut report = Report::of("redis");
    report.say(Grade::Bad, format!("cannot be asked: {why}; is ONRUSH_REDIS_URL right, does it run?"));
    report.findings
}

/// What each server says; and another deployment whose data are there under our prefix.
async fn ask(config: &Config, deployment: Deployment) -> Result<(Vec<ServerReport>, Option<String>), String> {
    let scripts = Scripts::compose(&crate::scripts(), &Sabotage::default())?;
    let redis = Redis::connect(&config.redis_url, Arc::new(scripts), false).await;
    let redis = redis.map_err(|error| error.to_string())?;
    let asked = async {
        let reports = redis.reports().await?;
        let Some((ours, shards)) = deployment else { return Ok((reports, None)) };
        for shard in (0..shards).map(Shard) {
            let meta = Space::new(config.prefix.clone(), shard, 0, 0).meta();
            let found = redis.command("HGET", &[meta.as_str(), "deployment"]).await?.into_string();
            if let Some(other) = found.filter(|found| *found != ours.to_string()) {
                return Ok((reports, Some(other)));
            }
        }
        Ok((reports, None))
    };
    let asked = asked.await;
    redis.close().await;
    asked.map_err(|error: RedisError| error.to_string())
}

fn server(told: &ServerReport) -> Vec<Finding> {
    let mut report =
        Report::of(if told.address == "redis" { "redis".into() } else { format!("redis {}", told.address) });
    let version = told.info("redis_version");
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    report.must(major >= VERSION_MIN, format!("is {version}; 7.0 or newer is needed"));
    let policy = told.info("maxmemory_policy");
    report.must(policy == "noeviction", {
        let then = "CONFIG SET maxmemory-policy noeviction, CONFIG REWRITE";
        format!("maxmemory-policy is {policy}: it may drop keys; {then}")
    });
    report.should(told.info("aof_enabled") == "1", {
        "appendonly is no: each restart is a rebuild, and places whose tickets are not shown again are gone; \
         CONFIG SET appendonly yes, CONFIG REWRITE"
    });
    let fsync = told.setting("appendfsync").unwrap_or("appendfsync is not told");
    report.should(fsync != "no", "appendfsync is no: a power failure loses half a minute; set everysec");
    let rewritten = told.setting("auto-aof-rewrite-min-size").and_then(|bytes| bytes.parse::<u64>().ok());
    report.should(rewritten.is_none_or(|bytes| bytes >= REWRITE_MIN), {
        "auto-aof-rewrite-min-size is small: under load the file is always rewritten, and answers wait; \
         CONFIG SET auto-aof-rewrite-min-size 256mb, CONFIG REWRITE"
    });
    report.should(told.setting("rdbcompression").is_none_or(|told| told == "no"), {
        "rdbcompression is yes: the file takes twice the CPU to rewrite, twice as often, for half the disk; \
         CONFIG SET rdbcompression no, CONFIG REWRITE"
    });
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
