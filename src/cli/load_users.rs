//! `onrush load-users`.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget};
use uuid::Uuid;

use super::Target;
use crate::accounts::model::Role;
use crate::accounts::table;
use crate::app::{App, AppState};
use crate::error::Error;
use crate::http::identity::Identity;
use crate::ids::{Points, UserId};
use crate::redis::Shard;
use crate::{schedule, wallet};

/// Users that one statement inserts.
const INSERT_MAX: usize = 5_000;
/// How long the tokens live.
const LIFETIME: chrono::Duration = chrono::Duration::hours(24);

/// Make users for load tests.
#[derive(Args)]
pub struct LoadUsers {
    /// How many.
    #[arg(long)]
    count: usize,
    /// Points that each gets.
    #[arg(long, default_value_t = 0)]
    points: i64,
    #[command(flatten)]
    target: Target,
}

impl LoadUsers {
    /// Makes them and prints `userId,accessToken`.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.target.connected(async |app| {
            let background = schedule::Background::start_if_alone(app).await?;
            print(&make(app, self.count, self.points).await?)?;
            background.end(app).await;
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Makes users and their tokens.
pub async fn make(app: &AppState, count: usize, points: i64) -> anyhow::Result<Vec<(UserId, String)>> {
    let Some(points) = Points::new(points) else { bail!("points must be 0 or more") };
    let users = insert(app, count).await?;
    if points > Points::ZERO {
        charge(app, &users, points).await?;
    }
    let identity = |user| Identity { user, role: Role::User, session: Uuid::nil() };
    let token = |user| app.tokens.issue(identity(user), app.clock.now_ms(), LIFETIME);
    Ok(users.into_iter().map(|user| Ok((user, token(user)?.0))).collect::<Result<_, Error>>()?)
}

async fn insert(app: &App, count: usize) -> anyhow::Result<Vec<UserId>> {
    let users: Vec<UserId> = std::iter::repeat_with(UserId::mint).take(count).collect();
    let progress = progress(count, "users");
    for users in users.chunks(INSERT_MAX) {
        table::insert_many(&mut *app.pool.acquire().await?, users).await?;
        progress.inc(users.len() as u64);
    }
    progress.finish_and_clear();
    Ok(users)
}

/// Through the journal, as every change of points.
async fn charge(app: &AppState, users: &[UserId], points: Points) -> anyhow::Result<()> {
    let mut by_shard: BTreeMap<Shard, Vec<UserId>> = BTreeMap::new();
    for user in users {
        by_shard.entry(app.journal.shards.of(user.uuid())).or_default().push(*user);
    }
    let progress = progress(users.len(), "charges");
    let charging = by_shard.into_iter().map(|(shard, users)| {
        let progress = &progress;
        async move {
            for users in users.chunks(wallet::ops::CHARGE_MANY_MAX) {
                wallet::ops::charge_many(app, shard, users, points).await?;
                progress.inc(users.len() as u64);
            }
            Ok::<_, Error>(())
        }
    });
    futures::future::try_join_all(charging).await?;
    progress.finish_and_clear();
    Ok(())
}

fn print(users: &[(UserId, String)]) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    writeln!(out, "userId,accessToken")?;
    for (user, token) in users {
        writeln!(out, "{user},{token}")?;
    }
    out.flush()?;
    Ok(())
}

/// On standard error, and only on a terminal.
fn progress(count: usize, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
    bar.set_message(what);
    bar
}
