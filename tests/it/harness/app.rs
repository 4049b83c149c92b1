//! An application of its own for a test: own prefix in Redis, own schema in Postgres, real HTTP.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use onrush::app::{self, App, AppState};
use onrush::clock::Clock;
use onrush::config::{Config, LimitSettings, Settings};
use onrush::sabotage::Sabotage;
use onrush::{Identity, Role, ids::UserId};
use sqlx::{Connection, Executor, PgConnection};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::client::{Client, User};
use super::{database_url_of, eventually, secrets, servers};

/// What a test asks for.
#[derive(Clone)]
pub struct Build {
    pub instances: usize,
    pub shards: u16,
    pub clock: Clock,
    pub sabotage: Sabotage,
    pub body_bytes_max: usize,
    pub ack_timeout_ms: u64,
    /// Rate limits; off unless given.
    pub limits: Option<LimitSettings>,
    /// A file that says who is told what.
    pub delivery: Option<PathBuf>,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            instances: 1,
            shards: 4,
            clock: Clock::System,
            sabotage: Sabotage::default(),
            body_bytes_max: 65_536,
            ack_timeout_ms: 10_000,
            limits: None,
            delivery: None,
        }
    }
}

impl Build {
    /// A clock that the test moves, and what it moves it with.
    pub fn with_test_clock(mut self, start_ms: i64) -> (Self, Arc<AtomicI64>) {
        let millis = Arc::new(AtomicI64::new(start_ms));
        self.clock = Clock::Test(millis.clone());
        (self, millis)
    }
}

/// One instance.
struct Instance {
    app: AppState,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

/// The application under test: one or several instances on the same servers.
pub struct TestApp {
    instances: Vec<Instance>,
    pub schema: String,
    pub config: Config,
    pub delivery: Option<PathBuf>,
}

/// Runs a test on one instance; then proves that Redis, Postgres and the books agree, and that the journal is
/// drained.
pub async fn with_app<Fut: Future<Output = ()>>(test: impl FnOnce(Arc<TestApp>) -> Fut) {
    with_apps(Build::default(), test).await;
}

/// The same for an application built to measure.
pub async fn with_apps<Fut: Future<Output = ()>>(build: Build, test: impl FnOnce(Arc<TestApp>) -> Fut) {
    let app = Arc::new(TestApp::start(build).await);
    test(app.clone()).await;
    let app = Arc::into_inner(app).expect("the test kept the application");
    app.finish().await;
}

impl TestApp {
    pub async fn start(build: Build) -> Self {
        secrets::listen();
        let schema = format!("t_{}", Uuid::new_v4().simple());
        migrate(&schema).await;
        let config = config(&build, &schema);
        let mut instances = Vec::new();
        for _ in 0..build.instances {
            instances.push(start_instance(config.clone()).await);
        }
        let app = Self { instances, schema, config, delivery: build.delivery };
        app.ready().await;
        app
    }

    /// Waits until so many instances write shards.
    pub async fn written_by(&self, writers: i64) {
        eventually("shards are shared out", || async {
            self.count("select count(distinct owner) from shard_leases").await == writers
        })
        .await;
    }

    /// Which instance writes a shard.
    pub async fn owner_of(&self, shard: i32) -> usize {
        let mut pg = PgConnection::connect(&database_url_of(&self.schema)).await.unwrap();
        let query = sqlx::query_scalar("select owner from shard_leases where shard = $1").bind(shard);
        let owner: Uuid = query.fetch_one(&mut pg).await.unwrap();
        self.instances.iter().position(|known| known.app.me.uuid() == owner).expect("an owner that is here")
    }

    /// Waits until every instance can serve.
    pub async fn ready(&self) {
        for (at, _) in self.instances.iter().enumerate() {
            let client = self.client_of(at);
            eventually("the instance is ready", || async { client.get("/readyz").await.status == 200 }).await;
        }
    }

    /// The instance's inside, for what no client can do.
    pub fn inside(&self, at: usize) -> &AppState {
        &self.instances[at].app
    }

    pub fn url(&self, at: usize) -> &str {
        &self.instances[at].url
    }

    /// A client of the first instance.
    pub fn client(&self) -> Client {
        self.client_of(0)
    }

