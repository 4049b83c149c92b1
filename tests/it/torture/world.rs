//! What is tortured: instances of the real program between an open-loop load and servers that fail.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::task::JoinHandle;

use super::cast::{self, Cast};
use super::load::{self, Target};
use super::proxy::Proxy;
use super::servers::{Kind, Servers};
use crate::harness::{Client, Program, User, event, eventually, free_port};

const SECRET: &str = "a-secret-for-torture-and-nothing-else";
const INSTANCES: usize = 2;
const CHARGERS: usize = 200;
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
    pub servers: Servers,
    /// Which of the two Redis is in use.
    pub primary: usize,
    /// A Redis that was killed and not started again.
    pub dead: Option<usize>,
    /// For each instance its way to Redis, then its way to Postgres.
    pub proxies: Vec<Proxy>,
    pub instances: Vec<Program>,
    ports: Vec<u16>,
    /// Defences that are taken out; empty for none.
    sabotage: &'static str,
    pub random: fastrand::Rng,
    pub folder: tempfile::TempDir,
}

impl Torture {
    pub async fn start(kind: Kind, seed: u64, sabotage: &'static str) -> Self {
        let folder = tempfile::Builder::new().prefix("onrush-torture-").tempdir_in("/tmp").unwrap();
        let servers = Servers::start(folder.path(), kind).await;
        let mut proxies = Vec::new();
        for _ in 0..INSTANCES {
            proxies.push(Proxy::start(servers.redis[0]).await);
            proxies.push(Proxy::start(servers.postgres).await);
        }
        let ports = (0..INSTANCES).map(|_| free_port()).collect();
        let random = fastrand::Rng::with_seed(seed);
        let mut torture = Self {
            servers,
            primary: 0,
            dead: None,
            proxies,
            instances: Vec::new(),
            ports,
            sabotage,
            random,
            folder,
        };
        assert!(torture.command(&["migrate"], 0).output().unwrap().status.success());
        for at in 0..INSTANCES {
            let program = torture.spawn(at);
            torture.instances.push(program);
        }
        assert!(torture.back().await.is_some(), "the instances start");
        torture
    }

    /// The Redis in use, where it is one.
    pub fn redis(&self) -> SocketAddr {
        self.servers.redis[self.primary]
    }

    /// Every Redis that runs.
    pub fn every_redis(&self) -> Vec<SocketAddr> {
        let nodes = self.servers.nodes.iter().enumerate().filter(|(at, _)| self.dead != Some(*at));
        let nodes: Vec<SocketAddr> = nodes.map(|(_, node)| *node).collect();
        if nodes.is_empty() { vec![self.redis()] } else { nodes }
    }

    /// The program, on the way of an instance.
    pub fn command(&self, args: &[&str], at: usize) -> std::process::Command {
        let mut command = Program::command(args);
        let postgres = self.servers.postgres_url.replace(
            &format!(":{}/", self.servers.postgres.port()),
            &format!(":{}/", self.proxies[2 * at + 1].port),
        );
        // A cluster and sentinels tell their clients other addresses than those of a proxy.
        let proxied = || format!("redis://127.0.0.1:{}", self.proxies[2 * at].port);
        let redis = self.servers.redis_url.clone().unwrap_or_else(proxied);
        command
            .env("ONRUSH_REDIS_URL", redis)
            .env("ONRUSH_DATABASE_URL", postgres)
            .env("ONRUSH_JWT_SECRET", SECRET)
            .env("ONRUSH_SHARDS", "4")
            .env("ONRUSH_LIMITS", "off")
            .env("ONRUSH_LOG", "info");
        if !self.sabotage.is_empty() {
            command.env("ONRUSH_WITHOUT", self.sabotage);
        }
        command
    }

    fn log(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("instance-{at}.log"))
    }

    /// All that instances have logged.
    pub fn logs(&self) -> String {
        (0..self.ports.len()).map(|at| std::fs::read_to_string(self.log(at)).unwrap_or_default()).collect()
    }

    fn spawn(&self, at: usize) -> Program {
        let mut command = self.command(&["serve"], at);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log(at)).unwrap();
        command
            .env("ONRUSH_LISTEN", format!("127.0.0.1:{}", self.ports[at]))
            .stdin(Stdio::null())
            .stderr(log);
        Program::spawn(command)
    }

    /// All instances start again with defences taken out.
    pub async fn restart_without(&mut self, sabotage: &'static str) {
        self.sabotage = sabotage;
        for at in 0..INSTANCES {
            self.restart_instance(at).await;
        }
    }

    pub async fn restart_instance(&mut self, at: usize) {
        self.instances.remove(at).kill();
        let program = self.spawn(at);
        self.instances.insert(at, program);
    }

    /// Waits until all instances are ready: how long that took.
    pub async fn back(&mut self) -> Option<Duration> {
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

    pub fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect()
    }

    /// Makes users, lets buyers in, starts the load; gives users whom nobody else uses.
    pub async fn load(
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
        let buyers = cast::let_in(target, users, concerts).await;
        let campaigns = self.listed("coupon-campaigns", "campaignId").await;
        let cast = Cast {
            chargers,
            newcomers,
            visitors,
            buyers,
            menus: self.listed("menus", "menuId").await,
            campaigns,
            rewards: self.rewards(&probes[0]).await,
        };
        let running = cast::run(target.clone(), cast, concerts.to_vec(), RATE);
        (probes, tokio::spawn(running))
    }

    /// Ids of a list: what is on the menu, campaigns.
    async fn listed(&self, what: &str, id: &str) -> Vec<String> {
        let told = Client::new(&self.urls()[0]).get(&format!("/v1/{what}")).await.expect(200);
        told.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one[id].as_str().unwrap().to_owned())
            .collect()
    }

    /// Events that are open, and what each gives out.
    async fn rewards(&self, user: &User) -> Vec<(String, String)> {
        let told = Client::new(&self.urls()[0]).get_as(user, "/v1/events/open").await.expect(200);
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let events = told.body["items"].as_array().unwrap().iter();
        events.map(|one| (text(&one["eventId"]), text(&one["rewards"][0]["rewardId"]))).collect()
    }

    pub async fn users(&self, count: usize) -> Vec<User> {
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

    pub async fn concerts(&self, pool: &PgPool) -> Vec<String> {
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
            client.menu(&operator, "torture", 1).await;
            // One that is soon sold out, and one that never is.
            for quantity in [100, 1_000_000] {
                client.campaign(&operator, quantity, serde_json::json!({"perUser": 100})).await;
            }
            for stock in [20, 1_000_000, 1_000_000, 1_000_000, 1_000_000] {
                for over in [serde_json::json!({}), serde_json::json!({"type": "ITEM", "amount": null})] {
                    let reward = client.reward(&operator, stock, over).await;
                    // Where nobody waits for Postgres, it may not know the reward yet.
                    eventually("the event is made", || async {
                        let made = client.post_as(&operator, "/v1/events", event(&reward)).await;
                        made.status == 201
                    })
                    .await;
                }
            }
        }
        concerts
    }
}
