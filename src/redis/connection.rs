//! The client: routes each command to the server that its key was named for, or to nobody.
//!
//! One connection for commands to each server, one for the blocking reader, one for messages. More
//! connections for commands make it slower, not faster: every script call flushes the socket by itself.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fred::clients::{Client, SubscriberClient};
use fred::prelude::{Builder, ClientLike, Config, EventInterface, PubsubInterface, ReconnectPolicy};
use fred::types::config::ServerConfig;
use fred::types::{ClusterHash, CustomCommand, Message, Value};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{broadcast, watch};

use super::cluster::Cluster;
use super::line::Lines;
use super::server::{self, COMMAND_TIMEOUT, ServerIdentity, away, builder, send};
use super::streams::{self, StreamEntry, Streams};
use super::{Key, RedisError, Scripts};
use crate::metrics::ScriptMeter;

/// Pause between two looks at streams of a cluster, where one call cannot wait for all.
const LOOK_EVERY: Duration = Duration::from_millis(3);
/// How much longer than the first that has something a node of a cluster may take to answer.
const LOOK_GRACE: Duration = Duration::from_millis(100);
/// How long a reader or a subscriber may take to be told to connect again.
const RECONNECT_MAX: Duration = Duration::from_secs(1);

/// Who answers.
enum Servers {
    /// One server: as the URL says, or as the sentinels say. Streams are read on a connection of its own.
    One { lines: Arc<Lines>, reader: Client },
    /// The masters of a cluster.
    Cluster(Arc<Cluster>),
}

/// The client.
pub struct Redis {
    servers: Servers,
    subscriber: SubscriberClient,
    changed: watch::Sender<u64>,
    /// Which servers the command lines reached at the last check.
    reached: Mutex<Vec<u64>>,
    pub(super) scripts: Arc<Scripts>,
    /// Always false, but in a negative control: the command line reconnects by itself, and keys of another
    /// run are sent all the same.
    pub(super) trusts_any: bool,
    pub(super) meter: ScriptMeter,
}

impl Redis {
    /// Connects, or says why not. `url` as `redis://[user:password@]host:port[/db]`, `unix:///path`,
    /// `redis-sentinel://host:port?sentinelServiceName=name[&node=host:port …]` or
    /// `redis-cluster://host:port[?node=host:port …]`.
    pub async fn connect(url: &str, scripts: Arc<Scripts>, trusts_any: bool) -> Result<Self, RedisError> {
        // The client has another name for it.
        let socket = url.strip_prefix("unix://").map(|path| format!("redis+unix://{path}"));
        let config = Config::from_url(socket.as_deref().unwrap_or(url)).map_err(away)?;
        let changed = watch::channel(0).0;
        let mut lasting = builder(config.clone());
        lasting.set_policy(ReconnectPolicy::new_exponential(0, 20, 1_000, 2));
        let servers = match &config.server {
            ServerConfig::Clustered { hosts, .. } => {
                let hosts = hosts.clone();
                Servers::Cluster(Cluster::open(config, hosts, changed.clone()).await?)
            }
            _ => Self::open_one(config, &lasting, changed.clone(), trusts_any).await?,
        };
        let subscriber = lasting.build_subscriber_client().map_err(away)?;
        subscriber.init().await.map_err(away)?;
        // Subscribes again after a reconnection; it ends with the client.
        drop(subscriber.manage_subscriptions());
        Ok(Self {
            servers,
            subscriber,
            changed,
            reached: Mutex::default(),
            scripts,
            trusts_any,
            meter: ScriptMeter::default(),
        })
    }

    async fn open_one(
        config: Config,
        lasting: &Builder,
        changed: watch::Sender<u64>,
        trusts_any: bool,
    ) -> Result<Servers, RedisError> {
        let commands = if trusts_any { lasting.clone() } else { builder(config) };
        let lines = Lines::open(commands, changed).await?;
        if lines.line()?.identity.mode == "cluster" {
            return Err(RedisError::Away("it is a node of a cluster: use redis-cluster://".into()));
        }
        let reader = lasting.build().map_err(away)?;
        reader.init().await.map_err(away)?;
        Ok(Servers::One { lines, reader })
    }

    /// Closes all connections.
    pub async fn close(&self) {
        for (_, lines) in self.nodes() {
            lines.end().await;
        }
        if let Servers::One { reader, .. } = &self.servers {
            drop(reader.quit().await);
        }
        if let Err(error) = self.subscriber.quit().await {
            tracing::debug!(%error, "closing a redis connection");
        }
    }

