//! All that an instance does by itself: leases, the writer, keepers, marks, recovery, the calendar.

pub mod calendar;

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, AppState};
use crate::database;
use crate::delivery::relay;
use crate::error::Error;
use crate::ids::InstanceId;
use crate::journal::keeper::Keeper;
use crate::journal::positions::Positions;
use crate::journal::table::cursor;
use crate::journal::writer::{Writer, ack_channel};
use crate::journal::{ack, lease};
use crate::redis::Shard;
use crate::sabotage::Defence;
use crate::{coupons, metrics, payments, queue, ranking, rewards, seats, wallet};

/// Pause between two times that what was gathered is carried to Redis: who polled, which transfers are over.
const CARRY_EVERY: Duration = Duration::from_millis(250);
/// Pause between two looks for payments that nobody drives.
const RECOVER_EVERY: Duration = Duration::from_secs(1);
/// Looks for requests that nobody drives between two looks for days that are over.
const FORGET_DAYS_ROUNDS: u64 = 30;
/// Pause between two looks whether a rebuild has left dead keys.
const UNLINK_EVERY: Duration = Duration::from_secs(10);
/// Pause between two looks at what other instances changed: sessions, keys, menus.
const CHANGES_EVERY: Duration = Duration::from_millis(400);
/// Pause between two times that buckets of clients are dropped when they are full.
const FORGET_CLIENTS_EVERY: Duration = Duration::from_secs(5);
/// Pause between two looks at who Redis is.
const IDENTITY_EVERY: Duration = Duration::from_secs(1);

/// What runs in the background.
pub struct Background {
    ticks: TaskTracker,
    stop_ticks: CancellationToken,
    writing: TaskTracker,
    stop_writing: CancellationToken,
    positions: Arc<Positions>,
    owned: lease::Owned,
}

impl Background {
    /// Starts it all.
    pub fn start(app: &AppState) -> Self {
        let (stop_ticks, stop_writing) = (CancellationToken::new(), CancellationToken::new());
        let (ticks, writing) = (TaskTracker::new(), TaskTracker::new());
        let (own, owned) = watch::channel(BTreeSet::new());
        let positions = Arc::new(Positions::default());
        if app.config.sabotage.lacks(Defence::Leases) {
            own.send_replace(app.journal.shards.all().collect());
        } else {
            writing.spawn(lease::keep(app.pool.clone(), app.me, own, stop_writing.clone()));
        }
        writing.spawn(write(app.clone(), owned.clone(), positions.clone(), stop_writing.clone()));
        if !app.config.sabotage.lacks(Defence::AckMessages) {
            ticks.spawn(until(stop_ticks.clone(), hear_acks(app.clone())));
        }
        ticks.spawn(until(stop_writing.clone(), app.journal.acks.clone().keep_asking(app.pool.clone())));
        ticks.spawn(until(stop_ticks.clone(), watch_servers(app.clone())));
        ticks.spawn(until(stop_ticks.clone(), watch_changes(app.clone())));
        ticks.spawn(until(stop_ticks.clone(), calendar::keep(app.clone())));
        ticks.spawn(until(stop_ticks.clone(), carry(app.clone())));
        ticks.spawn(until(stop_ticks.clone(), forget_clients(app.clone())));
        ticks.spawn(until(stop_ticks.clone(), unlink_dead(app.clone())));
        ticks.spawn(until(stop_ticks.clone(), coupons::batches::keep(app.clone())));
        ticks.spawn(until(stop_ticks.clone(), coupons::reminders::keep(app.clone())));
        ticks.spawn(until(stop_ticks.clone(), recover(app.clone(), owned.clone())));
        ticks.spawn(until(stop_ticks.clone(), recover_rewards(app.clone(), owned.clone())));
        if let Some(delivery) = &app.config.delivery {
            ticks.spawn(relay::keep(app.pool.clone(), delivery.clone(), stop_ticks.clone()));
        }
        for shard in app.journal.shards.all() {
            let keeping = keep(app.clone(), shard, owned.clone(), positions.clone());
            ticks.spawn(until(stop_ticks.clone(), keeping));
        }
        Self { ticks, stop_ticks, writing, stop_writing, positions, owned }
    }

    /// Starts it all when no instance is alive; else only what hears of acknowledgements. For commands that
    /// write.
    pub async fn start_if_alone(app: &AppState) -> Result<Self, Error> {
        if !crate::journal::table::lease::is_anybody_alive(&app.pool).await? {
            return Ok(Self::start(app));
        }
        let (stop_ticks, stop_writing) = (CancellationToken::new(), CancellationToken::new());
        let (ticks, writing) = (TaskTracker::new(), TaskTracker::new());
        ticks.spawn(until(stop_ticks.clone(), hear_acks(app.clone())));
        ticks.spawn(until(stop_writing.clone(), app.journal.acks.clone().keep_asking(app.pool.clone())));
        let (_, owned) = watch::channel(BTreeSet::new());
        Ok(Self { ticks, stop_ticks, writing, stop_writing, positions: Arc::default(), owned })
    }

