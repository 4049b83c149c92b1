//! Connections: one for commands, one for the blocking reader, one for messages.
//!
//! More connections for commands make it slower, not faster: every script call flushes the socket by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fred::clients::{Client, SubscriberClient};
use fred::prelude::{Builder, ClientLike, Config, EventInterface, PubsubInterface, ReconnectPolicy};
use fred::types::config::{Options, ReconnectError};
use fred::types::{ClusterHash, CustomCommand, Message, Value};
use tokio::sync::{broadcast, watch};

use super::line::{Line, Lines};
use super::{Key, RedisError, Reply, Script, Scripts, Source};
use crate::metrics;

/// How long a command may take, unless the call says otherwise.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(300);
/// Commands that may wait in the client while the connection is busy.
const COMMAND_BUFFER_MAX: usize = 10_000;
/// Messages that may wait in the subscriber before the oldest are dropped; acknowledgements are hints.
const MESSAGES_MAX: usize = 10_000;
/// The kernel gives a connection up when what was sent stays unconfirmed for so long.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(2);
/// Tries of a script whose slot is half-moved.
const TRYAGAIN_MAX: u32 = 5;

/// Which server answers: both change when it restarts or when another takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdentity {
    /// `run_id`: changes with every start.
    pub run: String,
    /// `master_replid`: changes with every fail-over.
    pub replication: String,
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

/// One entry of a stream: its id and its fields as sent.
#[derive(Clone, Debug)]
pub struct StreamEntry {
    /// `<epoch>-<seq>`.
    pub id: String,
    /// Field, value, field, value …
    pub fields: Vec<String>,
}

/// The client.
pub struct Redis {
    lines: Arc<Lines>,
    reader: Client,
    subscriber: SubscriberClient,
    scripts: Arc<Scripts>,
    /// Always false, but in a negative control: the command line reconnects by itself, and keys of another
    /// run are sent all the same.
    trusts_any: bool,
}

impl Redis {
    /// Connects, or says why not. `url` as `redis://[user:password@]host:port[/db]` or `unix:///path`.
    pub async fn connect(url: &str, scripts: Arc<Scripts>, trusts_any: bool) -> Result<Self, RedisError> {
        let config = Config::from_url(url).map_err(|error| RedisError::Away(error.to_string()))?;
        let once = builder(config.clone());
        let mut builder = builder(config);
        builder.set_policy(ReconnectPolicy::new_exponential(0, 20, 1_000, 2));
        let lines = Lines::open(if trusts_any { builder.clone() } else { once }).await?;
        let away = |error: fred::error::Error| RedisError::Away(error.to_string());
        let reader = builder.build().map_err(away)?;
        let subscriber = builder.build_subscriber_client().map_err(away)?;
        reader.init().await.map_err(away)?;
        subscriber.init().await.map_err(away)?;
        // Subscribes again after a reconnection; it ends with the client.
        drop(subscriber.manage_subscriptions());
        Ok(Self { lines, reader, subscriber, scripts, trusts_any })
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.lines.end().await;
        for closing in [self.reader.quit().await, self.subscriber.quit().await] {
            if let Err(error) = closing {
                tracing::debug!(%error, "closing a redis connection");
            }
        }
    }

    /// Calls a script whose KEYS and ARGV are all its own.
    pub async fn run<S: Script>(&self, script: S, timeout: Duration) -> Result<Reply, RedisError> {
        let (keys, args) = script.parts();
        self.call(S::SOURCE, keys, args, timeout).await
    }

    /// Calls a script with all of its keys and arguments, those of its libraries first.
    pub async fn call(
        &self,
        source: &Source,
        keys: Vec<Key>,
        args: Vec<String>,
        timeout: Duration,
    ) -> Result<Reply, RedisError> {
        let started = Instant::now();
        let answer = self.eval(source, keys, args, timeout).await;
        let outcome = match &answer {
            Ok(reply) => reply.word(),
            Err(_) => "error",
        };
        metrics::script(source.name, outcome, started.elapsed());
        answer
    }

    /// Calls with the usual time-out.
    pub async fn call_quick(
        &self,
        source: &Source,
        keys: Vec<Key>,
        args: Vec<String>,
    ) -> Result<Reply, RedisError> {
        self.call(source, keys, args, COMMAND_TIMEOUT).await
    }

