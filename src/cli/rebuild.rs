//! `onrush rebuild`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::Target;
use crate::app::AppState;
use crate::journal::judge::{Verdict, judge};
use crate::journal::table::cursor::{self, ShardState};
use crate::journal::{adopt, rebuild};
use crate::redis::Shard;

/// The journal may stand still for so long while it is carried to Postgres.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// Rebuild shards from Postgres.
#[derive(Args)]
pub struct Rebuild {
    /// Only this one (0, 1 …).
    #[arg(long, value_name = "NUMBER")]
    shard: Option<u16>,
    /// Also shards that are fenced because Redis knows of more than Postgres has: believe Postgres. What only
    /// Redis has is lost, and with it what clients were told since the backup.
    #[arg(long)]
    accept_postgres: bool,
    /// The same, but believe Redis: how things stand there is carried to Postgres first. What led there is
    /// not known any more; nor are sales older than a day that the backup lacks: then nothing is changed. For
    /// all shards at once: a payment lies in two.
    #[arg(long, conflicts_with_all = ["accept_postgres", "shard"])]
    accept_redis: bool,
    #[command(flatten)]
    target: Target,
}

impl Rebuild {
    /// Rebuilds; exits with 1 when a shard could not be.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.target.connected(async |app| {
            let asked: Vec<Shard> =
                app.journal.shards.all().filter(|shard| self.shard.is_none_or(|n| n == shard.0)).collect();
            anyhow::ensure!(!asked.is_empty(), "there is no such shard");
            let mut failed = false;
            for shard in &asked {
                look(app, *shard).await?;
            }
            if self.accept_redis {
                let differences = accept_redis(app).await?;
                if !differences.is_empty() {
                    println!("{}", differences.join("\n"));
                    anyhow::bail!("what Redis has cannot be carried to Postgres; nothing was changed");
                }
            }
            for shard in asked {
                let told = self.one(app, shard).await?;
                failed |= told.is_err();
                println!("{shard} {}", told.unwrap_or_else(|why| why));
            }
            Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        })
    }

    /// What became of one shard: good or bad news.
    async fn one(&self, app: &AppState, shard: Shard) -> anyhow::Result<Result<String, String>> {
        let mut found = cursor::one(&mut *app.pool.acquire().await?, shard).await?;
        if found.state == ShardState::Fenced {
            if !self.accept_postgres {
                let why = format!("is fenced: {}; decide: --accept-postgres or --accept-redis", found.reason);
                return Ok(Err(why));
            }
            let redis = app.journal.standing(&app.journal.shards.known(shard).0, 0).await?.epoch.unwrap_or(0);
            rebuild::accept_postgres(&app.pool, shard, redis).await?;
            found = cursor::one(&mut *app.pool.acquire().await?, shard).await?;
        }
        let accepts = self.accept_postgres || self.accept_redis;
        if accepts && found.state == ShardState::Live {
            return Ok(Ok("lives: there is nothing to decide".into()));
        }
        if let Err(why) = drained(app, shard).await? {
            return Ok(Err(why));
        }
        let why = "an operator asked for it";
        let elsewhere = "is rebuilt by an instance that serves";
        match rebuild::rebuild(&app.journal, &app.pool, app.deployment, &found, why).await {
            Ok(true) => Ok(Ok(format!("is rebuilt, in epoch {}", found.epoch + 1))),
            Ok(false) => Ok(Ok(elsewhere.into())),
            Err(error) => {
                // Whoever looks after it finds a rebuild half done, and may be faster.
                let now = cursor::one(&mut *app.pool.acquire().await?, shard).await?;
                if now.epoch > found.epoch + 1 { Ok(Ok(elsewhere.into())) } else { Err(error.into()) }
            }
        }
    }
}

/// Judges a shard as an instance would: where Postgres went back, it is fenced before anything is
/// overwritten.
async fn look(app: &AppState, shard: Shard) -> anyhow::Result<()> {
    let found = cursor::one(&mut *app.pool.acquire().await?, shard).await?;
    if found.state == ShardState::Fenced {
        return Ok(());
    }
    let journal = &app.journal;
    let standing = journal.standing(&journal.shards.space(shard, found.epoch), found.seq).await?;
    match judge(&standing, &found, app.deployment, &journal.shards.redis_run(shard)) {
        Verdict::Foreign => anyhow::bail!("this Redis belongs to another deployment"),
        Verdict::Fence(why) => {
            cursor::set_fenced(&mut *app.pool.acquire().await?, shard, found.epoch, why).await?;
            journal.shards.refresh().await?;
        }
        Verdict::Fine | Verdict::Rebuild(_) | Verdict::NotLive | Verdict::ClockJumped => {}
    }
    Ok(())
}

/// Waits until Postgres has what the journal in Redis still holds; that was acknowledged, if Postgres went
/// back.
async fn drained(app: &AppState, shard: Shard) -> anyhow::Result<Result<(), String>> {
    let (mut moved, mut at) = (Instant::now(), None);
    loop {
        let found = cursor::one(&mut *app.pool.acquire().await?, shard).await?;
        let space = app.journal.shards.space(shard, found.epoch);
        let standing = app.journal.standing(&space, found.seq).await?;
        let follows = standing.epoch == Some(found.epoch)
            && found.state == ShardState::Live
            && standing.cursor_hash == found.hash.to_string();
        if !follows || standing.last <= found.seq {
            return Ok(Ok(()));
        }
        if at != Some(found.seq) {
            (moved, at) = (Instant::now(), Some(found.seq));
        }
        if moved.elapsed() > DRAIN_MAX {
            let behind = standing.last - found.seq;
            return Ok(Err(format!(
                "has {behind} entries in redis that postgres lacks; start an instance, which carries them"
            )));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Carries what Redis knows of all that are fenced to Postgres; what would differ then.
async fn accept_redis(app: &AppState) -> anyhow::Result<Vec<String>> {
    let cursors = cursor::all(&app.pool).await?;
    let fenced = cursors.iter().filter(|cursor| cursor.state == ShardState::Fenced);
    let fenced: Vec<Shard> = fenced.map(|cursor| cursor.shard).collect();
    if fenced.is_empty() {
        return Ok(Vec::new());
    }
    Ok(adopt::accept_redis(&app.journal, &app.pool, app.deployment, &fenced).await?)
}