    /// Where a refusal says that another answers for a slot, who does is asked.
    pub(super) fn refused(&self, why: &str) {
        let elsewhere = ["MOVED", "ASK", "CLUSTERDOWN", "READONLY"];
        if let Servers::Cluster(cluster) = &self.servers
            && elsewhere.iter().any(|word| why.starts_with(word))
        {
            tracing::debug!(why, "the cluster answers from elsewhere");
            cluster.look_soon();
        }
    }

    pub(super) fn lines_of(&self, key: &str) -> Result<Arc<Lines>, RedisError> {
        match &self.servers {
            Servers::One { lines, .. } => Ok(lines.clone()),
            Servers::Cluster(cluster) => cluster.lines_of(key),
        }
    }

    /// All servers, with their addresses.
    pub(super) fn nodes(&self) -> Vec<(String, Arc<Lines>)> {
        match &self.servers {
            Servers::One { lines, .. } => vec![("redis".into(), lines.clone())],
            Servers::Cluster(cluster) => {
                cluster.nodes().into_iter().map(|(server, lines)| (server.to_string(), lines)).collect()
            }
        }
    }

    /// Any other command, by name; the key is the first argument.
    pub async fn command(&self, command: &'static str, args: &[&str]) -> Result<Value, RedisError> {
        self.command_within(command, args, COMMAND_TIMEOUT).await
    }

    pub(super) async fn command_within(
        &self,
        command: &'static str,
        args: &[&str],
        timeout: Duration,
    ) -> Result<Value, RedisError> {
        let line = self.lines_of(args.first().copied().unwrap_or_default())?.line()?;
        let custom = CustomCommand::new_static(command, ClusterHash::Random, false);
        let args = args.iter().map(|arg| Value::from(*arg)).collect();
        let answer = send(&line.client, custom, args, timeout).await;
        if let Err(RedisError::Refused(why)) = &answer {
            self.refused(why);
        }
        answer
    }

    /// New entries of several streams, after the given ids; waits up to `block` for the first.
    pub async fn read_streams(
        &self,
        cursors: &[(String, String)],
        count: usize,
        block: Duration,
    ) -> Result<Streams, RedisError> {
        let Servers::One { reader, .. } = &self.servers else {
            return self.look_at_streams(cursors, count, block).await;
        };
        let args = streams::request(cursors, count, Some(block.as_millis() as i64));
        let command = CustomCommand::new_static("XREAD", ClusterHash::Offset(5), true);
        streams::read(send(reader, command, args, block + COMMAND_TIMEOUT).await?)
    }