    async fn eval(
        &self,
        source: &Source,
        keys: Vec<Key>,
        args: Vec<String>,
        timeout: Duration,
    ) -> Result<Reply, RedisError> {
        let script = self.scripts.get(source.name);
        let script =
            script.ok_or_else(|| RedisError::Broken(format!("script {} is not loaded", source.name)))?;
        let line = self.line()?;
        // Named for another run of the server: what it was named by says nothing about this one.
        if !self.trusts_any && keys.iter().any(|key| ![0, line.server].contains(&key.server())) {
            return Err(RedisError::Away("another redis answers now".into()));
        }
        let mut values = Vec::with_capacity(2 + keys.len() + args.len());
        values.push(Value::from(script.sha.as_str()));
        values.push(Value::from(keys.len() as i64));
        values.extend(keys.into_iter().map(|key| Value::from(key.into_string())));
        values.extend(args.into_iter().map(Value::from));
        for attempt in 0..TRYAGAIN_MAX {
            match eval(&line.client, "EVALSHA", values.clone(), timeout).await {
                // The whole text runs and stays loaded, on whichever node it was sent to.
                Err(RedisError::Refused(why)) if why.starts_with("NOSCRIPT") => {
                    values[0] = Value::from(script.text.as_str());
                    return eval(&line.client, "EVAL", values, timeout).await.and_then(Reply::read);
                }
                Err(RedisError::Refused(why)) if why.starts_with("TRYAGAIN") => {
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=4) << attempt)).await;
                }
                answer => return answer.and_then(Reply::read),
            }
        }
        Err(RedisError::Refused("TRYAGAIN: the slot is being moved".into()))
    }

    fn line(&self) -> Result<Arc<Line>, RedisError> {
        self.lines.current().ok_or_else(|| RedisError::Away("not connected".into()))
    }

    /// Any other command, by name; the key, if any, is the first argument.
    pub async fn command(&self, command: &'static str, args: &[&str]) -> Result<Value, RedisError> {
        let args = args.iter().map(|arg| Value::from(*arg)).collect();
        send(
            &self.line()?.client,
            CustomCommand::new_static(command, ClusterHash::FirstKey, false),
            args,
            COMMAND_TIMEOUT,
        )
        .await
    }

    /// One step through all keys that match: where it goes on (`0` at the end), and the keys found.
    pub async fn scan(
        &self,
        cursor: &str,
        pattern: &str,
        count: &str,
    ) -> Result<(String, Vec<String>), RedisError> {
        let answer = self.command("SCAN", &[cursor, "MATCH", pattern, "COUNT", count]).await?;
        let shape = || RedisError::Broken("SCAN answered in another shape".into());
        let Value::Array(pair) = answer else { return Err(shape()) };
        let [next, keys] = <[Value; 2]>::try_from(pair).map_err(|_| shape())?;
        let keys = keys.into_array().into_iter().filter_map(Value::into_string).collect();
        Ok((next.into_string().ok_or_else(shape)?, keys))
    }

    /// New entries of several streams of one server, after the given ids; waits up to `block` for the first.
    pub async fn read_streams(
        &self,
        cursors: &[(String, String)],
        count: usize,
        block: Duration,
    ) -> Result<Vec<(String, Vec<StreamEntry>)>, RedisError> {
        let mut args: Vec<Value> = vec![
            "COUNT".into(),
            (count as i64).into(),
            "BLOCK".into(),
            (block.as_millis().max(1) as i64).into(),
            "STREAMS".into(),
        ];
        args.extend(cursors.iter().map(|(key, _)| Value::from(key.as_str())));
        args.extend(cursors.iter().map(|(_, id)| Value::from(id.as_str())));
        let command = CustomCommand::new_static("XREAD", ClusterHash::Offset(5), true);
        let answer = send(&self.reader, command, args, block + COMMAND_TIMEOUT).await?;
        if matches!(answer, Value::Null) {
            return Ok(Vec::new());
        }
        streams(answer).ok_or_else(|| RedisError::Broken("XREAD answered in another shape".into()))
    }

    /// Sends a message to whoever listens; nobody may.
    pub async fn publish(&self, channel: &str, message: String) -> Result<(), RedisError> {
        let args = vec![Value::from(channel), Value::from(message)];
        let command = CustomCommand::new_static("PUBLISH", ClusterHash::Random, false);
        send(&self.line()?.client, command, args, COMMAND_TIMEOUT).await.map(drop)
    }

    /// Listens to a channel; subscribed again after each reconnection.
    pub async fn subscribe(&self, channel: &str) -> Result<broadcast::Receiver<Message>, RedisError> {
        let messages = self.subscriber.message_rx();
        let subscribed = self.subscriber.subscribe(channel.to_owned()).await;
        subscribed.map_err(|error| RedisError::Away(error.to_string()))?;
        Ok(messages)
    }

    /// Fires each time the command connection is another: the server may be, too.
    pub fn reconnections(&self) -> watch::Receiver<u64> {
        self.lines.changes()
    }

    /// Whether commands can be sent now.
    pub fn is_connected(&self) -> bool {
        self.lines.current().is_some()
    }

    /// Whom the command connection reaches, as it said when it was opened.
    pub fn reaches(&self) -> Option<ServerIdentity> {
        self.lines.current().map(|line| line.identity.clone())
    }

    /// Asks who answers. A server that became another in its run (a fail-over) is reached by a new line.
    pub async fn identity(&self) -> Result<ServerIdentity, RedisError> {
        let line = self.line()?;
        let identity = identity_of(&line.client).await?;
        if identity != line.identity {
            drop(line.client.quit().await);
            return Err(RedisError::Away("redis became another".into()));
        }
        Ok(identity)
    }

    /// Closes and opens all connections; the way out when a server takes frames and never answers.
    pub async fn reconnect(&self) {
        self.lines.close().await;
        let (reader, subscriber) =
            tokio::join!(self.reader.force_reconnection(), self.subscriber.force_reconnection());
        for error in [reader, subscriber].into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "forcing a redis reconnection");
        }
    }
}