    /// Ends it: what is soft is journaled, the journal is drained, leases are given back.
    pub async fn end(self, app: &AppState) {
        self.stop_ticks.cancel();
        if let Err(error) = wallet::closing::close_gathered(app).await {
            tracing::debug!(%error, "closing transfers; clean-up will");
        }
        let shards: Vec<Shard> = self.owned.borrow().iter().copied().collect();
        for shard in &shards {
            if let Err(error) = queue::tick::tick_shard(app, *shard).await {
                tracing::warn!(%shard, %error, "the last tick");
            }
        }
        if app.config.leaves_tidy {
            self.leave_tidy(app, &shards).await;
        }
        self.stop_writing.cancel();
        self.ticks.close();
        self.writing.close();
        let ended = async {
            self.writing.wait().await;
            self.ticks.wait().await;
        };
        if tokio::time::timeout(app.config.drain * 2, ended).await.is_err() {
            tracing::warn!("the background did not end in time");
        }
    }

    /// Fences each shard in Redis, waits until Postgres has all of it, and notes that nothing was lost.
    async fn leave_tidy(&self, app: &AppState, shards: &[Shard]) {
        for shard in shards {
            let Some(position) = self.positions.get(*shard) else { continue };
            if let Err(error) = self.tidy(app, *shard, position.cursor.epoch).await {
                tracing::warn!(%shard, %error, "not left tidy: the next start looks for what was lost");
            }
        }
    }

