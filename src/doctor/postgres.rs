//! Postgres: version, whether a commit is durable, its clock; the schema and the shards in it.

use std::time::Duration;

use sqlx::{ConnectOptions, Connection, PgConnection};

use super::{Deployment, Finding, Grade, Report, clocks, table};
use crate::config::Config;
use crate::database::{self, MIGRATIONS};
use crate::error::Error;

/// A server that does not answer for so long is away.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The oldest version that the SQL is written for.
const VERSION_MIN: u32 = 15;
/// Connections of an instance besides its pool: the writer, the look-ups of keys, and a command that looks.
const OTHER_CONNECTIONS: u32 = 4;

pub(super) async fn examine(config: &Config) -> (Vec<Finding>, Deployment) {
    let asked = async {
        let options = database::options(config).map_err(|error| format!("{error:#}"))?;
        let mut pg = options.connect().await.map_err(|error| error.to_string())?;
        let findings = look(config, &mut pg).await.map_err(|error| error.to_string());
        // It is of no use any more.
        drop(pg.close().await);
        findings
    };
    let why = match tokio::time::timeout(ANSWER_MAX, asked).await {
        Ok(Ok(findings)) => return findings,
        Ok(Err(error)) => error,
        Err(_) => "it does not answer".into(),
    };
    let mut report = Report::of("postgres");
    report.say(Grade::Bad, format!("cannot be asked: {why}; is ONRUSH_DATABASE_URL right, does it run?"));
    (report.findings, None)
}

async fn look(config: &Config, pg: &mut PgConnection) -> Result<(Vec<Finding>, Deployment), Error> {
    let mut findings = server(config, pg).await?;
    let mut report = Report::of("schema");
    let applied = table::migrations(pg).await?;
    let missing =
        MIGRATIONS.iter().filter(|step| !applied.iter().flatten().any(|done| *done == step.version));
    let missing = missing.count();
    report.must(missing == 0, format!("{missing} steps are missing: run onrush migrate"));
    findings.extend(report.or_good(format!("{} steps, none missing", MIGRATIONS.iter().count())));
    if missing > 0 {
        return Ok((findings, None));
    }
    findings.extend(shards(pg).await?);
    let known = table::identity(pg).await?;
    let known = known.and_then(|(id, shards)| Some((id, u16::try_from(shards).ok()?)));
    if let (Some((_, count)), Some(asked)) = (known, config.shards) {
        let mut report = Report::of("ONRUSH_SHARDS");
        report.must(count == asked, {
            format!("is {asked}, and this deployment has {count} since its first start: leave it out")
        });
        findings.extend(report.or_good(format!("{count}")));
    }
    Ok((findings, known))
}

async fn server(config: &Config, pg: &mut PgConnection) -> Result<Vec<Finding>, Error> {
    let names = [
        "server_version",
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "data_checksums",
        "max_connections",
        "synchronous_standby_names",
    ];
    let settings = table::settings(pg, &names).await?;
    let of = |name: &str| settings.get(name).map(String::as_str).unwrap_or_default();
    let mut report = Report::of("postgres");
    let version = of("server_version").split(' ').next().unwrap_or_default();
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    report.must(major >= VERSION_MIN, format!("is {version}; {VERSION_MIN} or newer is needed"));
    report.must(of("fsync") == "on", {
        "fsync is off: a power failure loses what was acknowledged and may break the database; set fsync = on"
    });
    report.must(of("synchronous_commit") != "off", {
        "synchronous_commit is off: what was acknowledged may be lost; set synchronous_commit = on"
    });
    let standbys = !of("synchronous_standby_names").is_empty();
    report.must(!(standbys && of("synchronous_commit") == "local"), {
        "synchronous_commit is local: a standby that takes over may lack what was acknowledged; set on"
    });
    report.must(of("full_page_writes") == "on", {
        "full_page_writes is off: a power failure may break pages; set full_page_writes = on"
    });
    report.should(of("data_checksums") == "on", {
        "data_checksums is off: a disk that errs is not noticed; pg_checksums --enable while it is stopped"
    });
    let (allowed, needed) = (of("max_connections").parse().unwrap_or(0), config.database_connections);
    report.should(allowed > needed + OTHER_CONNECTIONS, {
        format!("max_connections is {allowed}, and one instance asks for {}", needed + OTHER_CONNECTIONS)
    });
    let (follows, ahead_ms) = table::standing(pg).await?;
    report.must(
        !follows,
        "follows another server and takes no writes: ONRUSH_DATABASE_URL must name the primary",
    );
    clocks(&mut report, ahead_ms);
    Ok(report.or_good(format!("Postgres {version}, commits are durable")))
}

async fn shards(pg: &mut PgConnection) -> Result<Vec<Finding>, Error> {
    let (states, quarantined, admins) = table::deployment(pg).await?;
    let mut report = Report::of("shards");
    for (state, count) in states.iter().filter(|(state, _)| state != "live") {
        let grade = if state == "fenced" { Grade::Bad } else { Grade::Doubtful };
        let then = if state == "fenced" {
            "an operator must decide: onrush rebuild --accept-postgres or --accept-redis"
        } else {
            "they are loaded when an instance starts"
        };
        report.say(grade, format!("{count} are {state}: {then}"));
    }
    report.must(quarantined == 0, {
        format!("Postgres refused {quarantined} journal entries: see the table quarantine, and report it")
    });
    let count: i64 = states.iter().map(|(_, count)| count).sum();
    let mut findings = report.or_good(if count == 0 {
        "none yet: the first start of serve makes them".to_owned()
    } else {
        format!("{count}, all live")
    });
    let mut report = Report::of("accounts");
    report.should(admins > 0, "there is no ADMIN: onrush admin create --role ADMIN --email …");
    findings.extend(report.or_good(format!("{admins} ADMIN")));
    Ok(findings)
}
