//! Settings: flags and `ONRUSH_*` variables, checked at start with a message for each mistake.

pub mod limits;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use crate::clock::Clock;
use crate::delivery::settings::Delivery;
use crate::sabotage::Sabotage;
pub use limits::{LimitSettings, Limited};

/// The shortest secret that tokens may be signed with, in bytes.
pub const SECRET_MIN: usize = 32;
/// The most threads that serve.
pub const WORKERS_MAX: usize = 64;

/// Settings as they come from the command line and the environment.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Address to listen on.
    #[arg(long, env = "ONRUSH_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: String,
    /// Redis (7.0 or newer): redis://user:password@host:port/database, or
    /// unix:///path/of/its/socket, or redis-sentinel://host:port?sentinelServiceName=name, or
    /// redis-cluster://host:port; more nodes as &node=host:port.
    #[arg(long, env = "ONRUSH_REDIS_URL", default_value = "", hide_env_values = true, value_name = "URL")]
    pub redis_url: String,
    /// Postgres (15 or newer): postgres://user:password@host:port/database.
    #[arg(long, env = "ONRUSH_DATABASE_URL", default_value = "", hide_env_values = true, value_name = "URL")]
    pub database_url: String,
    /// Secret that tokens are signed with, at least 32 bytes; `openssl rand -base64 48` makes one.
    #[arg(
        long,
        env = "ONRUSH_JWT_SECRET",
        default_value = "",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    pub jwt_secret: String,
    /// Number of shards, chosen at the first start and kept in Postgres; 16 unless set then.
    #[arg(long, env = "ONRUSH_SHARDS", value_name = "COUNT")]
    pub shards: Option<u16>,
    /// Zone of calendar days.
    #[arg(long, env = "ONRUSH_TIMEZONE", default_value = "Asia/Seoul", value_name = "ZONE")]
    pub timezone: String,
    /// What to log: a level, or filters such as `info,onrush::journal=debug`.
    #[arg(long, env = "ONRUSH_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// `text` for people, `json` for machines.
    #[arg(long, env = "ONRUSH_LOG_FORMAT", default_value = "json", value_parser = ["json", "text"])]
    pub log_format: String,
    /// Threads that serve requests; as many as there are cores unless set.
    #[arg(long, env = "ONRUSH_WORKERS", value_name = "COUNT")]
    pub workers: Option<usize>,
    /// Connections to Postgres for reads; the writer and the look-ups of keys have one each of their own.
    #[arg(long, env = "ONRUSH_DATABASE_CONNECTIONS", default_value_t = 16, value_name = "COUNT")]
    pub database_connections: u32,
    /// How long a write may wait for Postgres before it is answered 504 outcome_unknown.
    #[arg(long, env = "ONRUSH_ACK_TIMEOUT_MS", default_value_t = 3_000, value_name = "MS")]
    pub ack_timeout_ms: u64,
    /// New durable writes are refused as busy when a shard's oldest entry has waited longer for Postgres.
    #[arg(long, env = "ONRUSH_BUSY_AFTER_MS", default_value_t = 1_000, value_name = "MS")]
    pub busy_after_ms: u64,
    /// Joins are refused as busy when a shard's oldest entry has waited longer for Postgres.
    #[arg(long, env = "ONRUSH_JOIN_BUSY_AFTER_MS", default_value_t = 3_000, value_name = "MS")]
    pub join_busy_after_ms: u64,
    /// Pause between two looks at a shard: admission, sweeps, checks.
    #[arg(long, env = "ONRUSH_TICK_MS", default_value_t = 100, value_name = "MS")]
    pub tick_ms: u64,
    /// How long an access token is good.
    #[arg(long, env = "ONRUSH_ACCESS_TOKEN_SECONDS", default_value_t = 600, value_name = "SECONDS")]
    pub access_token_seconds: i64,
    /// How long a sign-in can be refreshed.
    #[arg(long, env = "ONRUSH_REFRESH_TOKEN_SECONDS", default_value_t = 1_209_600, value_name = "SECONDS")]
    pub refresh_token_seconds: i64,
    /// bcrypt's cost: each step doubles the work of a sign-in.
    #[arg(long, env = "ONRUSH_BCRYPT_COST", default_value_t = 10, value_name = "4..=15")]
    pub bcrypt_cost: u32,
    /// How long the way out may take: requests finish, the journal drains.
    #[arg(long, env = "ONRUSH_DRAIN_SECONDS", default_value_t = 10, value_name = "SECONDS")]
    pub drain_seconds: u64,
    /// How long readiness says 503 before the listener closes, so that load balancers turn away.
    #[arg(long, env = "ONRUSH_DRAIN_DELAY_MS", default_value_t = 0, value_name = "MS")]
    pub drain_delay_ms: u64,
    /// Prefix of all keys in Redis.
    #[arg(long, env = "ONRUSH_PREFIX", default_value = "onrush", value_name = "PREFIX")]
    pub prefix: String,
    /// A file that says which systems are told of orders, reservations and payments; README, "Delivery".
    #[arg(long, env = "ONRUSH_DELIVERY", value_name = "FILE")]
    pub delivery: Option<PathBuf>,
    /// How much a client may.
    #[command(flatten)]
    pub limits: LimitSettings,
}

