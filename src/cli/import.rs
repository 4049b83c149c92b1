//! `onrush import`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::fs::File;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::{Target, print};
use crate::app::App;
use crate::coupons::model::JobState;
use crate::coupons::{imports, table};
use crate::ids::CampaignId;

/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;
/// Mistakes that are shown.
const SHOWN: usize = 20;

/// Read lists that others made.
#[derive(Args)]
pub struct Import {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Import a list of codes (CSV: `code[,expiresAt]`). Run again after a crash, it goes on where it was.
    Coupons {
        /// The list; `-` is standard input.
        file: PathBuf,
        /// The campaign that they belong to.
        #[arg(long, value_name = "CAMPAIGN")]
        campaign: CampaignId,
        #[command(flatten)]
        target: Target,
    },
}

impl Import {
    /// Imports, and prints the counters; fails when a row could not be read.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Command::Coupons { file, campaign, target } = self.command;
        target.connected(async |app| import(app, &file, campaign).await)
    }
}

async fn import(app: &App, file: &Path, campaign: CampaignId) -> anyhow::Result<ExitCode> {
    let found = table::ordinal(&mut *app.pool.acquire().await?, campaign).await?;
    let Some((ordinal, expires_at)) = found else { bail!("there is no campaign {campaign}") };
    let (list, length) = open(file).await?;
    let target = imports::Target {
        pool: app.pool.clone(),
        codes: app.codes.clone(),
        campaign,
        ordinal,
        expires_at,
        keyed: None,
        length,
        act: None,
    };
    let bar = ProgressBar::new(length.unwrap_or_default());
    let style = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec}, {msg} rows, {eta} left";
    bar.set_style(ProgressStyle::with_template(style)?);
    let pieces = ReaderStream::with_capacity(list, PIECE).inspect(|piece| {
        bar.inc(piece.as_ref().map_or(0, |piece| piece.len() as u64));
    });
    let done = imports::run(target, Box::pin(pieces), |rows| bar.set_message(rows.to_string())).await;
    bar.finish_and_clear();
    let (id, _) = done?;
    let import = imports::get(&app.pool, id).await?;
    let mut text = format!(
        "import {id}: {} rows read, {} inserted, {} duplicate, {} invalid\n",
        import.rows_read, import.inserted, import.duplicate, import.invalid
    );
    for error in import.errors.iter().take(SHOWN) {
        text += &format!("line {}: {}\n", error.line, error.reason);
    }
    print(&text)?;
    let is_clean = import.invalid == 0 && import.state == JobState::Done;
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The list, and its length where that is known.
async fn open(file: &Path) -> anyhow::Result<(Box<dyn AsyncRead + Unpin>, Option<u64>)> {
    if file == Path::new("-") {
        return Ok((Box::new(tokio::io::stdin()), None));
    }
    let named = || format!("cannot read {}", file.display());
    let list = File::open(file).await.with_context(named)?;
    let length = list.metadata().await.with_context(named)?.len();
    Ok((Box::new(list), Some(length)))
}
