//! Torture: real servers, real instances, an open-loop load over HTTP, faults by seed; then what clients were
//! told is compared with Postgres, Redis and the journal, exactly.
//!
//! What must always hold: nothing that was acknowledged is lost, nothing took effect twice, every operation
//! gets its final answer, and `onrush verify` agrees. `scripts/torture.sh` plays longer runs; the seed and
//! the totals are printed.

mod check;
mod faults;
mod load;
mod proxy;
mod servers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sqlx::PgPool;

use crate::harness::{Client, Program, User, at_once, free_port};
use faults::{ALL, Fault};
use load::Target;
use proxy::Proxy;
use servers::Servers;

const SECRET: &str = "a-secret-for-torture-and-nothing-else";
const INSTANCES: usize = 2;
/// Chargers and buyers at the start, and more for each fault; each buyer buys once.
const USERS: usize = 4_000;
const USERS_A_FAULT: usize = 100;
/// Whose charges show that every shard takes writes again.
const PROBES: usize = 12;
const CONCERTS: usize = 4;
/// Operations begun a second; a purchase is several requests.
const RATE: u32 = 350;
/// A service that is not back after this is a violation.
const BACK_MAX: Duration = Duration::from_secs(60);

/// Everything that is tortured.
pub struct Torture {
    servers: Servers,
    /// Which of the two Redis is in use.
    primary: usize,
    /// For each instance its way to Redis, then its way to Postgres.
    proxies: Vec<Proxy>,
    instances: Vec<Program>,
    ports: Vec<u16>,
    sabotage: Option<&'static str>,
    random: fastrand::Rng,
    folder: tempfile::TempDir,
}

/// What a run came to.
#[derive(Debug)]
struct Report {
    wrong: Vec<String>,
    requests: u64,
    unknown: u64,
    acknowledged: usize,
    rebuilds: i64,
    faults: BTreeMap<Fault, usize>,
    slowest_return: Duration,
}

impl Torture {
    async fn start(seed: u64, sabotage: Option<&'static str>) -> Self {
        let folder = tempfile::Builder::new().prefix("onrush-torture-").tempdir_in("/tmp").unwrap();
        let servers = Servers::start(folder.path()).await;
        let mut proxies = Vec::new();
        for _ in 0..INSTANCES {
            proxies.push(Proxy::start(servers.redis[0]).await);
            proxies.push(Proxy::start(servers.postgres).await);
        }
        let ports = (0..INSTANCES).map(|_| free_port()).collect();
        let random = fastrand::Rng::with_seed(seed);
        let mut torture =
            Self { servers, primary: 0, proxies, instances: Vec::new(), ports, sabotage, random, folder };
        assert!(torture.command(&["migrate"], 0).output().unwrap().status.success());
        for at in 0..INSTANCES {
            let program = torture.spawn(at);
            torture.instances.push(program);
        }
        assert!(torture.back().await.is_some(), "the instances start");
        torture
    }

    fn redis(&self) -> SocketAddr {
        self.servers.redis[self.primary]
    }

    /// The program, on the way of an instance.
    fn command(&self, args: &[&str], at: usize) -> std::process::Command {
        let mut command = Program::command(args);
        let postgres = self.servers.postgres_url.replace(
            &format!(":{}/", self.servers.postgres.port()),
            &format!(":{}/", self.proxies[2 * at + 1].port),
        );
        command
            .env("ONRUSH_REDIS_URL", format!("redis://127.0.0.1:{}", self.proxies[2 * at].port))
            .env("ONRUSH_DATABASE_URL", postgres)
            .env("ONRUSH_JWT_SECRET", SECRET)
            .env("ONRUSH_SHARDS", "4")
            .env("ONRUSH_LIMITS", "off")
            .env("ONRUSH_LOG", "info");
        command
    }

    fn log(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("instance-{at}.log"))
    }

    fn spawn(&self, at: usize) -> Program {
        let mut command = self.command(&["serve"], at);
        if let Some(defence) = self.sabotage {
            command.args(["--without", defence]);
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log(at)).unwrap();
        command
            .env("ONRUSH_LISTEN", format!("127.0.0.1:{}", self.ports[at]))
            .stdin(Stdio::null())
            .stderr(log);
        Program::spawn(command)
    }

    async fn restart_instance(&mut self, at: usize) {
        self.instances.remove(at).kill();
        let program = self.spawn(at);
        self.instances.insert(at, program);
    }

    /// Waits until all instances are ready: how long that took.
    async fn back(&mut self) -> Option<Duration> {
        let started = Instant::now();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(1)).build().unwrap();
        for at in 0..INSTANCES {
            let url = format!("http://127.0.0.1:{}/readyz", self.ports[at]);
            loop {
                if http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200) {
                    break;
                }
                if started.elapsed() > BACK_MAX {
                    return None;
                }
                // What could not start while a server was away is started again, as a supervisor would.
                if self.instances[at].has_ended() {
                    self.restart_instance(at).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Some(started.elapsed())
    }

    fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect()
    }

    async fn users(&self, count: usize) -> Vec<User> {
        let (points, count) = (load::POINTS.to_string(), count.to_string());
        let made = self.command(&["load-users", "--count", &count, "--points", &points], 0).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let lines = String::from_utf8(made.stdout).unwrap();
        let user = |line: &str| {
            let (id, token) = line.split_once(',').unwrap();
            User { id: id.into(), token: token.into() }
        };
        lines.lines().skip(1).map(user).collect()
    }

    async fn concerts(&self, pool: &PgPool) -> Vec<String> {
        let client = Client::new(&self.urls()[0]);
        let mut command =
            self.command(&["admin", "create", "--email", "o@onrush.test", "--role", "OPERATOR"], 0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"a long password\n").unwrap();
        assert!(child.wait().unwrap().success());
        let body = serde_json::json!({"email": "o@onrush.test", "password": "a long password"});
        let session = client.send(client.request(reqwest::Method::POST, "/v1/auth/login").json(&body)).await;
        let id: String = sqlx::query_scalar("select user_id::text from users where email = 'o@onrush.test'")
            .fetch_one(pool)
            .await
            .unwrap();
        let operator = User { id, token: session.expect(200).text_of("accessToken") };
        let mut concerts = Vec::new();
        for _ in 0..CONCERTS {
            let over = serde_json::json!({
                "maxSeatsPerUser": 4, "holdSeconds": 7_200,
                "queue": {"admitPerSecond": 1_000, "maxActive": 100_000, "activeSeconds": 7_200},
            });
            concerts.push(client.concert(&operator, load::SEATS, load::PRICE, over).await);
        }
        concerts
    }
}

