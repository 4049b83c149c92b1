//! The connection for commands, each time to one run of one server.
//!
//! A client that reconnects by itself would send what waits to whoever listens then: a Redis that came back
//! without its last second, or a replica that lags, takes joins and gives out numbers that others have
//! already, until somebody notices. So a line never outlives its connection, and a connection never outlives
//! the server's run: a new line is asked who it reaches before anybody may use it, and keys say which server
//! they were named for.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use fred::clients::Client;
use fred::prelude::{Builder, ClientLike};
use fred::types::ConnectHandle;
use tokio::sync::watch;

use super::RedisError;
use super::connection::{ServerIdentity, identity_of};

/// Pauses between tries to reach a server: from this …
const AGAIN_MIN: Duration = Duration::from_millis(10);
/// … doubled up to this.
const AGAIN_MAX: Duration = Duration::from_millis(500);

/// A connection, and whom it reaches.
pub struct Line {
    pub client: Client,
    pub identity: ServerIdentity,
    /// [`server_number`] of its fingerprint.
    pub server: u64,
}

/// A server's fingerprint as a number, to be compared on every call; never 0, which stands for any.
pub fn server_number(fingerprint: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    fingerprint.hash(&mut hasher);
    hasher.finish().max(1)
}

/// The line of now, if there is one.
pub struct Lines {
    current: RwLock<Option<Arc<Line>>>,
    /// Counts lines.
    changed: watch::Sender<u64>,
    ended: AtomicBool,
}

impl Lines {
    /// Opens the first line, and a new one whenever the last has ended, until dropped.
    pub async fn open(builder: Builder) -> Result<Arc<Self>, RedisError> {
        let (line, ends) = open(&builder).await?;
        let lines = Arc::new(Self {
            current: RwLock::new(Some(Arc::new(line))),
            changed: watch::channel(0).0,
            ended: AtomicBool::new(false),
        });
        tokio::spawn(keep(Arc::downgrade(&lines), builder, ends));
        Ok(lines)
    }

    /// The line of now.
    pub fn current(&self) -> Option<Arc<Line>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the line of now, and no other follows.
    pub async fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.close().await;
    }

    /// Ends the line of now; a new one follows.
    pub async fn close(&self) {
        if let Some(line) = self.current() {
            drop(line.client.quit().await);
        }
    }

    /// Fires for each new line.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn set(&self, line: Option<Line>) {
        let is_new = line.is_some();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = line.map(Arc::new);
        if is_new {
            self.changed.send_modify(|count| *count += 1);
        }
    }
}

async fn open(builder: &Builder) -> Result<(Line, ConnectHandle), RedisError> {
    let away = |error: fred::error::Error| RedisError::Away(error.to_string());
    let client = builder.build().map_err(away)?;
    let ends = client.init().await.map_err(away)?;
    match identity_of(&client).await {
        Ok(identity) => {
            let server = server_number(&identity.fingerprint());
            Ok((Line { client, identity, server }, ends))
        }
        Err(error) => {
            drop(client.quit().await);
            Err(error)
        }
    }
}

async fn keep(lines: Weak<Lines>, builder: Builder, mut ends: ConnectHandle) {
    loop {
        // However it ended, it is over.
        drop((&mut ends).await);
        let mut pause = AGAIN_MIN;
        let next = loop {
            let Some(lines) = lines.upgrade() else { return };
            lines.set(None);
            if lines.ended.load(Ordering::Acquire) {
                return;
            }
            drop(lines);
            match open(&builder).await {
                Ok(next) => break next,
                Err(error) => tracing::debug!(%error, "redis is not there"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_MAX);
        };
        let Some(lines) = lines.upgrade() else { return };
        tracing::info!(run = next.0.identity.run, "connected to redis");
        ends = next.1;
        lines.set(Some(next.0));
    }
}
