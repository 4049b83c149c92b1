//! One Redis server: how it is connected to, how it is asked, what it says it is.

use std::collections::HashMap;
use std::time::Duration;

use fred::clients::Client;
use fred::prelude::{Builder, ClientLike, Config};
use fred::types::config::{Options, ReconnectError};
use fred::types::{ClusterHash, CustomCommand, Value};

use super::RedisError;

/// How long a command may take, unless the call says otherwise.
pub const COMMAND_TIMEOUT: Duration = Duration::from_millis(300);
/// Commands that may wait in the client while the connection is busy.
const COMMAND_BUFFER_MAX: usize = 10_000;
/// Messages that may wait in the subscriber before the oldest are dropped; acknowledgements are hints.
const MESSAGES_MAX: usize = 10_000;
/// The kernel gives a connection up when what was sent stays unconfirmed for so long.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(2);

/// Which server answers: run and replication history change when it restarts or when another takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdentity {
    /// `run_id`: changes with every start.
    pub run: String,
    /// `master_replid`: changes with every fail-over.
    pub replication: String,
    /// `role`: `master`, or `slave` for one that follows another.
    pub role: String,
    /// `redis_mode`: `standalone`, `cluster` or `sentinel`.
    pub mode: String,
    /// `redis_version`.
    pub version: String,
    /// `maxmemory_policy`.
    pub eviction: String,
}

impl ServerIdentity {
    /// What an epoch is bound to: another run or another replication history is another Redis.
    pub fn fingerprint(&self) -> String {
        format!("{}/{}", self.run, self.replication)
    }
}

/// The client's defaults never reconnect, never time out and buffer without bound: all are set here.
pub fn builder(config: Config) -> Builder {
    let mut builder = Builder::from_config(config);
    builder
        .with_connection_config(|connection| {
            connection.connection_timeout = Duration::from_secs(2);
            connection.internal_command_timeout = Duration::from_secs(2);
            connection.max_command_buffer_len = COMMAND_BUFFER_MAX;
            connection.tcp.user_timeout = Some(TCP_USER_TIMEOUT);
            connection.tcp.nodelay = Some(true);
            connection.reconnect_errors = vec![ReconnectError::Loading, ReconnectError::ReadOnly];
        })
        .with_performance_config(|performance| {
            performance.default_command_timeout = COMMAND_TIMEOUT;
            performance.broadcast_channel_capacity = MESSAGES_MAX;
        });
    builder
}

/// Nothing was sent.
pub fn away(error: fred::error::Error) -> RedisError {
    RedisError::Away(error.to_string())
}

/// The lines of INFO, and how far the server's clock is ahead of ours, in milliseconds.
pub async fn info_of(client: &Client) -> Result<(HashMap<String, String>, i64), RedisError> {
    let text = ask(client, "INFO", Vec::new()).await?.into_string().unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    let info: HashMap<String, String> = pairs.map(|(name, is)| (name.to_owned(), is.to_owned())).collect();
    let time_us = info.get("server_time_usec").and_then(|time| time.parse::<i64>().ok());
    Ok((info, time_us.map_or(0, |us| us / 1_000 - chrono::Utc::now().timestamp_millis())))
}

/// Asks a server who it is, and how far its clock is ahead of ours, in milliseconds.
pub async fn identity_of(client: &Client) -> Result<(ServerIdentity, i64), RedisError> {
    let (mut info, ahead_ms) = info_of(client).await?;
    let mut field = |name: &str| info.remove(name).unwrap_or_default();
    let identity = ServerIdentity {
        run: field("run_id"),
        replication: field("master_replid"),
        role: field("role"),
        mode: field("redis_mode"),
        version: field("redis_version"),
        eviction: field("maxmemory_policy"),
    };
    Ok((identity, ahead_ms))
}

/// Any command, with the usual time-out.
pub async fn ask(client: &Client, command: &'static str, args: Vec<Value>) -> Result<Value, RedisError> {
    send(client, CustomCommand::new_static(command, ClusterHash::Random, false), args, COMMAND_TIMEOUT).await
}

/// Sends a command, and tells what its failure means.
pub async fn send(
    client: &Client,
    command: CustomCommand,
    args: Vec<Value>,
    timeout: Duration,
) -> Result<Value, RedisError> {
    use fred::error::ErrorKind;
    if !client.is_connected() {
        return Err(RedisError::Away("not connected".into()));
    }
    let client = client.with_options(&Options { timeout: Some(timeout), ..Options::default() });
    // Five kilobytes, which whoever may ask Redis would carry along.
    Box::pin(client.custom(command, args)).await.map_err(|error| match error.kind() {
        ErrorKind::Backpressure | ErrorKind::Routing | ErrorKind::Config => away(error),
        ErrorKind::Timeout | ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Protocol => {
            RedisError::Unknown(error.to_string())
        }
        // The client gave up sending it again; an earlier time it may have run.
        ErrorKind::Unknown if error.details().starts_with("Too many failed") => {
            RedisError::Unknown(error.to_string())
        }
        _ => server_error(error.details()),
    })
}

/// What the server itself answered. A script that failed says so with its name; all else was refused whole.
fn server_error(details: &str) -> RedisError {
    if details.starts_with("ERR") && details.contains("script") {
        RedisError::Broken(details.to_owned())
    } else {
        RedisError::Refused(details.to_owned())
    }
}
