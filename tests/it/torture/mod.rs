//! Torture: real servers, real instances, an open-loop load over HTTP, faults by seed; then what clients were
//! told is compared with Postgres, Redis and the journal, exactly.
//!
//! What must always hold: nothing that was acknowledged is lost, nothing took effect twice, every operation
//! gets its final answer, and `onrush verify` agrees. `scripts/torture.sh` plays longer runs; the seed and
//! the totals are printed.

mod cast;
mod check;
mod cluster;
mod faults;
mod load;
mod proxy;
mod servers;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sqlx::PgPool;

use crate::harness::{Client, Program, at_once, redis_at, setting};
use faults::{ALL, CLUSTER, Fault, SENTINEL};
use load::Target;
use servers::{Act, Kind, Which};
use world::Torture;

/// Buyers, and more for each fault; each buys once.
const BUYERS: usize = 500;
const BUYERS_A_FAULT: usize = 40;

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

/// A run: so many faults, one after the other, under load.
async fn torture(kind: Kind, seed: u64, kinds: &[Fault], count: usize, sabotage: &'static str) -> Report {
    let mut torture = Torture::start(kind, seed, sabotage).await;
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
    if !report.wrong.is_empty() && sabotage.is_empty() {
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
    let told = torture.logs().contains("eyJ");
    assert!(!told, "an access token was logged");
    let verified = torture.command(&["verify"], 0).output().unwrap();
    if !verified.status.success() {
        wrong.push(String::from_utf8_lossy(&[verified.stdout, verified.stderr].concat()).into_owned());
    }
    let done = target.history.done.lock().unwrap().clone();
    wrong.extend(check::check(pool, &done).await);
    let refused = refused_entries(pool).await;
    if refused > 0 {
        wrong.push(format!("postgres refused {refused} entries of the journal"));
    }
    wrong
}

async fn refused_entries(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from quarantine").fetch_one(pool).await.unwrap()
}

/// A run without sabotage: prints its totals, and fails where anything is wrong.
async fn nothing_goes_wrong(kind: Kind, kinds: &[Fault], count: usize) {
    let seed = setting("TORTURE_SEED", 1);
    println!("seed {seed}, {count} faults");
    let started = Instant::now();
    let report = torture(kind, seed, kinds, count, "").await;
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
    let wrong = report.wrong.join("\n");
    assert!(wrong.is_empty(), "seed {seed}: {} wrong:\n{wrong}", report.wrong.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_lose_nothing_and_double_nothing() {
    nothing_goes_wrong(Kind::One, ALL, setting("TORTURE_FAULTS", 16) as usize).await;
}

/// Masters that die and are followed by their replicas, slots that move, nodes that lose all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_a_cluster_lose_nothing_and_double_nothing() {
    nothing_goes_wrong(Kind::Cluster, CLUSTER, setting("TORTURE_CLUSTER_FAULTS", 6) as usize).await;
}

/// Sentinels that make the replica the master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_under_sentinels_lose_nothing_and_double_nothing() {
    nothing_goes_wrong(Kind::Sentinel, SENTINEL, setting("TORTURE_SENTINEL_FAULTS", 3) as usize).await;
}

/// Leases only save work: every instance writes and keeps every shard, and nothing goes wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_leases_two_writers_of_every_shard_do_no_harm() {
    let report = torture(Kind::One, setting("TORTURE_SEED", 1), ALL, 8, "leases,tick-leases").await;
    assert!(report.wrong.is_empty(), "{}", report.wrong.join("\n"));
}

/// Plays until something is wrong; fails where nothing is, or something else than what was expected.
async fn assert_caught(without: &'static str, faults: &[Fault], count: usize, signs: &[&str]) {
    let report = torture(Kind::One, setting("TORTURE_SEED", 1), faults, count, without).await;
    for wrong in report.wrong.iter().take(5) {
        println!("without {without}: {}", wrong.chars().take(300).collect::<String>());
    }
    let caught = |wrong: &String| signs.iter().any(|sign| wrong.contains(sign));
    assert!(report.wrong.iter().any(caught), "without {without}, {count} faults did no harm");
}

/// Answers that do not wait for Postgres are lost with Redis.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_without_waiting_for_postgres_what_was_acknowledged_is_lost() {
    let losses = [Fault::RedisFlushed, Fault::RedisCameBackEmpty];
    assert_caught("acks", &losses, 6, &["stands in the ledger as None", "is no reservation"]).await;
}