/// A run: so many faults, one after the other, under load.
async fn torture(seed: u64, count: usize, sabotage: Option<&'static str>) -> Report {
    let mut torture = Torture::start(seed, sabotage).await;
    let pool = PgPool::connect_lazy(&torture.servers.postgres_url).unwrap();
    let mut users = torture.users(USERS + USERS_A_FAULT * count).await;
    let (probes, concerts) = (users.split_off(users.len() - PROBES), torture.concerts(&pool).await);
    let target = Target::new(torture.urls());
    let load = tokio::spawn(load::run(target.clone(), users, concerts, RATE));
    let (mut wrong, mut met, mut slowest) = (Vec::new(), BTreeMap::new(), Duration::ZERO);
    let mut order = Vec::new();
    for _ in 0..count {
        if order.is_empty() {
            order = ALL.to_vec();
            torture.random.shuffle(&mut order);
        }
        let fault = order.pop().unwrap();
        *met.entry(fault).or_default() += 1;
        let ended = torture.inject(fault).await;
        if torture.back().await.is_none() {
            wrong.push(format!("not back after {fault:?}"));
            break;
        }
        // Ready is what an instance says; that every shard takes writes again is what counts.
        at_once(probes.clone().into_iter().map(|user| {
            let target = target.clone();
            async move { target.charge(&user, 1).await }
        }))
        .await;
        println!("{fault:?}: back after {:.2} s", ended.elapsed().as_secs_f64());
        slowest = slowest.max(ended.elapsed());
        tokio::time::sleep(Duration::from_millis(torture.random.u64(200..1_000))).await;
    }
    target.stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    wrong.extend(end(&torture, &target, &pool).await);
    let rebuilds = sqlx::query_scalar("select sum(epoch - 1)::bigint from journal_cursor");
    let history = &target.history;
    let acknowledged = history.done.lock().unwrap().iter().filter(|done| done.status < 300).count();
    let report = Report {
        wrong,
        requests: history.requests.load(Ordering::Relaxed),
        unknown: history.unknown.load(Ordering::Relaxed),
        acknowledged,
        rebuilds: rebuilds.fetch_one(&pool).await.unwrap(),
        faults: met,
        slowest_return: slowest,
    };
    if !report.wrong.is_empty() && sabotage.is_none() {
        let kept = torture.folder.keep();
        println!("logs and data are kept in {}", kept.display());
    }
    report
}

/// When all is over: recovery has ended, the books agree, the stories agree.
async fn end(torture: &Torture, target: &Arc<Target>, pool: &PgPool) -> Vec<String> {
    let mut wrong = std::mem::take(&mut *target.history.violations.lock().unwrap());
    let until = Instant::now() + Duration::from_secs(30);
    let pending = "select count(*) from transfers where state = 'PENDING'";
    while Instant::now() < until
        && sqlx::query_scalar::<_, i64>(pending).fetch_one(pool).await.unwrap_or(1) > 0
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let verified = torture.command(&["verify"], 0).output().unwrap();
    if !verified.status.success() {
        wrong.push(String::from_utf8_lossy(&[verified.stdout, verified.stderr].concat()).into_owned());
    }
    let done = target.history.done.lock().unwrap().clone();
    wrong.extend(check::check(pool, &done).await);
    wrong
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_lose_nothing_and_double_nothing() {
    let (seed, count) = (setting("TORTURE_SEED", 1), setting("TORTURE_FAULTS", 16));
    println!("seed {seed}, {count} faults");
    let started = Instant::now();
    let report = torture(seed, count as usize, None).await;
    let rate = report.requests as f64 / started.elapsed().as_secs_f64();
    println!(
        "{} faults {:?}: {} requests ({rate:.0} a second), {} acknowledged, {} without an answer at first, \
         {} rebuilds, slowest return {:.2} s",
        count,
        report.faults,
        report.requests,
        report.acknowledged,
        report.unknown,
        report.rebuilds,
        report.slowest_return.as_secs_f64()
    );
    assert!(
        report.wrong.is_empty(),
        "seed {seed}: {} wrong:\n{}",
        report.wrong.len(),
        report.wrong.join("\n")
    );
}