    /// In a cluster one call reads one slot, so it looks at all and looks again. What cannot be read now does
    /// not hold up the others.
    async fn look_at_streams(
        &self,
        cursors: &[(String, String)],
        count: usize,
        block: Duration,
    ) -> Result<Streams, RedisError> {
        let until = Instant::now() + block;
        loop {
            let mut looks: FuturesUnordered<_> =
                cursors.iter().map(|cursor| self.look_at_stream(cursor, count)).collect();
            let (mut found, mut answers, mut failed) = (Vec::new(), 0, None);
            let mut patience = Instant::now() + COMMAND_TIMEOUT;
            while let Ok(Some(look)) = tokio::time::timeout_at(patience.into(), looks.next()).await {
                match look {
                    Ok(streams) => {
                        answers += 1;
                        if found.is_empty() && !streams.is_empty() {
                            patience = patience.min(Instant::now() + LOOK_GRACE);
                        }
                        found.extend(streams);
                    }
                    Err(error) => failed = Some(error),
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
            if Instant::now() >= until {
                return failed.filter(|_| answers == 0).map_or(Ok(found), Err);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Entries of a stream after an id, up to so many; none at the end.
    pub async fn stream_after(
        &self,
        key: &str,
        after: &str,
        count: usize,
    ) -> Result<Vec<StreamEntry>, RedisError> {
        let found = self.look_at_stream(&(key.to_owned(), after.to_owned()), count).await?;
        Ok(found.into_iter().flat_map(|(_, entries)| entries).collect())
    }

    async fn look_at_stream(&self, cursor: &(String, String), count: usize) -> Result<Streams, RedisError> {
        let line = self.lines_of(&cursor.0)?.line()?;
        let args = streams::request(std::slice::from_ref(cursor), count, None);
        streams::read(server::ask(&line.client, "XREAD", args).await?)
    }

    /// Sends a message to whoever listens; nobody may. In a cluster every node carries it to all.
    pub async fn publish(&self, channel: &str, message: String) -> Result<(), RedisError> {
        let line = self.nodes().into_iter().find_map(|(_, lines)| lines.current());
        let line = line.ok_or_else(|| RedisError::Away("not connected".into()))?;
        server::ask(&line.client, "PUBLISH", vec![Value::from(channel), Value::from(message)]).await.map(drop)
    }

    /// Listens to a channel; subscribed again after each reconnection.
    pub async fn subscribe(&self, channel: &str) -> Result<broadcast::Receiver<Message>, RedisError> {
        let messages = self.subscriber.message_rx();
        self.subscriber.subscribe(channel.to_owned()).await.map_err(away)?;
        Ok(messages)
    }

    /// Fires each time a command connection is another or lost: the server may be another, too.
    pub fn reconnections(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whom commands for a key reach, as that server said when it was connected to, and how far its clock is
    /// ahead of ours, in milliseconds.
    pub fn reaches(&self, key: &Key) -> Option<(ServerIdentity, i64)> {
        let line = self.lines_of(key.as_str()).ok()?.current()?;
        Some((line.identity.clone(), line.ahead_ms.load(Ordering::Relaxed)))
    }

    /// Asks who answers for a key.
    pub async fn identity(&self, key: &Key) -> Result<ServerIdentity, RedisError> {
        self.lines_of(key.as_str())?.identity().await
    }

    /// Asks every server who it is, by address.
    pub async fn identities(&self) -> Result<Vec<(String, ServerIdentity)>, RedisError> {
        let nodes = self.nodes();
        let asked =
            nodes.into_iter().map(|(address, lines)| async move { Ok((address, lines.identity().await?)) });
        futures::future::try_join_all(asked).await
    }

    /// Asks every server whether it is there, and opens new connections to one that is silent for long, or
    /// whose place another has taken: a reader or a subscriber that hangs with the old one would not notice.
    /// The servers that do not answer.
    pub async fn check(&self) -> Vec<(String, RedisError)> {
        let nodes = self.nodes();
        let reached: Vec<u64> = nodes.iter().filter_map(|(_, lines)| Some(lines.current()?.server)).collect();
        // While nobody is reached, what was reached last is kept to compare with.
        if !reached.is_empty() {
            let before = std::mem::replace(&mut *self.reached(), reached.clone());
            if !before.is_empty() && reached.iter().any(|server| !before.contains(server)) {
                drop(tokio::time::timeout(RECONNECT_MAX, self.reconnect()).await);
            }
        }
        let checks = nodes.into_iter().map(|(address, lines)| async move { (address, lines.check().await) });
        let mut silent = Vec::new();
        for (address, answer) in futures::future::join_all(checks).await {
            match answer {
                Ok(true) => {}
                Ok(false) => {
                    drop(tokio::time::timeout(RECONNECT_MAX, self.reconnect()).await);
                    silent.push((address, RedisError::Away("silent for long: connecting again".into())));
                }
                Err(error) => silent.push((address, error)),
            }
        }
        silent
    }

    fn reached(&self) -> MutexGuard<'_, Vec<u64>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reader and the subscriber reach a server that is silent as little as the command line does.
    async fn reconnect(&self) {
        let reader = async {
            match &self.servers {
                Servers::One { reader, .. } => reader.force_reconnection().await,
                Servers::Cluster(_) => Ok(()),
            }
        };
        let (reader, subscriber) = tokio::join!(reader, self.subscriber.force_reconnection());
        for error in [reader, subscriber].into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "forcing a redis reconnection");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::{Folder, Programs, free_port};

    #[tokio::test]
    async fn a_socket_is_reached_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("redis.sock");
        let settings = ["--unixsocket", socket.to_str().unwrap()];
        let programs = Programs::find().unwrap();
        let servers = Folder::open(folder.path()).unwrap();
        let _server = servers.start_redis_as(&programs, "redis", free_port().unwrap(), &settings).unwrap();
        let url = format!("unix://{}", socket.display());
        let redis = Redis::connect(&url, Arc::default(), false).await.unwrap();
        assert_eq!(redis.identities().await.unwrap()[0].1.mode, "standalone");
        assert!(redis.command("PING", &[]).await.is_ok());
        redis.close().await;
    }
}