/// A Redis that came back older takes joins until it is noticed, and gives numbers out twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_without_knowing_which_redis_answers_places_are_lost() {
    assert_caught("runs", &[Fault::RedisCameBackOlder], 10, &["is gone", "a hold was refused"]).await;
}

/// A replica that lacks the last entries writes others in their place, and Postgres goes on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_without_the_chain_postgres_follows_another_history() {
    let signs = [" follows (", "is not legal there"];
    assert_caught("runs,chain", &[Fault::BrieflyLaggingReplicaPromoted], 10, &signs).await;
}

/// Two writers write the same entries, and Postgres has to refuse them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_without_compare_and_set_two_writers_meet_the_last_wall() {
    let mut torture = Torture::start(Kind::One, 1, "").await;
    let pool = PgPool::connect_lazy(&torture.servers.postgres_url).unwrap();
    let (users, target) = (torture.users(50).await, Target::new(torture.urls()));
    torture.restart_without("leases,tick-leases,compare-and-set").await;
    // Shards are rebuilt as fast as entries are refused, so not all get an answer.
    let mut charging = tokio::task::JoinSet::new();
    for user in users {
        let target = target.clone();
        charging.spawn(async move {
            loop {
                target.charge(&user, 1).await;
            }
        });
    }
    let until = Instant::now() + Duration::from_secs(45);
    while refused_entries(&pool).await == 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    charging.abort_all();
    assert!(refused_entries(&pool).await > 0, "two writers that never compare did no harm");
}

/// What old writers commit after the snapshot was taken is missing in Redis.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_without_the_fence_a_rebuild_misses_what_was_committed_meanwhile() {
    let signs = ["Postgres says", "is not legal there", "stands in the ledger", "postgres refused"];
    assert_caught("fence", &[Fault::RebuiltByHand], 10, &signs).await;
}

/// Points that go back by a time-out alone come back twice: the seats were sold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_without_the_decision_a_seat_is_sold_and_its_points_go_back() {
    let signs = ["its state is not what was decided", "not paid exactly once"];
    assert_caught("decision", &[Fault::SlowInstanceStopped], 4, &signs).await;
}

/// How long each poll took. A place that was let in and is polled stays: 200 each time.
async fn polls_within(client: &Client, concert: &str, ticket: &str, time: Duration) -> Vec<Duration> {
    let (started, mut took) = (Instant::now(), Vec::new());
    while started.elapsed() < time {
        let asked = Instant::now();
        let polled = client.try_poll(concert, ticket).await.expect("polls are answered");
        assert_eq!(polled.0, 200, "{:?}: {}", started.elapsed(), polled.1);
        took.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

/// Memory of each instance, then of Redis, in MiB.
async fn memory(torture: &Torture, pids: &[u32]) -> Vec<u64> {
    let info = redis_at(torture.redis(), &["INFO", "memory"]).await;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    let redis = used.trim().parse::<u64>().unwrap() / 1_048_576;
    pids.iter().map(|pid| resident_mib(*pid)).chain([redis]).collect()
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
    let mut torture = Torture::start(Kind::One, 1, "").await;
    let pool = PgPool::connect_lazy(&torture.servers.postgres_url).unwrap();
    let concerts = torture.concerts(&pool).await;
    let client = Client::new(&torture.urls()[0]);
    let target = Target::new(torture.urls());
    let (probes, load) = torture.load(&target, &concerts, BUYERS).await;
    let ticket = client.join(&probes[0], &concerts[0]).await.text_of("token");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pids: Vec<u32> = torture.instances.iter().map(Program::pid).collect();
    let before = memory(&torture, &pids).await;
    let at_home = polls_within(&client, &concerts[0], &ticket, Duration::from_secs(2)).await;
    torture.servers.perform(Act::Signal(Which::Postgres, "STOP")).await;
    let without = polls_within(&client, &concerts[0], &ticket, away).await;
    let after = memory(&torture, &pids).await;
    torture.servers.perform(Act::Signal(Which::Postgres, "CONT")).await;
    assert!(torture.back().await.is_some(), "the service is back");
    target.stopped_at.set(Instant::now()).unwrap();
    load.await.unwrap();
    let wrong = end(&torture, &target, &pool).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!(
        "{} polls in {} s without Postgres, p50 {:?} (before: {:?}); MiB of each instance and of Redis \
         before {before:?}, after {after:?}",
        without.len(),
        away.as_secs(),
        median(without),
        median(at_home)
    );
    let grown = before.iter().zip(&after).map(|(before, after)| after.saturating_sub(*before)).max().unwrap();
    assert!(grown < 200, "an instance or redis has grown by {grown} MiB");
}
