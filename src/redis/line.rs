//! The connection for commands, each time to one run of one server.
//!
//! A client that reconnects by itself would send what waits to whoever listens then: a Redis that came back
//! without its last second, or a replica that lags, takes joins and gives out numbers that others have
//! already, until somebody notices. So a line never outlives its connection, and a connection never outlives
//! the server's run: a new line is asked who it reaches before anybody may use it, and keys say which server
//! they were named for.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use fred::clients::Client;
use fred::prelude::{Builder, ClientLike};
use fred::types::ConnectHandle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::RedisError;
use super::server::{ServerIdentity, away, identity_of};

/// Pauses between tries to reach a server: from this …
const AGAIN_MIN: Duration = Duration::from_millis(10);
/// … doubled up to this.
const AGAIN_MAX: Duration = Duration::from_millis(500);

/// A server that does not say who it is so often in a row is let go: a connection that takes frames and never
/// answers would be kept for ever.
const SILENT_MAX: u32 = 3;

/// A connection, and whom it reaches.
pub struct Line {
    pub client: Client,
    pub identity: ServerIdentity,
    /// [`server_number`] of its fingerprint.
    pub server: u64,
    /// Ends the client's task, which would wait for a server that hangs before it quits.
    task: AbortHandle,
    /// How far its clock is ahead of ours, in milliseconds, when it was asked last.
    pub ahead_ms: AtomicI64,
}

impl Line {
    /// Ends it, also where the server does not answer any more; what waits for an answer gets none.
    async fn end(&self) {
        drop(self.client.quit().await);
        self.task.abort();
    }
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
    /// Counts new lines and lost ones.
    changed: watch::Sender<u64>,
    ended: AtomicBool,
    silent: AtomicU32,
}

impl Lines {
    /// Opens the first line, and a new one whenever the last has ended, until dropped. `changed` counts.
    pub async fn open(builder: Builder, changed: watch::Sender<u64>) -> Result<Arc<Self>, RedisError> {
        let first = open(&builder).await?;
        Ok(Self::keep(builder, changed, Some(first)))
    }

    /// The same for a server that need not be there yet.
    pub fn start(builder: Builder, changed: watch::Sender<u64>) -> Arc<Self> {
        Self::keep(builder, changed, None)
    }

    fn keep(
        builder: Builder,
        changed: watch::Sender<u64>,
        first: Option<(Line, ConnectHandle)>,
    ) -> Arc<Self> {
        let (line, ends) = first.unzip();
        let lines = Arc::new(Self {
            current: RwLock::new(line.map(Arc::new)),
            changed,
            ended: AtomicBool::new(false),
            silent: AtomicU32::new(0),
        });
        tokio::spawn(keep(Arc::downgrade(&lines), builder, ends));
        lines
    }

    /// The line of now.
    pub fn current(&self) -> Option<Arc<Line>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The line of now, or that there is none.
    pub fn line(&self) -> Result<Arc<Line>, RedisError> {
        self.current().ok_or_else(|| RedisError::Away("not connected".into()))
    }

    /// Asks who answers. A server that became another in its run (a fail-over) is reached by a new line.
    pub async fn identity(&self) -> Result<ServerIdentity, RedisError> {
        let line = self.line()?;
        let (identity, ahead_ms) = identity_of(&line.client).await?;
        line.ahead_ms.store(ahead_ms, Ordering::Relaxed);
        if identity != line.identity {
            line.end().await;
            return Err(RedisError::Away("redis became another".into()));
        }
        Ok(identity)
    }

    /// Asks who answers, and lets go of a server that was silent too often. False when it was let go.
    pub async fn check(&self) -> Result<bool, RedisError> {
        let answer = self.identity().await;
        if answer.is_ok() {
            self.silent.store(0, Ordering::Relaxed);
            return Ok(true);
        }
        let silent = self.silent.fetch_add(1, Ordering::Relaxed) + 1;
        if silent.is_multiple_of(SILENT_MAX) && self.current().is_some() {
            self.close().await;
            return Ok(false);
        }
        answer.map(|_| true)
    }

    /// Ends the line of now, and no other follows.
    pub async fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.close().await;
    }

    /// Ends the line of now; a new one follows.
    async fn close(&self) {
        if let Some(line) = self.current() {
            line.end().await;
        }
    }

    fn set(&self, line: Option<Line>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = line.map(Arc::new);
        self.changed.send_modify(|count| *count += 1);
    }
}

async fn open(builder: &Builder) -> Result<(Line, ConnectHandle), RedisError> {
    let client = builder.build().map_err(away)?;
    let ends = client.init().await.map_err(away)?;
    match identity_of(&client).await {
        Ok((identity, ahead_ms)) if identity.role == "master" => {
            let server = server_number(&identity.fingerprint());
            let task = ends.abort_handle();
            Ok((Line { client, identity, server, task, ahead_ms: ahead_ms.into() }, ends))
        }
        answer => {
            drop(client.quit().await);
            ends.abort();
            Err(answer.err().unwrap_or_else(|| RedisError::Away("it is a replica".into())))
        }
    }
}

async fn keep(lines: Weak<Lines>, builder: Builder, mut ends: Option<ConnectHandle>) {
    loop {
        // However it ended, it is over.
        if let Some(ends) = ends.take() {
            drop(ends.await);
            let Some(lines) = lines.upgrade() else { return };
            lines.set(None);
        }
        let mut pause = AGAIN_MIN;
        let next = loop {
            if lines.upgrade().is_none_or(|lines| lines.ended.load(Ordering::Acquire)) {
                return;
            }
            match open(&builder).await {
                Ok(next) => break next,
                Err(error) => tracing::debug!(%error, "redis is not there"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_MAX);
        };
        let Some(lines) = lines.upgrade() else { return };
        if lines.ended.load(Ordering::Acquire) {
            next.0.end().await;
            return;
        }
        tracing::info!(run = next.0.identity.run, "connected to redis");
        ends = Some(next.1);
        lines.set(Some(next.0));
    }
}
