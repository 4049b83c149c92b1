//! The application: what an instance is made of, how it starts and how it ends.
//!
//! [`run`] is the only way to start; the command line and the tests use it alike.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::accounts::keys::SigningKeys;
use crate::accounts::passwords::Passwords;
use crate::accounts::sessions::Sessions;
use crate::accounts::tokens::Tokens;
use crate::clock::Clock;
use crate::concerts::catalog::Catalog;
use crate::config::Config;
use crate::coupons::codes::Codes;
use crate::coupons::latch::Latch;
use crate::coupons::life::{self, Life};
use crate::error::{Code, Error};
use crate::http::limits::Limits as RateLimits;
use crate::http::server;
use crate::http::shares::Shares;
use crate::ids::{InstanceId, QueueId, UserId};
use crate::journal::driven::Driven;
use crate::journal::table::cursor;
use crate::journal::{Journal, Limits, Shards};
use crate::menus::board::Board;
use crate::operations::model::Readiness;
use crate::operations::rotation::Rotation;
use crate::queue::door::Door;
use crate::queue::line::Lines;
use crate::queue::presence::Presence;
use crate::queue::ticket::Tickets;
use crate::ranking;
use crate::redis::{Redis, Scripts};
use crate::sabotage::Defence;
use crate::wallet::closing::Closing;
use crate::{database, delivery, metrics, router, schedule, scripts};

/// The application as handlers hold it.
pub type AppState = Arc<App>;

/// Writes that run at once. Those of clients that went away or gave up count too: a server that hangs must
/// not gather them up without end.
const TASKS_MAX: usize = 20_000;

/// Keys that are only signed with, each for one purpose.
pub struct Keys {
    /// Tags passwords of sign-ups that carry an idempotency key.
    pub signup: aws_lc_rs::hmac::Key,
    /// Signs refresh tokens.
    pub refresh: aws_lc_rs::hmac::Key,
}

/// One instance.
pub struct App {
    /// Settings.
    pub config: Config,
    /// This instance.
    pub me: InstanceId,
    /// Whose data these are.
    pub deployment: Uuid,
    /// The one way to write.
    pub journal: Arc<Journal>,
    /// Redis.
    pub redis: Arc<Redis>,
    /// Postgres, for reads and for what it decides itself.
    pub pool: PgPool,
    /// Time.
    pub clock: Clock,
    /// Keys by purpose.
    pub keys: Keys,
    /// Access tokens.
    pub tokens: Tokens,
    /// What changed about tokens that are out.
    pub sessions: Sessions,
    /// Queue tickets.
    pub tickets: Tickets,
    /// Passwords.
    pub passwords: Passwords,
    /// Concerts and shows, remembered.
    pub catalog: Catalog,
    /// Menus, remembered.
    pub board: Board,
    /// The last answer about what is ordered most.
    pub popular: ranking::ops::Kept,
    /// Hours that are taken out of the ranking.
    pub subtracted: ranking::tick::Subtracted,
    /// What coupons' codes are made with.
    pub codes: Arc<Codes>,
    /// Campaigns that are sold out.
    pub latch: Latch,
    /// Changes coupons.
    pub life: Life,
    /// A batch of coupons waits to be made.
    pub batch_begun: tokio::sync::Notify,
    /// Lines of people, to answer polls from.
    pub lines: Lines,
    /// Who polled.
    pub presence: Presence,
    /// Where people join queues.
    pub door: Door,
    /// Transfers that Redis is to forget.
    pub closing: Closing,
    /// Payments that run here.
    pub driven: Driven,
    /// Events and rewards that events give out change one at a time; who waits here holds no connection.
    pub texts: tokio::sync::Mutex<()>,
    /// What was found the last time that anyone asked whether this instance is ready.
    pub readiness: tokio::sync::Mutex<Option<(Instant, Readiness)>>,
    /// Event streams that are open.
    pub streams: Arc<Shares<UserId>>,
    /// How often clients asked.
    pub limits: RateLimits,
    /// Whether requests should come here.
    pub rotation: Rotation,
    /// The metrics' text.
    pub prometheus: PrometheusHandle,
    /// What runs on when a client goes away.
    pub tasks: TaskTracker,
    /// Serving ends.
    pub stop: CancellationToken,
}

