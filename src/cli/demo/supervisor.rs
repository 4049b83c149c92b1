//! Keeps the demo's Redis and Postgres running: one that dies is started again, on its data and its port.
//!
//! The kernel kills the children when the *thread* that started them ends, so one thread starts them all and
//! lives as long as the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::anyhow;

use crate::servers::{Durability, Folder, Programs, Server, free_port};

/// Pause between two looks at the children, and between two tries to start one.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The children's keeper.
pub struct Supervisor {
    /// The demo's folder.
    pub folder: PathBuf,
    /// Redis.
    pub redis_url: String,
    /// Postgres.
    pub database_url: String,
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Supervisor {
    /// Locks the folder, empties it where that is asked for, and starts both servers.
    pub fn start(path: &Path, fresh: bool) -> anyhow::Result<Self> {
        let programs = Programs::find()?;
        let folder = Folder::open(path)?;
        if fresh {
            empty(folder.path())?;
        }
        let at = folder.path().to_owned();
        let (stop, stopped) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new().name("supervisor".into()).spawn(move || {
            match Children::start(folder, programs) {
                Ok(children) => {
                    // Who asked may have given up; then the children end at once.
                    drop(tell.send(Ok((children.redis.url.clone(), children.postgres.url.clone()))));
                    children.keep(&stopped);
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        })?;
        let (redis_url, database_url) = told.recv().map_err(|_| anyhow!("the supervisor ended"))??;
        Ok(Self { folder: at, redis_url, database_url, stop, thread })
    }

    /// Ends both servers, Redis first.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the supervisor ended badly");
        }
    }
}

fn empty(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.ends_with("lock") {
            continue;
        }
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}

struct Children {
    folder: Folder,
    programs: Programs,
    ports: (u16, u16),
    redis: Server,
    postgres: Server,
}

impl Children {
    fn start(folder: Folder, programs: Programs) -> anyhow::Result<Self> {
        let ports = (free_port()?, free_port()?);
        let redis = folder.start_redis(&programs, ports.0)?;
        let postgres = folder.start_postgres(&programs, Durability::Synced, ports.1)?;
        Ok(Self { folder, programs, ports, redis, postgres })
    }

    fn keep(mut self, stopped: &mpsc::Receiver<()>) {
        while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK_EVERY) {
            if !self.redis.is_running() {
                tracing::warn!("redis ended; it is started again");
                match self.folder.start_redis(&self.programs, self.ports.0) {
                    Ok(redis) => self.redis = redis,
                    Err(error) => tracing::error!(%error, "starting redis"),
                }
            }
            if !self.postgres.is_running() {
                tracing::warn!("postgres ended; it is started again");
                match self.folder.start_postgres(&self.programs, Durability::Synced, self.ports.1) {
                    Ok(postgres) => self.postgres = postgres,
                    Err(error) => tracing::error!(%error, "starting postgres"),
                }
            }
        }
        self.redis.stop();
        self.postgres.stop();
    }
}
