//! The servers under torture, started and ended by one thread, since they die with the thread that started
//! them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use onrush::servers::{Durability, Folder, Programs, RedisCluster, Server, free_port, redis_command, signal};
use tokio::sync::oneshot;

/// What Redis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One server, reached through proxies.
    One,
    /// A server, its replica, and a sentinel that makes the one follow the other.
    Sentinel,
    /// Three masters and a replica of each.
    Cluster,
}

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
    /// One of a cluster's nodes is ended.
    KillNode(usize),
    /// It comes back with what it had, and follows whoever took its place.
    RestartNode(usize),
    /// One of a cluster's nodes hangs, or goes on.
    SignalNode(usize, &'static str),
    /// The first hangs; the second, whatever it has, takes its place.
    HangAndPromote,
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
    /// Nodes of the cluster: masters at first, then their replicas.
    pub nodes: Vec<SocketAddr>,
    /// Where instances connect, if not to a proxy.
    pub redis_url: Option<String>,
}

struct State {
    folders: [Folder; 2],
    programs: Programs,
    ports: [u16; 2],
    postgres_port: u16,
    redis: [Option<Server>; 2],
    cluster: Option<RedisCluster>,
    /// Kept alive.
    _sentinel: Option<Server>,
    postgres: Server,
    /// Which of the two Redis is the one in use.
    primary: usize,
    copy: PathBuf,
}

impl Servers {
    pub async fn start(folder: &Path, kind: Kind) -> Self {
        let (ask, asked) = mpsc::channel::<Ask>();
        let (tell, told) = oneshot::channel();
        let folder = folder.to_owned();
        std::thread::spawn(move || {
            let (mut state, redis_url) = State::start(&folder, kind);
            let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
            let nodes = state.cluster.iter().flat_map(|cluster| &cluster.nodes);
            let servers = Self {
                ask,
                postgres: at(state.postgres_port),
                postgres_url: state.postgres.url.clone(),
                redis: state.ports.map(at),
                nodes: nodes.map(|node| at(node.port)).collect(),
                redis_url,
            };
            let _ = tell.send(servers);
            for (act, done) in asked {
                state.perform(act);
                let _ = done.send(());
            }
        });
        told.await.unwrap()
    }

    /// Does it and waits until it is done.
    pub async fn perform(&self, act: Act) {
        let (done, is_done) = oneshot::channel();
        self.ask.send((act, done)).unwrap();
        is_done.await.unwrap();
    }
}

impl State {
    /// All servers, and where instances connect, if not to a proxy.
    fn start(folder: &Path, kind: Kind) -> (Self, Option<String>) {
        let (ports, postgres_port) = ([free_port().unwrap(), free_port().unwrap()], free_port().unwrap());
        let programs = Programs::find().unwrap();
        let folders = ["a", "b"].map(|part| Folder::open(&folder.join(part)).unwrap());
        let start = |at: usize| folders[at].start_redis(&programs, ports[at]).unwrap();
        let (mut redis, mut cluster, mut sentinel) = ([None, None], None, None);
        match kind {
            Kind::One => redis[0] = Some(start(0)),
            Kind::Sentinel => {
                redis = [Some(start(0)), Some(start(1))];
                follow(ports[1], ports[0]);
                let port = free_port().unwrap();
                sentinel = Some(folders[0].start_sentinel(&programs, port, "onrush", ports[0]).unwrap());
            }
            Kind::Cluster => {
                cluster = Some(RedisCluster::start(&folders[0], &programs, 3, true).unwrap());
            }
        }
        let sentinel_url = |sentinel: &Server| {
            sentinel.url.replace("redis:", "redis-sentinel:") + "?sentinelServiceName=onrush"
        };
        let url = cluster.as_ref().map(|cluster| cluster.url.clone());
        let url = url.or_else(|| sentinel.as_ref().map(sentinel_url));
        let postgres = folders[0].start_postgres(&programs, Durability::Unsynced, postgres_port).unwrap();
        let copy = folder.join("copy");
        let state = Self {
            folders,
            programs,
            ports,
            postgres_port,
            redis,
            cluster,
            _sentinel: sentinel,
            postgres,
            primary: 0,
            copy,
        };
        state.copy_redis();
        (state, url)
    }

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
                // One that hangs would not hear that it is to end.
                if let Some(mut old) = self.redis[other].take() {
                    old.kill();
                }
                let _ = fs::remove_dir_all(self.folders[other].path().join("redis"));
                self.redis[other] = Some(self.start_redis(other));
            }
            Act::KillNode(at) => self.cluster.as_mut().unwrap().kill(at),
            Act::SignalNode(at, name) => self.cluster.as_mut().unwrap().signal(at, name),
            Act::HangAndPromote => {
                signal(self.primary().pid(), "STOP");
                self.primary = 1 - self.primary;
            }
            Act::RestartNode(at) => {
                let cluster = self.cluster.as_mut().unwrap();
                cluster.restart(&self.folders[0], at).unwrap();
                cluster.wait_until_whole().unwrap();
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
        if self.redis[self.primary].is_none() {
            return;
        }
        let _ = fs::remove_dir_all(&self.copy);
        copy_folder(&self.data(), &self.copy);
    }
}

/// Makes one Redis the replica of another, and waits until it has all.
pub fn follow(replica: u16, master: u16) {
    redis_command(replica, &["REPLICAOF", "127.0.0.1", &master.to_string()]).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !redis_command(replica, &["INFO", "replication"]).unwrap().contains("master_link_status:up") {
        assert!(Instant::now() < until, "the replica never follows");
        std::thread::sleep(Duration::from_millis(50));
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