    async fn tidy(&self, app: &AppState, shard: Shard, epoch: u64) -> Result<(), Error> {
        use crate::journal::store;
        let meta = app.journal.shards.space(shard, epoch).meta();
        app.redis.run(store::Fence { meta, epoch }, Duration::from_secs(1)).await?;
        let space = app.journal.shards.space(shard, epoch);
        let last = app.journal.standing(&space, 0).await?.last;
        if !queue::tick::is_journaled(app, &space).await? {
            return Err(Error::unavailable("something soft is not journaled"));
        }
        for _ in 0..200 {
            if self.positions.get(shard).is_some_and(|p| p.cursor.epoch == epoch && p.cursor.seq == last) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut pg = app.pool.acquire().await?;
        let cursor = cursor::one(&mut pg, shard).await?;
        if cursor.epoch == epoch && cursor.seq == last && cursor::set_tidy(&mut pg, &cursor).await? {
            return Ok(());
        }
        Err(Error::unavailable("postgres lacks the end of the journal"))
    }
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

fn interval(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

async fn write(app: AppState, owned: lease::Owned, positions: Arc<Positions>, stop: CancellationToken) {
    match database::planned_once(&app.config) {
        Ok(options) => {
            Writer::new(app.journal.clone(), options, owned, positions).run(stop, app.config.drain).await;
        }
        Err(error) => tracing::error!(%error, "the writer cannot start"),
    }
}

/// Looks at one shard on every tick, and does what is due in it when this instance owns it.
async fn keep(app: AppState, shard: Shard, owned: lease::Owned, positions: Arc<Positions>) {
    let mut keeper = Keeper::new(app.journal.clone(), app.pool.clone(), positions, app.deployment, shard);
    let mut ticks = interval(app.config.tick);
    loop {
        ticks.tick().await;
        let owns = owned.borrow().contains(&shard);
        if !(owns || app.config.sabotage.lacks(Defence::TickLeases)) {
            app.journal.shards.set_lag(shard, 0);
            continue;
        }
        let lives = if owns { keeper.look().await } else { Ok(app.journal.shards.known(shard).1) };
        let done = match lives {
            Ok(true) => due(&app, shard).await,
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            tracing::debug!(%shard, %error, "keeping a shard");
        }
    }
}

/// What is due in one shard.
pub async fn due(app: &App, shard: Shard) -> Result<(), Error> {
    seats::sweep::sweep(app, shard).await?;
    ranking::tick::subtract(app, shard).await?;
    queue::tick::tick_shard(app, shard).await
}

/// Acknowledgements of entries that other instances' writers have committed.
async fn hear_acks(app: AppState) {
    let channel = ack_channel(app.me);
    let mut messages = loop {
        match app.redis.subscribe(&channel).await {
            Ok(messages) => break messages,
            Err(error) => tracing::warn!(%error, "subscribing to acknowledgements"),
        }
        tokio::time::sleep(RECOVER_EVERY).await;
    };
    loop {
        match messages.recv().await {
            Ok(message) => {
                let text = message.value.as_string().unwrap_or_default();
                ack::read_message(&text).for_each(|(op, receipt)| app.journal.acks.committed(op, receipt));
            }
            // Too many came at once; who waits asks Postgres.
            Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Who Redis is, after every reconnection and once a second; and whether the servers answer.
async fn watch_servers(app: AppState) {
    let mut ticks = interval(IDENTITY_EVERY);
    let mut reconnections = app.redis.reconnections();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = reconnections.changed() => {}
        }
        app.journal.shards.observe(&app.redis);
        let silent = app.redis.check().await;
        for (address, error) in &silent {
            tracing::warn!(address, %error, "redis does not answer");
        }
        metrics::server_up("redis", silent.is_empty());
        let postgres = tokio::time::timeout(IDENTITY_EVERY, app.journal.shards.refresh()).await;
        metrics::server_up("postgres", matches!(postgres, Ok(Ok(()))));
        app.prometheus.run_upkeep();
    }
}

/// Sign-ins that ended, roles that changed, keys that others made, menus.
async fn watch_changes(app: AppState) {
    let mut ticks = interval(CHANGES_EVERY);
    loop {
        ticks.tick().await;
        let sessions = async {
            app.sessions.refresh(&app.pool, app.config.access_token).await?;
            app.codes.refresh(&mut *app.pool.acquire().await?).await?;
            app.tokens.keys.refresh().await
        };
        let (sessions, menus) = tokio::join!(sessions, app.board.refresh(&app.pool));
        if let Err(error) = sessions.and(menus) {
            tracing::debug!(%error, "reading what others changed");
        }
    }
}

/// Buckets of clients who have not asked for a while, and lines that nobody asked for.
async fn forget_clients(app: AppState) {
    let mut ticks = interval(FORGET_CLIENTS_EVERY);
    loop {
        ticks.tick().await;
        app.limits.forget_full();
        app.lines.forget_idle();
    }
}

/// What rebuilds have left, here or before the start.
async fn unlink_dead(app: AppState) {
    let mut ticks = interval(UNLINK_EVERY);
    let mut epochs = Vec::new();
    loop {
        ticks.tick().await;
        let known: Vec<_> = app.journal.shards.all().map(|shard| app.journal.shards.known(shard)).collect();
        let now: Vec<u64> = known.iter().map(|(space, _)| space.epoch).collect();
        if now == epochs || known.iter().any(|(_, lives)| !lives) {
            continue;
        }
        match app.unlink_dead().await {
            Ok(unlinked) => {
                epochs = now;
                tracing::info!(unlinked, "keys of dead epochs are gone");
            }
            Err(error) => tracing::warn!(%error, "unlinking keys of dead epochs"),
        }
    }
}

async fn carry(app: AppState) {
    let mut ticks = interval(CARRY_EVERY);
    loop {
        ticks.tick().await;
        app.lines.tell();
        let marked = queue::presence::carry_marks(&app).await;
        if let Err(error) = marked.and(wallet::closing::close_gathered(&app).await) {
            tracing::debug!(%error, "carrying what was gathered");
        }
    }
}

/// Payments that nobody drives, transfers that were not closed, and people, for the metrics.
async fn recover(app: AppState, owned: lease::Owned) {
    let mut ticks = interval(RECOVER_EVERY);
    let mut places = HashMap::new();
    loop {
        ticks.tick().await;
        let shards: Vec<Shard> = owned.borrow().iter().copied().collect();
        for shard in &shards {
            let after = places.entry(*shard).or_default();
            let recovered = payments::recovery::recover(&app, *shard, after).await.map(drop);
            let cleaned = wallet::ops::clean(&app, *shard).await;
            if let Err(error) = recovered.and(cleaned) {
                tracing::debug!(%shard, %error, "recovering");
            }
        }
        if let Ok((waiting, active)) = queue::tick::count_people(&app, shards).await {
            metrics::queues(waiting, active);
        }
    }
}

/// Requests for rewards that nobody drives, and marks of days that are over; apart, so that payments do not
/// wait for it.
async fn recover_rewards(app: AppState, owned: lease::Owned) {
    let mut ticks = interval(RECOVER_EVERY);
    let mut places = HashMap::new();
    for round in 0_u64.. {
        ticks.tick().await;
        let shards: Vec<Shard> = owned.borrow().iter().copied().collect();
        for shard in shards {
            let after = places.entry(shard).or_default();
            let recovered = rewards::recovery::recover(&app, shard, after).await;
            let forgotten = match round % FORGET_DAYS_ROUNDS {
                0 => rewards::recovery::forget(&app, shard).await,
                _ => Ok(0),
            };
            if let Err(error) = recovered.and(forgotten) {
                tracing::debug!(%shard, %error, "recovering requests for rewards");
            }
        }
    }
}

/// Gives a job of the calendar to one instance.
pub async fn claim(app: &AppState, job: &str, at: chrono::DateTime<chrono::Utc>) -> Result<bool, Error> {
    let me: InstanceId = app.me;
    crate::journal::table::upkeep::claim_job(&app.pool, job, at, me).await
}
