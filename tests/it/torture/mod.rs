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
use tokio::task::JoinHandle;

use crate::harness::{Client, Program, User, at_once, free_port, setting};
use faults::{ALL, Fault};
use load::{Cast, Target};
use proxy::Proxy;
use servers::{Act, Servers, Which};

const SECRET: &str = "a-secret-for-torture-and-nothing-else";
const INSTANCES: usize = 2;
const CHARGERS: usize = 200;
/// Buyers, and more for each fault; each buys once.
const BUYERS: usize = 500;
const BUYERS_A_FAULT: usize = 40;
const NEWCOMERS: usize = 2_000;
const VISITORS: usize = 400;
/// Whose charges show that every shard takes writes again.
const PROBES: usize = 12;
const CONCERTS: usize = 4;
/// Operations begun a second; a purchase is several requests.
const RATE: u32 = 450;
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

    /// The end of an instance's log.
    fn last_words(&self, at: usize) -> String {
        let log = std::fs::read_to_string(self.log(at)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().filter(|line| !line.contains("v1/users")).take(12).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
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

    /// Makes users, lets buyers in, starts the load; gives users whom nobody else uses.
    async fn load(
        &self,
        target: &Arc<Target>,
        concerts: &[String],
        buyers: usize,
    ) -> (Vec<User>, JoinHandle<()>) {
        let mut users = self.users(CHARGERS + PROBES + VISITORS + buyers + NEWCOMERS).await;
        let visitors = users.split_off(users.len() - VISITORS);
        let chargers = users.split_off(users.len() - CHARGERS);
        let probes = users.split_off(users.len() - PROBES);
        let newcomers = users.split_off(buyers);
        let cast =
            Cast { chargers, newcomers, visitors, buyers: load::let_in(target, users, concerts).await };
        let running = load::run(target.clone(), cast, concerts.to_vec(), RATE);
        (probes, tokio::spawn(running))
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
async fn torture(seed: u64, kinds: &[Fault], count: usize, sabotage: Option<&'static str>) -> Report {
    let mut torture = Torture::start(seed, sabotage).await;
    let pool = PgPool::connect_lazy(&torture.servers.postgres_url).unwrap();
    let concerts = torture.concerts(&pool).await;
    let target = Target::new(torture.urls());
    let (probes, load) = torture.load(&target, &concerts, BUYERS + BUYERS_A_FAULT * count).await;
    let (mut wrong, mut met, mut slowest) = (Vec::new(), BTreeMap::new(), Duration::ZERO);
    let mut order = Vec::new();
    for _ in 0..count {
        if order.is_empty() {
            order = kinds.to_vec();
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
    target.stopped_at.set(Instant::now()).unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_lose_nothing_and_double_nothing() {
    let (seed, count) = (setting("TORTURE_SEED", 1), setting("TORTURE_FAULTS", 16));
    println!("seed {seed}, {count} faults");
    let started = Instant::now();
    let report = torture(seed, ALL, count as usize, None).await;
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

/// Leases only save work: every instance writes and keeps every shard, and nothing goes wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_leases_two_writers_of_every_shard_do_no_harm() {
    let report = torture(setting("TORTURE_SEED", 1), ALL, 8, Some("leases")).await;
    assert!(report.wrong.is_empty(), "{}", report.wrong.join("\n"));
}

/// Answers that do not wait for Postgres are lost with Redis, and the check says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_without_waiting_for_postgres_what_was_acknowledged_is_lost() {
    let losses = [Fault::RedisFlushed, Fault::RedisCameBackEmpty];
    let report = torture(setting("TORTURE_SEED", 1), &losses, 10, Some("acks")).await;
    assert!(!report.wrong.is_empty(), "ten losses took nothing that was acknowledged");
}

/// A Redis that came back older takes joins until it is noticed, and gives numbers out twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_without_knowing_which_redis_answers_places_are_lost() {
    let report = torture(setting("TORTURE_SEED", 1), &[Fault::RedisCameBackOlder], 10, Some("runs")).await;
    assert!(!report.wrong.is_empty(), "ten older Redis did no harm");
}

/// Resident memory of a process, in MiB.
fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
}

/// `TORTURE_AWAY_SECONDS` without Postgres, under load: durable writes are refused honestly, polls go on,
/// memory stays bounded, and all drains afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgres_for_long_memory_is_bounded_and_polls_go_on() {
    let away = Duration::from_secs(setting("TORTURE_AWAY_SECONDS", 10));
    let mut torture = Torture::start(1, None).await;
    let pool = PgPool::connect_lazy(&torture.servers.postgres_url).unwrap();
    let concerts = torture.concerts(&pool).await;
    let client = Client::new(&torture.urls()[0]);
    let target = Target::new(torture.urls());
    let (probes, load) = torture.load(&target, &concerts, BUYERS).await;
    let ticket = client.join(&probes[0], &concerts[0]).await.text_of("token");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pids: Vec<u32> = torture.instances.iter().map(Program::pid).collect();
    let before: Vec<u64> = pids.iter().map(|pid| resident_mib(*pid)).collect();
    torture.servers.perform(Act::Signal(Which::Postgres, "STOP")).await;
    let (started, mut polls) = (Instant::now(), 0);
    while started.elapsed() < away {
        // A place that was let in and is polled stays: 200 each time.
        let polled = client.try_poll(&concerts[0], &ticket).await.expect("polls are answered");
        assert_eq!(polled.0, 200, "{:?}: {} {}", started.elapsed(), polled.1, torture.last_words(0));
        polls += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let after: Vec<u64> = pids.iter().map(|pid| resident_mib(*pid)).collect();
    torture.servers.perform(Act::Signal(Which::Postgres, "CONT")).await;
    assert!(torture.back().await.is_some(), "the service is back");
    target.stopped_at.set(Instant::now()).unwrap();
    load.await.unwrap();
    let wrong = end(&torture, &target, &pool).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!(
        "{polls} polls in {} s without Postgres; MiB before {before:?}, after {after:?}",
        away.as_secs()
    );
    let grown = before.iter().zip(&after).map(|(before, after)| after.saturating_sub(*before)).max().unwrap();
    assert!(grown < 200, "an instance has grown by {grown} MiB");
}
