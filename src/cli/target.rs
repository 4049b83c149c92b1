//! On which servers a command works: those of a demo's folder, or those of the settings.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use crate::accounts::model::Role;
use crate::app::{App, AppState};
use crate::config::{Config, Settings};
use crate::database;
use crate::ids::UserId;

/// What a demo tells other commands: `<data-dir>/demo.json`, readable by its owner alone.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DemoFile {
    /// Where the service listens.
    pub url: String,
    /// Redis, as an administrator.
    pub redis_url: String,
    /// Postgres.
    pub database_url: String,
    /// Accounts.
    pub users: Vec<DemoUser>,
}

/// An account of the demo.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DemoUser {
    /// Its id.
    pub user_id: UserId,
    /// Its e-mail.
    pub email: String,
    /// Its password.
    pub password: String,
    /// What it may do.
    pub role: Role,
}

/// Name of the demo's file in its folder.
pub const DEMO_FILE: &str = "demo.json";
/// Name of the file that holds the demo's secret.
pub const SECRET_FILE: &str = "secret";

/// The servers that a command works on.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// Work on the servers of the demo that runs with this folder, instead of those of the settings.
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
    /// Defences to take out, for negative controls.
    #[cfg(feature = "sabotage")]
    #[arg(long, hide = true, value_name = "DEFENCE", env = "ONRUSH_WITHOUT", value_delimiter = ',')]
    pub without: Vec<crate::sabotage::Defence>,
    /// Where to die, for crash tests.
    #[cfg(feature = "sabotage")]
    #[arg(long, hide = true, value_name = "POINT", env = "ONRUSH_DIES_AT")]
    pub dies_at: Option<String>,
}

impl Target {
    /// The settings; with the demo's servers and secret where a folder is given.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let mut settings = self.settings.clone();
        if let Some(folder) = &self.data_dir {
            let demo = read_demo(folder)?;
            settings.redis_url = demo.redis_url;
            settings.database_url = demo.database_url;
            settings.jwt_secret = std::fs::read_to_string(folder.join(SECRET_FILE))?.trim().to_owned();
        }
        Ok(settings)
    }

    /// The settings, checked.
    pub fn config(&self) -> anyhow::Result<Config> {
        let config = self.settings()?.check();
        let config = config.map_err(|mistakes| {
            anyhow::anyhow!("the settings have mistakes:\n  {}", mistakes.join("\n  "))
        })?;
        #[cfg(feature = "sabotage")]
        let config = Config {
            sabotage: self
                .without
                .iter()
                .fold(config.sabotage, |sabotage, out| sabotage.without(*out))
                .dying_at(self.dies_at.clone()),
            ..config
        };
        Ok(config)
    }

    /// Connects, does the work of a command, and closes the connections, whatever came of it. The log tells
    /// warnings only: what the command prints is the answer.
    pub fn connected<T>(&self, work: impl AsyncFnOnce(&AppState) -> anyhow::Result<T>) -> anyhow::Result<T> {
        super::log("warn", "text")?;
        let config = self.config()?;
        super::runtime(Some(1))?.block_on(async {
            let app = App::connect(config).await?;
            let ended = work(&app).await;
            app.close().await;
            ended
        })
    }

    /// The same for a command that needs no more than Postgres, with the settings beside.
    pub fn pooled<T>(
        &self,
        work: impl AsyncFnOnce(&Config, &PgPool) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        super::log("warn", "text")?;
        let config = self.config()?;
        super::runtime(Some(1))?.block_on(async {
            let pool = database::connect(&config).await?;
            let ended = work(&config, &pool).await;
            pool.close().await;
            ended
        })
    }

    /// Only where Postgres is; for commands that need nothing else.
    pub fn database_url(&self) -> anyhow::Result<String> {
        if let Some(folder) = &self.data_dir {
            return Ok(read_demo(folder)?.database_url);
        }
        if self.settings.database_url.is_empty() {
            bail!("ONRUSH_DATABASE_URL is missing");
        }
        Ok(self.settings.database_url.clone())
    }

    /// Where the service listens.
    pub fn url(&self) -> anyhow::Result<String> {
        match &self.data_dir {
            Some(folder) => Ok(read_demo(folder)?.url),
            None => Ok(format!("http://{}", self.settings.listen)),
        }
    }
}

/// Reads a demo's file.
pub fn read_demo(folder: &Path) -> anyhow::Result<DemoFile> {
    let path = folder.join(DEMO_FILE);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{} is missing: does a demo run there?", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} cannot be read", path.display()))
}