/// Checked settings.
#[derive(Clone)]
pub struct Config {
    /// Redis.
    pub redis_url: String,
    /// Postgres.
    pub database_url: String,
    /// What tokens are signed with.
    pub secret: SecretString,
    /// Shards asked for; the deployment's own number wins, another is refused.
    pub shards: Option<u16>,
    /// Zone of calendar days.
    pub zone: Tz,
    /// Connections to Postgres for reads.
    pub database_connections: u32,
    /// How long a write may wait for Postgres.
    pub ack_timeout: Duration,
    /// Age at which durable writes are refused.
    pub busy_after: Duration,
    /// Age at which joins are refused.
    pub join_busy_after: Duration,
    /// Pause between two looks at a shard.
    pub tick: Duration,
    /// How long an access token is good.
    pub access_token: chrono::Duration,
    /// How long a sign-in can be refreshed.
    pub refresh_token: chrono::Duration,
    /// bcrypt's cost.
    pub bcrypt_cost: u32,
    /// How long the way out may take.
    pub drain: Duration,
    /// How long readiness says 503 before the listener closes.
    pub drain_delay: Duration,
    /// Prefix of all keys in Redis.
    pub prefix: Arc<str>,
    /// How much a client may.
    pub limits: Limited,
    /// Who is told; without, nobody is told by this instance.
    pub delivery: Option<Arc<Delivery>>,
    /// The last instance to leave notes that nothing was lost, so that the next start need not look for it.
    pub leaves_tidy: bool,
    /// Time.
    pub clock: Clock,
    /// Defences and economies taken out; nothing in a plain build can set it.
    pub sabotage: Sabotage,
}

impl Settings {
    /// Checks every setting; the error lists all mistakes.
    pub fn check(&self) -> Result<Config, Vec<String>> {
        let mut mistakes = Vec::new();
        let mut demand = |holds: bool, message: String| {
            if !holds {
                mistakes.push(message);
            }
        };
        demand(self.listen.parse::<SocketAddr>().is_ok(), {
            format!("ONRUSH_LISTEN is {:?}, not an address such as 0.0.0.0:8080", self.listen)
        });
        let redis = ["redis://", "unix://", "redis-sentinel://", "redis-cluster://"];
        demand(redis.iter().any(|scheme| self.redis_url.starts_with(scheme)), {
            "ONRUSH_REDIS_URL is missing or is not a redis:// URL".into()
        });
        let postgres = ["postgres://", "postgresql://"];
        demand(postgres.iter().any(|scheme| self.database_url.starts_with(scheme)), {
            "ONRUSH_DATABASE_URL is missing or is not a postgres:// URL".into()
        });
        demand(self.jwt_secret.len() >= SECRET_MIN, {
            let length = self.jwt_secret.len();
            format!(
                "ONRUSH_JWT_SECRET has {length} bytes and needs {SECRET_MIN}; make one: openssl rand -base64 48"
            )
        });
        demand(self.shards.is_none_or(|shards| (1..=1024).contains(&shards)), {
            "ONRUSH_SHARDS must be between 1 and 1024".into()
        });
        let zone = self.timezone.parse::<Tz>();
        demand(
            zone.is_ok(),
            format!("ONRUSH_TIMEZONE is {:?}, not a zone such as Asia/Seoul", self.timezone),
        );
        demand((4..=15).contains(&self.bcrypt_cost), "ONRUSH_BCRYPT_COST must be between 4 and 15".into());
        demand((10..=10_000).contains(&self.tick_ms), "ONRUSH_TICK_MS must be between 10 and 10000".into());
        demand(self.workers.is_none_or(|count| (1..=WORKERS_MAX).contains(&count)), {
            format!("ONRUSH_WORKERS must be between 1 and {WORKERS_MAX}")
        });
        demand(self.database_connections >= 4, "ONRUSH_DATABASE_CONNECTIONS must be at least 4".into());
        demand((1..=86_400).contains(&self.access_token_seconds), {
            "ONRUSH_ACCESS_TOKEN_SECONDS must be between 1 and 86400".into()
        });
        demand(self.refresh_token_seconds >= 1, "ONRUSH_REFRESH_TOKEN_SECONDS must be at least 1".into());
        demand(self.ack_timeout_ms >= 100, "ONRUSH_ACK_TIMEOUT_MS must be at least 100".into());
        let prefix =
            !self.prefix.is_empty() && self.prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        demand(prefix, format!("ONRUSH_PREFIX is {:?}; letters, digits and hyphens only", self.prefix));
        let delivery = self.delivery.as_deref().map(read_delivery).transpose();
        let delivery = delivery.map_err(|wrong| mistakes.extend(wrong));
        let limits = self.limits.check().map_err(|wrong| mistakes.extend(wrong));
        match (zone, limits, delivery) {
            (Ok(zone), Ok(limits), Ok(delivery)) if mistakes.is_empty() => {
                Ok(self.checked(zone, limits, delivery))
            }
            _ => Err(mistakes),
        }
    }

