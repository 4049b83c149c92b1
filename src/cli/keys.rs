//! `onrush keys`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::Target;
use crate::accounts::keys::SigningKeys;
use crate::accounts::table;
use crate::coupons::codes::Codes;

/// Keys that access tokens are signed with, and those that coupons' codes are made with.
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
    /// Make coupons' codes with a new key from now on. Codes that were made before stay good.
    RotateCoupons {
        #[command(flatten)]
        target: Target,
    },
}

impl Keys {
    /// Rotates.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Rotate { drop_old, target } => rotate(drop_old, &target),
            Command::RotateCoupons { target } => rotate_coupons(&target),
        }
    }
}

fn rotate(drop_old: bool, target: &Target) -> anyhow::Result<ExitCode> {
    target.pooled(async |config, pool| {
        let keys = SigningKeys::open(pool.clone(), &config.derive_bytes("signing keys")).await?;
        let kid = keys.add(true).await?;
        println!("{kid} signs from now on");
        if drop_old {
            println!("{} old keys are gone", table::drop_retired_keys(pool).await?);
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn rotate_coupons(target: &Target) -> anyhow::Result<ExitCode> {
    target.pooled(async |config, pool| {
        let codes = Codes::open(pool, &config.derive_bytes("coupon codes")).await?;
        codes.add(pool, false).await?;
        println!("key {} makes coupons' codes from now on", codes.newest()?);
        Ok(ExitCode::SUCCESS)
    })
}
