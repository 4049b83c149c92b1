//! `onrush with-servers`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::Args;

use crate::servers::{Durability, Folder, Programs, RedisCluster, free_port};

/// Run a command with a private Redis and Postgres.
#[derive(Args)]
pub struct WithServers {
    /// Where their data are.
    #[arg(long, value_name = "FOLDER", default_value = ".onrush/servers")]
    data_dir: PathBuf,
    /// Let Postgres sync every commit; without it a power failure may lose some.
    #[arg(long)]
    sync: bool,
    /// Three Redis masters that share the slots, instead of one Redis.
    #[arg(long)]
    cluster: bool,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl WithServers {
    /// Starts the servers, runs the command, ends the servers, and exits as the command did.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let programs = Programs::find()?;
        let folder = Folder::open(&self.data_dir)?;
        let durability = if self.sync { Durability::Synced } else { Durability::Unsynced };
        // Whichever runs, it ends with its guard.
        let (redis_url, _redis, _cluster) = if self.cluster {
            let cluster = RedisCluster::start(&folder, &programs, 3, false)?;
            (cluster.url.clone(), None, Some(cluster))
        } else {
            let redis = folder.start_redis(&programs, free_port()?)?;
            (redis.url.clone(), Some(redis), None)
        };
        let postgres = folder.start_postgres(&programs, durability, free_port()?)?;
        let (program, args) = self.command.split_first().context("there is no command")?;
        let status = Command::new(program)
            .args(args)
            .env("ONRUSH_REDIS_URL", &redis_url)
            .env("ONRUSH_DATABASE_URL", &postgres.url)
            .status()
            .with_context(|| format!("cannot run {program}"))?;
        drop(postgres);
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
    }
}
