//! `onrush keys`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::Target;
use crate::accounts::keys::SigningKeys;
use crate::accounts::table;

/// Keys that access tokens are signed with.
#[derive(Args)]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sign with a new key from now on. Nobody is logged out: the old ones still verify what they signed.
    Rotate {
        /// Drop the old ones at once, because one was stolen: whoever is signed in must refresh.
        #[arg(long)]
        drop_old: bool,
        #[command(flatten)]
        target: Target,
    },
}

impl Keys {
    /// Rotates.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Command::Rotate { drop_old, target } = self.command;
        super::log("warn", "text")?;
        let config = target.config()?;
        super::runtime(1)?.block_on(async {
            let pool = crate::app::connect_pool(&config).await?;
            let keys = SigningKeys::open(pool.clone(), &config.derive_bytes("signing keys")).await?;
            let kid = keys.add(true).await?;
            println!("{kid} signs from now on");
            if drop_old {
                println!("{} old keys are gone", table::drop_retired_keys(&pool).await?);
            }
            pool.close().await;
            Ok(ExitCode::SUCCESS)
        })
    }
}
