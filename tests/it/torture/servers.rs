//! The servers under torture, started and ended by one thread, since they die with the thread that started
//! them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use onrush::servers::{Durability, Folder, Programs, Server, free_port, signal};
use tokio::sync::oneshot;

/// What is done to a server.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Ended at once, started on what its disk has.
    KillRedis,
    /// The same on what its disk had when it was copied last: the rest is lost.
    KillRedisStale,
    /// The same on nothing.
    KillRedisEmpty,
    /// Its file is copied, for later.
    CopyRedis,
    KillPostgres,
    KillBoth,
    Signal(Which, &'static str),
    /// A second Redis follows the first.
    StartReplica,
    /// The first is ended; the second, whatever it has, takes its place.
    PromoteReplica,
}

/// Which server.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    Redis,
    Postgres,
}

type Ask = (Act, oneshot::Sender<()>);

/// The thread's other end.
pub struct Servers {
    ask: mpsc::Sender<Ask>,
    pub postgres: SocketAddr,
    pub postgres_url: String,
    /// Where the first Redis listens, and where its replica does.
    pub redis: [SocketAddr; 2],
}

struct State {
    folders: [Folder; 2],
    programs: Programs,
    ports: [u16; 2],
    postgres_port: u16,
    redis: [Option<Server>; 2],
    postgres: Server,
    /// Which of the two Redis is the one in use.
    primary: usize,
    copy: PathBuf,
}

impl Servers {
    pub async fn start(folder: &Path) -> Self {
        let (ports, postgres_port) = ([free_port().unwrap(), free_port().unwrap()], free_port().unwrap());
        let (ask, asked) = mpsc::channel::<Ask>();
        let (tell, told) = oneshot::channel();
        let folder = folder.to_owned();
        std::thread::spawn(move || {
            let programs = Programs::find().unwrap();
            let folders =
                [Folder::open(&folder.join("a")).unwrap(), Folder::open(&folder.join("b")).unwrap()];
            let redis = [Some(folders[0].start_redis(&programs, ports[0]).unwrap()), None];
            let postgres = folders[0].start_postgres(&programs, Durability::Unsynced, postgres_port).unwrap();
            let _ = tell.send(postgres.url.clone());
            let copy = folder.join("copy");
            let mut state =
                State { folders, programs, ports, postgres_port, redis, postgres, primary: 0, copy };
            state.copy_redis();
            for (act, done) in asked {
                state.perform(act);
                let _ = done.send(());
            }
        });
        let postgres_url = told.await.unwrap();
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Self { ask, postgres: at(postgres_port), postgres_url, redis: ports.map(at) }
    }

    /// Does it and waits until it is done.
    pub async fn perform(&self, act: Act) {
        let (done, is_done) = oneshot::channel();
        self.ask.send((act, done)).unwrap();
        is_done.await.unwrap();
    }
}

impl State {
    fn perform(&mut self, act: Act) {
        match act {
            Act::KillRedis => self.restart_redis(|_, _| {}),
            Act::KillRedisStale => self.restart_redis(|data, copy| {
                fs::remove_dir_all(data).unwrap();
                copy_folder(copy, data);
            }),
            Act::KillRedisEmpty => self.restart_redis(|data, _| fs::remove_dir_all(data).unwrap()),
            Act::CopyRedis => self.copy_redis(),
            Act::KillPostgres => self.restart_postgres(),
            Act::KillBoth => {
                self.postgres.kill();
                self.restart_redis(|_, _| {});
                self.restart_postgres();
            }
            Act::Signal(Which::Redis, name) => signal(self.primary().pid(), name),
            Act::Signal(Which::Postgres, name) => {
                // Its children do the work.
                for pid in std::iter::once(self.postgres.pid()).chain(children(self.postgres.pid())) {
                    signal(pid, name);
                }
            }
            Act::StartReplica => {
                let other = 1 - self.primary;
                let _ = fs::remove_dir_all(self.folders[other].path().join("redis"));
                self.redis[other] = Some(self.start_redis(other));
            }
            Act::PromoteReplica => {
                if let Some(mut old) = self.redis[self.primary].take() {
                    old.kill();
                }
                self.primary = 1 - self.primary;
            }
        }
    }

    fn primary(&mut self) -> &mut Server {
        self.redis[self.primary].as_mut().unwrap()
    }

    fn data(&self) -> PathBuf {
        self.folders[self.primary].path().join("redis")
    }

    fn start_redis(&self, which: usize) -> Server {
        self.folders[which].start_redis(&self.programs, self.ports[which]).unwrap()
    }

    fn restart_redis(&mut self, between: impl Fn(&Path, &Path)) {
        self.primary().kill();
        between(&self.data(), &self.copy);
        self.redis[self.primary] = Some(self.start_redis(self.primary));
    }

    fn restart_postgres(&mut self) {
        self.postgres.kill();
        self.postgres =
            self.folders[0].start_postgres(&self.programs, Durability::Unsynced, self.postgres_port).unwrap();
    }

    fn copy_redis(&self) {
        let _ = fs::remove_dir_all(&self.copy);
        copy_folder(&self.data(), &self.copy);
    }
}

fn children(of: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            // Files come and go while Redis works.
            let _ = fs::copy(entry.path(), target);
        }
    }
}