    pub fn client_of(&self, at: usize) -> Client {
        Client::new(&self.instances[at].url)
    }

    /// Users with so many points.
    pub async fn users(&self, count: usize, points: i64) -> Vec<User> {
        let made = self.inside(0).load_users(count, points).await.expect("users are made");
        made.into_iter().map(|(id, token)| User { id: id.to_string(), token }).collect()
    }

    pub async fn user(&self, points: i64) -> User {
        self.users(1, points).await.remove(0)
    }

    /// An account with a role.
    pub async fn account(&self, role: Role) -> User {
        let id = UserId::mint();
        let word = format!("{role:?}").to_uppercase();
        sqlx::query("insert into users (user_id, email, name, role) values ($1, $2, 'x', $3)")
            .bind(id.uuid())
            .bind(format!("{id}@test.invalid"))
            .bind(word)
            .execute(&self.inside(0).pool)
            .await
            .expect("the account is made");
        let app = self.inside(0);
        let who = Identity { user: id, role, session: Uuid::nil() };
        let issued = app.tokens.issue(who, app.clock.now_ms(), chrono::Duration::days(30));
        User { id: id.to_string(), token: issued.expect("a token is signed").0 }
    }

    pub async fn operator(&self) -> User {
        self.account(Role::Operator).await
    }

    /// Moves the test's clock in steps, and does after each what the schedule does. After more than a minute
    /// a shard waits until its keeper has compared the clocks.
    pub async fn pass_time(&self, clock: &AtomicI64, total_ms: i64, step_ms: i64) {
        let mut left = total_ms;
        while left > 0 {
            clock.fetch_add(step_ms.min(left), Ordering::SeqCst);
            left -= step_ms;
            eventually("the schedule's step is done", || async { self.inside(0).tick().await.is_ok() }).await;
        }
    }

    /// What the journal says, in order, as (milliseconds, fact).
    pub async fn journal(&self) -> Vec<(i64, String)> {
        let mut pg = PgConnection::connect(&database_url_of(&self.schema)).await.unwrap();
        let rows: Vec<(chrono::DateTime<chrono::Utc>, String)> =
            sqlx::query_as("select at, facts from journal_entries order by shard, epoch, seq")
                .fetch_all(&mut pg)
                .await
                .unwrap();
        let lines = |(at, facts): (chrono::DateTime<chrono::Utc>, String)| {
            facts.lines().map(|line| (at.timestamp_millis(), line.to_owned())).collect::<Vec<_>>()
        };
        rows.into_iter().flat_map(lines).collect()
    }

    /// Carries to Redis who polled, as the schedule does four times a second.
    pub async fn carry_marks(&self) {
        self.inside(0).carry_marks().await.expect("marks are carried");
    }

    /// A key of a queue in the epoch that lives.
    pub fn key(&self, queue: &str, part: &str) -> String {
        self.inside(0).queue_key(queue.parse().unwrap(), part)
    }

    /// The stream of a shard's journal.
    pub fn journal_key(&self, shard: u16) -> String {
        self.inside(0).journal_key(shard)
    }

    /// What says which epoch of a shard lives.
    pub fn meta_key(&self, shard: u16) -> String {
        format!("{}:{{s{shard:02}}}:meta", self.config.prefix)
    }

    /// Sends a request and closes the connection before the answer.
    pub async fn cut_off(&self, path: &str, user: &User, token: &str, key: &str, body: serde_json::Value) {
        use tokio::io::AsyncWriteExt;
        let address = self.url(0).trim_start_matches("http://").to_owned();
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nQueue-Token: {token}\r\n\
             Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            user.token,
            body.len()
        );
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // The request must have been read before the connection goes.
        eventually("the payment began", || async { self.count("select count(*) from transfers").await > 0 })
            .await;
        drop(stream);
    }

    /// A statement in the test's schema.
    pub async fn sql(&self, statement: &'static str) {
        let mut pg = PgConnection::connect(&database_url_of(&self.schema)).await.unwrap();
        sqlx::query(statement).execute(&mut pg).await.unwrap();
    }