/// The client's defaults never reconnect, never time out and buffer without bound: all are set here.
fn builder(config: Config) -> Builder {
    let mut builder = Builder::from_config(config);
    builder
        .with_connection_config(|connection| {
            connection.connection_timeout = Duration::from_secs(2);
            connection.internal_command_timeout = Duration::from_secs(2);
            connection.max_command_buffer_len = COMMAND_BUFFER_MAX;
            connection.tcp.user_timeout = Some(TCP_USER_TIMEOUT);
            connection.tcp.nodelay = Some(true);
            connection.reconnect_errors =
                vec![ReconnectError::ClusterDown, ReconnectError::Loading, ReconnectError::ReadOnly];
        })
        .with_performance_config(|performance| {
            performance.default_command_timeout = COMMAND_TIMEOUT;
            performance.broadcast_channel_capacity = MESSAGES_MAX;
        });
    builder
}

async fn eval(
    client: &Client,
    command: &'static str,
    args: Vec<Value>,
    timeout: Duration,
) -> Result<Value, RedisError> {
    send(client, CustomCommand::new_static(command, ClusterHash::Offset(2), false), args, timeout).await
}

/// Asks a server who it is.
pub async fn identity_of(client: &Client) -> Result<ServerIdentity, RedisError> {
    let command = CustomCommand::new_static("INFO", ClusterHash::Random, false);
    let info = send(client, command, Vec::new(), COMMAND_TIMEOUT).await?.into_string().unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().to_owned()
    };
    Ok(ServerIdentity {
        run: field("run_id"),
        replication: field("master_replid"),
        version: field("redis_version"),
        eviction: field("maxmemory_policy"),
    })
}

async fn send(
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
    client.custom(command, args).await.map_err(|error| match error.kind() {
        ErrorKind::Backpressure | ErrorKind::Routing | ErrorKind::Config => {
            RedisError::Away(error.to_string())
        }
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

fn streams(answer: Value) -> Option<Vec<(String, Vec<StreamEntry>)>> {
    let pairs: Vec<(Value, Value)> = match answer {
        Value::Array(streams) => streams
            .into_iter()
            .map(|stream| match stream {
                Value::Array(pair) => <[Value; 2]>::try_from(pair).ok().map(|[key, entries]| (key, entries)),
                _ => None,
            })
            .collect::<Option<_>>()?,
        _ => return None,
    };
    pairs
        .into_iter()
        .map(|(key, entries)| {
            let Value::Array(entries) = entries else { return None };
            Some((key.into_string()?, entries.into_iter().map(stream_entry).collect::<Option<_>>()?))
        })
        .collect()
}

fn stream_entry(value: Value) -> Option<StreamEntry> {
    let Value::Array(pair) = value else { return None };
    let [id, fields] = <[Value; 2]>::try_from(pair).ok()?;
    let Value::Array(fields) = fields else { return None };
    Some(StreamEntry {
        id: id.into_string()?,
        fields: fields.into_iter().map(Value::into_string).collect::<Option<_>>()?,
    })
}