    fn checked(&self, zone: Tz, limits: Limited, delivery: Option<Delivery>) -> Config {
        Config {
            redis_url: self.redis_url.clone(),
            database_url: self.database_url.clone(),
            secret: SecretString::from(self.jwt_secret.clone()),
            shards: self.shards,
            zone,
            database_connections: self.database_connections,
            ack_timeout: Duration::from_millis(self.ack_timeout_ms),
            busy_after: Duration::from_millis(self.busy_after_ms),
            join_busy_after: Duration::from_millis(self.join_busy_after_ms),
            tick: Duration::from_millis(self.tick_ms),
            access_token: chrono::Duration::seconds(self.access_token_seconds),
            refresh_token: chrono::Duration::seconds(self.refresh_token_seconds),
            bcrypt_cost: self.bcrypt_cost,
            drain: Duration::from_secs(self.drain_seconds),
            drain_delay: Duration::from_millis(self.drain_delay_ms),
            prefix: self.prefix.as_str().into(),
            limits,
            delivery: delivery.map(Arc::new),
            leaves_tidy: false,
            clock: Clock::System,
            sabotage: Sabotage::default(),
        }
    }
}

fn read_delivery(file: &Path) -> Result<Delivery, Vec<String>> {
    let text = std::fs::read_to_string(file).map_err(|error| vec![error.to_string()]);
    let read = text.and_then(|text| Delivery::read(&text));
    let named = |mistake| format!("ONRUSH_DELIVERY, {}: {mistake}", file.display());
    read.map_err(|mistakes| mistakes.into_iter().map(named).collect())
}

impl Config {
    /// A key for one purpose, derived from the secret, so that no token can stand for another kind.
    pub fn derive_key(&self, purpose: &str) -> aws_lc_rs::hmac::Key {
        use aws_lc_rs::hmac;
        hmac::Key::new(hmac::HMAC_SHA256, &self.derive_bytes(purpose))
    }

    /// The same as bytes.
    pub fn derive_bytes(&self, purpose: &str) -> [u8; 32] {
        use aws_lc_rs::hmac;
        let root = hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose_secret().as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hmac::sign(&root, purpose.as_bytes()).as_ref());
        bytes
    }
}

/// Where `--data-dir` is given, the servers of a demo are used.
#[derive(Args, Clone, Debug, Default)]
pub struct DataDir {
    /// Work on the servers of the demo that runs with this folder.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    fn settings(args: &[&str]) -> Settings {
        Cli::parse_from([&["onrush"], args].concat()).settings
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let wrong = ["--listen", "nowhere", "--timezone", "Mars/Base", "--tick-ms", "0", "--redis-url", ""];
        let wrong = [&wrong[..], &["--limit-polls", "5", "--trusted-proxies", "x"]].concat();
        let mistakes =
            settings(&[&wrong[..], &["--database-url", "x", "--jwt-secret", "y"]].concat()).check();
        let mistakes = mistakes.err().unwrap().join("\n");
        for name in
            ["LISTEN", "REDIS_URL", "DATABASE_URL", "JWT_SECRET", "TIMEZONE", "TICK_MS", "LIMIT_POLLS"]
        {
            assert!(mistakes.contains(&format!("ONRUSH_{name}")), "{name} is not named in:\n{mistakes}");
        }
    }

    #[test]
    fn good_settings_pass_and_keys_differ_by_purpose() {
        let secret = "s".repeat(SECRET_MIN);
        let args = [
            "--redis-url",
            "redis://127.0.0.1",
            "--database-url",
            "postgres://x@y/z",
            "--jwt-secret",
            &secret,
        ];
        let config = settings(&args).check().ok().unwrap();
        let tag = |purpose| aws_lc_rs::hmac::sign(&config.derive_key(purpose), b"x").as_ref().to_vec();
        assert_eq!(tag("a"), tag("a"));
        assert_ne!(tag("a"), tag("b"));
    }
}