impl App {
    /// Connects to the servers, and checks that they are those of this deployment.
    pub async fn connect(config: Config) -> anyhow::Result<Arc<Self>> {
        let pool = database::connect(&config).await?;
        let (deployment, shards) = cursor::ensure_deployment(&pool, config.shards).await?;
        if config.shards.is_some_and(|asked| asked != shards) {
            bail!(
                "this deployment has {shards} shards, chosen at its first start; ONRUSH_SHARDS cannot change that"
            );
        }
        let composed = Scripts::compose(&scripts(), &config.sabotage);
        let composed = Arc::new(composed.map_err(anyhow::Error::msg)?);
        let redis = Redis::connect(&config.redis_url, composed, config.sabotage.lacks(Defence::Runs)).await;
        let redis = Arc::new(redis.context("cannot connect to Redis (ONRUSH_REDIS_URL)")?);
        check_redis(&redis).await?;
        let tasks = TaskTracker::new();
        let shards = Arc::new(Shards::new(config.prefix.clone(), pool.clone(), shards));
        shards.observe(&redis);
        shards.refresh().await?;
        let me = InstanceId::mint();
        let limits = Limits {
            ack_timeout: config.ack_timeout,
            busy_after: config.busy_after,
            join_busy_after: config.join_busy_after,
            sabotage: config.sabotage.clone(),
        };
        let clock = config.clock.clone();
        let signing = SigningKeys::open(pool.clone(), &config.derive_bytes("signing keys")).await?;
        let sessions = Sessions::default();
        sessions.refresh(&pool, config.access_token).await?;
        if let Some(delivery) = &config.delivery {
            // Before anything is written: what is durable is told.
            delivery::table::register(&pool, &delivery.endpoints).await?;
        }
        let codes = Arc::new(Codes::open(&pool, &config.derive_bytes("coupon codes")).await?);
        let board = Board::default();
        board.refresh(&pool).await?;
        let known = (pool.clone(), database::look_ups(&config)?, codes.clone());
        let journal = Journal::new(redis.clone(), shards, known, me, clock.clone(), limits);
        if let Some(other) = journal.foreign(deployment).await? {
            bail!(
                "ONRUSH_REDIS_URL holds data of deployment {other}, ONRUSH_DATABASE_URL those of {deployment}; \
                 use the Redis that belongs to this database, an empty one, or another ONRUSH_PREFIX"
            );
        }
        let door = Door::open(&journal, config.join_busy_after);
        let life = life::start(pool.clone(), clock.clone(), me, config.ack_timeout);
        Ok(Arc::new(Self {
            me,
            deployment,
            journal,
            door,
            redis,
            pool,
            clock,
            keys: Keys { signup: config.derive_key("signup"), refresh: config.derive_key("refresh") },
            tokens: Tokens::new(signing),
            sessions,
            tickets: Tickets::new(config.derive_key("queue ticket")),
            passwords: Passwords::new(
                config.bcrypt_cost,
                config.limits.passwords_waiting_max,
                config.limits.rates.is_some(),
            )?,
            catalog: Catalog::default(),
            board,
            popular: ranking::ops::Kept::default(),
            subtracted: ranking::tick::Subtracted::default(),
            life,
            latch: Latch::default(),
            codes,
            batch_begun: tokio::sync::Notify::new(),
            lines: Lines::default(),
            presence: Presence::default(),
            closing: Closing::default(),
            driven: Driven::default(),
            texts: tokio::sync::Mutex::default(),
            readiness: tokio::sync::Mutex::default(),
            streams: Arc::default(),
            limits: RateLimits::new(config.limits.rates.as_ref()),
            rotation: Rotation::default(),
            prometheus: metrics::install(),
            tasks,
            stop: CancellationToken::new(),
            config,
        }))
    }

    /// Closes the connections to both servers.
    pub async fn close(&self) {
        self.redis.close().await;
        self.pool.close().await;
    }

    /// Compares Redis, Postgres and the books; a sentence for each difference.
    pub async fn verify(&self) -> Vec<String> {
        crate::journal::verify::verify(&self.journal, &self.pool).await
    }

