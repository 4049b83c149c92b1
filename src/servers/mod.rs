//! Redis and Postgres as children: for the demo, for the tests, for trying things out.
//!
//! What must always hold: they listen on loopback only; they die with the process that started them, however
//! it dies; what was in their folder is there at the next start. A Postgres that was killed together with its
//! parent needs a moment until its own children are gone, so starting is tried again for a while.

mod cluster;

pub use cluster::{RedisCluster, command as redis_command};

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How long a server may take to come up.
const START_MAX: Duration = Duration::from_secs(60);
/// How long it may take to go down before it is killed.
const STOP_MAX: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// How durable the children are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Postgres syncs every commit.
    Synced,
    /// It leaves that to the kernel: a killed process loses nothing, a machine that loses power does. For
    /// tests.
    Unsynced,
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    redis: PathBuf,
    postgres: PathBuf,
    initdb: PathBuf,
}

impl Programs {
    /// Looks on PATH and where Debian keeps Postgres; the error says what to install.
    pub fn find() -> anyhow::Result<Self> {
        let redis = on_path("redis-server");
        let postgres = on_path("postgres").or_else(|| in_debian("postgres"));
        let initdb = on_path("initdb").or_else(|| in_debian("initdb"));
        let mut missing = Vec::new();
        if redis.is_none() {
            missing.push("redis-server");
        }
        if postgres.is_none() || initdb.is_none() {
            missing.push("postgresql");
        }
        match (redis, postgres, initdb) {
            (Some(redis), Some(postgres), Some(initdb)) => Ok(Self { redis, postgres, initdb }),
            _ => bail!(
                "{} not found; install with: sudo apt-get install -y {}",
                missing.join(" and "),
                missing.join(" ")
            ),
        }
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The newest of `/usr/lib/postgresql/*/bin`.
fn in_debian(program: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        versions.map(|version| version.join("bin").join(program)).filter(|file| file.is_file()).collect();
    found.sort();
    found.pop()
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    /// `redis` or `postgres`.
    pub name: &'static str,
    /// Where clients connect.
    pub url: String,
    child: Child,
    stop_signal: &'static str,
}

impl Server {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it cleanly, or hard when that takes too long.
    pub fn stop(&mut self) {
        if !self.is_running() {
            return;
        }
        signal(self.child.id(), self.stop_signal);
        let until = Instant::now() + STOP_MAX;
        while self.is_running() && Instant::now() < until {
            std::thread::sleep(PAUSE);
        }
        if self.is_running() {
            self.kill();
        }
    }

    /// Ends it hard.
    pub fn kill(&mut self) {
        // It may have ended by itself; either way it is gone after the wait.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends a signal by the shell's own means: no unsafe code of ours.
pub fn signal(pid: u32, signal: &str) {
    let sent =
        Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).stderr(Stdio::null()).status();
    if let Err(error) = sent {
        tracing::warn!(pid, signal, %error, "sending a signal");
    }
}

/// A folder that one process at a time works in.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: fs::File,
}

impl Folder {
    /// Makes and locks the folder; an error when another process has it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let path = path.canonicalize()?;
        let lock = fs::File::create(path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => bail!("{} is in use by another process", path.display()),
            Err(fs::TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts Redis on a loopback port, on the folder's data: appended to a file, synced once a second,
    /// nothing ever evicted.
    pub fn start_redis(&self, programs: &Programs, port: u16) -> anyhow::Result<Server> {
        self.start_redis_as(programs, "redis", port, &[])
    }

    /// The same, with its data in a part of the folder, and with more settings.
    pub fn start_redis_as(
        &self,
        programs: &Programs,
        part: &str,
        port: u16,
        settings: &[&str],
    ) -> anyhow::Result<Server> {
        let folder = self.path.join(part);
        fs::create_dir_all(&folder)?;
        let mut command = dying_with_us(&programs.redis, None);
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"]).arg(&folder);
        // A rewrite takes a core for a second, twice that where it compresses; from 64 MB on, under load,
        // there would always be one.
        command.args(["--appendonly", "yes", "--appendfsync", "everysec"]);
        command.args(["--auto-aof-rewrite-min-size", "256mb", "--rdbcompression", "no"]);
        command.args(["--maxmemory-policy", "noeviction", "--save", "", "--daemonize", "no", "--logfile"]);
        command.arg(folder.join("redis.log")).args(settings);
        let child = command.spawn().context("cannot start redis-server")?;
        let url = format!("redis://127.0.0.1:{port}");
        let mut server = Server { name: "redis", url, child, stop_signal: "TERM" };
        wait_for(&mut server, &folder.join("redis.log"), || answers_ping(port))?;
        Ok(server)
    }

    /// Starts Postgres on a loopback port, on the folder's data, which is made at the first start.
    pub fn start_postgres(
        &self,
        programs: &Programs,
        durability: Durability,
        port: u16,
    ) -> anyhow::Result<Server> {
        let folder = self.path.join("postgres");
        let user = server_user()?;
        if !folder.join("PG_VERSION").exists() {
            make_cluster(programs, &folder, user.as_ref())?;
        }
        let log = self.path.join("postgres.log");
        let until = Instant::now() + START_MAX;
        loop {
            let mut server =
                self.spawn_postgres(programs, durability, port, (&folder, &log), user.as_ref())?;
            match wait_for(&mut server, &log, || accepts_sessions(port)) {
                Ok(()) => return Ok(server),
                // The children of a killed predecessor still hold its shared memory.
                Err(_) if Instant::now() < until && !server.is_running() => std::thread::sleep(PAUSE * 10),
                Err(error) => return Err(error),
            }
        }
    }

    fn spawn_postgres(
        &self,
        programs: &Programs,
        durability: Durability,
        port: u16,
        (folder, log): (&Path, &Path),
        user: Option<&ServerUser>,
    ) -> anyhow::Result<Server> {
        let mut command = dying_with_us(&programs.postgres, user);
        command.arg("-D").arg(folder).args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k", ""]);
        for setting in
            ["max_connections=200", "shared_buffers=256MB", "max_wal_size=2GB", "log_min_messages=warning"]
        {
            command.args(["-c", setting]);
        }
        if durability == Durability::Unsynced {
            command.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
        }
        let log = fs::File::create(log)?;
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("cannot start postgres")?;
        let url = format!("postgres://onrush@127.0.0.1:{port}/postgres");
        Ok(Server { name: "postgres", url, child, stop_signal: "INT" })
    }
}

/// Who runs Postgres when we are root.
#[derive(Debug)]
struct ServerUser {
    name: &'static str,
    /// Its group, so that a folder that the group root may not enter is no special case.
    group: String,
}

/// Postgres refuses root: as root it runs as `postgres`, or `nobody` where that does not exist.
fn server_user() -> anyhow::Result<Option<ServerUser>> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    if ids.split_whitespace().nth(1) != Some("0") {
        return Ok(None);
    }
    let known = fs::read_to_string("/etc/passwd")?;
    let group_of = |user: &str| {
        let mut fields =
            known.lines().map(|line| line.split(':')).find(|line| line.clone().next() == Some(user))?;
        fields.nth(3).map(str::to_owned)
    };
    let user =
        ["postgres", "nobody"].into_iter().find_map(|name| Some(ServerUser { name, group: group_of(name)? }));
    user.map(Some).context("neither postgres nor nobody is in /etc/passwd")
}

fn make_cluster(programs: &Programs, folder: &Path, user: Option<&ServerUser>) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    if let Some(user) = user {
        // It must reach its folder through all that lie above: pass through them, not read them.
        for above in folder.ancestors().skip(1) {
            let mode = fs::metadata(above)?.permissions().mode();
            if mode & 0o001 == 0 {
                let folder = above.display();
                tracing::warn!(%folder, user = user.name, "chmod o+x, or Postgres cannot pass");
                fs::set_permissions(above, fs::Permissions::from_mode(mode | 0o001))?;
            }
        }
        run(Command::new("chown").arg("-R").arg(user.name).arg(folder))?;
    }
    let mut command = dying_with_us(&programs.initdb, user);
    command
        .args(["-A", "trust", "-U", "onrush", "--locale=C.UTF-8", "-E", "UTF8", "--no-sync", "-D"])
        .arg(folder);
    run(&mut command)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// A command that the kernel kills when the thread that starts it dies, in its own process group, so that a
/// terminal's Ctrl-C reaches us first.
fn dying_with_us(program: &Path, user: Option<&ServerUser>) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(user) = user {
        command.args(["--reuid", user.name, "--regid", &user.group, "--clear-groups"]);
    }
    command
        .arg("--")
        .arg(program)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn wait_for(server: &mut Server, log: &Path, ready: impl Fn() -> bool) -> anyhow::Result<()> {
    let until = Instant::now() + START_MAX;
    while !ready() {
        if !server.is_running() || Instant::now() > until {
            let log = fs::read_to_string(log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(5).collect();
            bail!(
                "{} did not start: {}",
                server.name,
                tail.into_iter().rev().collect::<Vec<_>>().join(" / ")
            );
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = TcpStream::connect_timeout(&address, Duration::from_millis(200))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    Ok(stream)
}

/// Redis has read its file and answers.
fn answers_ping(port: u16) -> bool {
    use std::io::Write;
    let ping = || -> std::io::Result<bool> {
        let mut stream = connect(port)?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"+PONG")
    };
    ping().unwrap_or(false)
}

/// Postgres has recovered: a session begins. While it starts up it answers with an error instead.
fn accepts_sessions(port: u16) -> bool {
    use std::io::Write;
    let hello = || -> std::io::Result<bool> {
        let mut stream = connect(port)?;
        let mut body = 196_608u32.to_be_bytes().to_vec();
        body.extend_from_slice(b"user\0onrush\0database\0postgres\0\0");
        stream.write_all(&((body.len() + 4) as u32).to_be_bytes())?;
        stream.write_all(&body)?;
        let mut kind = [0; 1];
        stream.read_exact(&mut kind)?;
        Ok(kind == *b"R")
    };
    hello().unwrap_or(false)
}

/// A port that nobody listens on now.
pub fn free_port() -> anyhow::Result<u16> {
    match TcpListener::bind(("127.0.0.1", 0)) {
        Ok(listener) => Ok(listener.local_addr()?.port()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!("no free port on loopback"),
        Err(error) => Err(error.into()),
    }
}