    /// One value from the test's schema.
    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.inside(0).pool).await.unwrap()
    }

    /// Waits until Postgres has all that Redis has.
    pub async fn settled(&self) {
        let differences = self.inside(0).verify().await;
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }

    /// The same data without an instance; another process may serve them.
    pub async fn stop_instances(mut self) -> Self {
        for instance in &mut self.instances {
            drop(instance.stop.take());
        }
        for instance in std::mem::take(&mut self.instances) {
            instance.serving.await.expect("the instance ended badly");
        }
        self
    }

    /// The next instance reads this file.
    pub fn with_delivery(mut self, file: Option<PathBuf>) -> Self {
        let build = Build { delivery: file.clone(), ..Build::default() };
        self.config.delivery = config(&build, &self.schema).delivery;
        Self { delivery: file, ..self }
    }

    /// One instance on data that had none.
    pub async fn start_instances(self) -> Self {
        let app = self.start_unready().await;
        app.ready().await;
        app
    }

    /// The same, where it cannot serve yet.
    pub async fn start_unready(mut self) -> Self {
        self.instances.push(start_instance(self.config.clone()).await);
        self
    }

    /// Proves that all agrees, ends every instance, and looks for what was left behind.
    pub async fn finish(self) {
        let differences = self.instances[0].app.verify().await;
        assert!(differences.is_empty(), "Redis, Postgres and the books differ:\n{}", differences.join("\n"));
        self.stop_instances().await.assert_drained().await;
        secrets::assert_none_logged();
    }

    /// Nothing of any journal was left behind, and nothing was quarantined.
    async fn assert_drained(&self) {
        let mut pg = PgConnection::connect(&database_url_of(&self.schema)).await.unwrap();
        let refused: i64 =
            sqlx::query_scalar("select count(*) from quarantine").fetch_one(&mut pg).await.unwrap();
        assert_eq!(refused, 0, "postgres refused entries of the journal");
    }
}

async fn start_instance(config: Config) -> Instance {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = App::connect(config).await.expect("the application starts");
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(app::serve(app.clone(), listener, async {
        drop(stopped.await);
    }));
    Instance { app, url, stop: Some(stop), serving }
}

async fn migrate(schema: &str) {
    let mut pg = PgConnection::connect(&servers().database_url).await.expect("postgres is there");
    pg.execute(sqlx::AssertSqlSafe(format!("create schema {schema}"))).await.unwrap();
    pg.close().await.unwrap();
    let mut migrator = sqlx::migrate!("./migrations");
    // Each test has a schema to itself; the lock is the whole database's and would make them wait for each
    // other.
    migrator.set_locking(false);
    let mut pg = PgConnection::connect(&database_url_of(schema)).await.unwrap();
    migrator.run(&mut pg).await.expect("the schema is made");
    pg.close().await.unwrap();
}

fn config(build: &Build, schema: &str) -> Config {
    use clap::Parser;
    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }
    let defaults = Cli::parse_from(["test"]).settings;
    let off = LimitSettings { limits: "off".into(), passwords_waiting_max: 64, ..defaults.limits.clone() };
    // A test's clock runs a hundred times as fast as Postgres commits.
    let slowly = matches!(build.clock, Clock::Test(_)).then_some(3_600_000);
    let limits =
        LimitSettings { body_bytes_max: build.body_bytes_max, ..build.limits.clone().unwrap_or(off) };
    let settings = Settings {
        busy_after_ms: slowly.unwrap_or(defaults.busy_after_ms),
        join_busy_after_ms: slowly.unwrap_or(defaults.join_busy_after_ms),
        listen: "127.0.0.1:0".into(),
        redis_url: servers().redis_url.clone(),
        database_url: database_url_of(schema),
        jwt_secret: "tests sign with this and nobody else does".into(),
        shards: Some(build.shards),
        prefix: schema.replace('_', "-"),
        bcrypt_cost: 4,
        database_connections: 8,
        ack_timeout_ms: build.ack_timeout_ms,
        limits,
        delivery: build.delivery.clone(),
        ..defaults
    };
    Config {
        clock: build.clock.clone(),
        sabotage: build.sabotage.clone(),
        drain: Duration::from_secs(5),
        ..settings.check().expect("the test's settings are good")
    }
}