    /// One step of what the schedule does in every shard: ends what is over, lets in whose turn it is.
    pub async fn tick(&self) -> Result<(), Error> {
        for shard in self.journal.shards.all() {
            schedule::due(self, shard).await?;
        }
        Ok(())
    }

    /// Carries to Redis who polled since the last time.
    pub async fn carry_marks(&self) -> Result<(), Error> {
        crate::queue::presence::carry_marks(self).await
    }

    /// Tells holders of coupons that expire soon, a page, as the schedule does; how many.
    pub async fn tell_of_expiring(&self) -> Result<usize, Error> {
        crate::coupons::reminders::tell_next(self).await
    }

    /// Forgets who asked for rewards on days that are over, as the schedule does: how many days.
    pub async fn forget_days(&self) -> Result<usize, Error> {
        let mut days = 0;
        for shard in self.journal.shards.all() {
            days += crate::rewards::recovery::forget(self, shard).await?;
        }
        Ok(days)
    }

    /// Unlinks what dead epochs have left in Redis, as the schedule does after rebuilds: how many keys.
    pub async fn unlink_dead(&self) -> Result<usize, Error> {
        crate::journal::dead::unlink(&self.journal).await
    }

    /// The key of a part of a queue, in the epoch that is known to live.
    pub fn queue_key(&self, queue: QueueId, part: &str) -> String {
        let space = self.journal.shards.known(self.journal.shards.of(queue.uuid())).0;
        space.key("queue", &[&queue, &part]).into_string()
    }

    /// The key of a shard's journal, in the epoch that is known to live.
    pub fn journal_key(&self, shard: u16) -> String {
        let space = self.journal.shards.known(crate::redis::Shard(shard)).0;
        crate::journal::store::journal(&space).into_string()
    }

    /// Makes users without a password, each with so many points; their tokens live for a day. For load tests.
    pub async fn load_users(
        self: &Arc<Self>,
        count: usize,
        points: i64,
    ) -> anyhow::Result<Vec<(UserId, String)>> {
        crate::cli::load_users::make(self, count, points).await
    }

    /// Runs a job that goes on when the client goes away, and answers for it while the client waits. A job
    /// that takes too long goes on as well; its outcome is then unknown.
    pub async fn run<T, F, Fut>(self: &Arc<Self>, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(AppState) -> Fut,
        Fut: Future<Output = Result<T, Error>> + Send + 'static,
    {
        if self.tasks.len() >= TASKS_MAX {
            return Err(Error::Unavailable(Code::Busy, "too many writes wait".into()));
        }
        let running = self.tasks.spawn(job(self.clone()));
        match tokio::time::timeout(self.config.ack_timeout * 2, running).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(panic)) => Err(Error::internal(format_args!("a task ended badly: {panic}"))),
            Err(_) => Err(Error::outcome_unknown("it takes too long")),
        }
    }
}

/// Refuses servers that are too old.
async fn check_redis(redis: &Redis) -> anyhow::Result<()> {
    for (address, server) in redis.identities().await? {
        let major: u32 = server.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        if major < 7 {
            bail!("Redis is {} ({address}), and 7.0 or newer is needed", server.version);
        }
        if server.eviction != "noeviction" {
            tracing::warn!(
                address,
                policy = server.eviction,
                "redis may drop keys: set maxmemory-policy noeviction"
            );
        }
    }
    Ok(())
}

/// Serves on `listener` until `shutdown`, then drains and ends. Returns an error only when it cannot start.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let app = App::connect(config).await?;
    serve(app, listener, shutdown).await;
    Ok(())
}

/// The same for an application that is connected.
pub async fn serve(app: AppState, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
    let background = schedule::Background::start(&app);
    let drain = app.config.drain;
    let stop = {
        let app = app.clone();
        async move {
            shutdown.await;
            tracing::info!("on the way out: not ready any more");
            app.rotation.drain();
            tokio::time::sleep(app.config.drain_delay).await;
            app.stop.cancel();
        }
    };
    server::serve(listener, router::router(app.clone()), &app.config.limits, stop, drain).await;
    app.tasks.close();
    if tokio::time::timeout(drain, app.tasks.wait()).await.is_err() {
        tracing::warn!(running = app.tasks.len(), "some writes did not end in time");
    }
    background.end(&app).await;
    app.close().await;
    tracing::info!("ended");
}
