//! `onrush demo`: the whole thing on one machine, from nothing, and again on its data.

mod data;
mod receiver;
mod supervisor;

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use tokio::net::TcpListener;

use super::serve::until_signal;
use super::target::{DEMO_FILE, DemoFile, SECRET_FILE};
use crate::app::{self, App, AppState};
use crate::config::{Config, LimitSettings, SECRET_MIN, Settings, WORKERS_MAX};
use crate::operations;
use receiver::Receiver;
use supervisor::Supervisor;

/// How long all shards may take until they are live.
const READY_MAX: Duration = Duration::from_secs(60);

/// Start everything here.
#[derive(Args)]
pub struct Demo {
    /// Forget what an earlier demo left in the folder.
    #[arg(long)]
    fresh: bool,
    /// Where the demo keeps its data; `.onrush` when absent.
    #[arg(long, value_name = "FOLDER", default_value = ".onrush")]
    data_dir: PathBuf,
    /// Address to listen on.
    #[arg(long, env = "ONRUSH_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: String,
    /// Rate limits; off, so that load tests can be tried at once.
    #[arg(long, default_value = "off", value_parser = ["on", "off"])]
    limits: String,
    /// Whether what happens is told to a receiver that shows it; off for load tests of all else.
    #[arg(long, default_value = "on", value_parser = ["on", "off"])]
    delivery: String,
    /// Number of shards, chosen at the first start.
    #[arg(long, env = "ONRUSH_SHARDS", value_name = "COUNT")]
    shards: Option<u16>,
    /// Threads that serve requests; as many as there are cores unless set.
    #[arg(long, env = "ONRUSH_WORKERS", value_name = "COUNT")]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=WORKERS_MAX as u64))]
    workers: Option<usize>,
    /// What to log.
    #[arg(long, env = "ONRUSH_LOG", default_value = "warn", value_name = "FILTER")]
    log: String,
}

impl Demo {
    /// Runs until Ctrl-C or SIGTERM.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        super::log(&self.log, "text")?;
        let runtime = super::runtime(self.workers)?;
        // Bound first: an address that is taken is told before anything is started.
        let listener = runtime.block_on(TcpListener::bind(&self.listen));
        let listener = listener.with_context(|| format!("cannot listen on {}", self.listen))?;
        let supervisor = Supervisor::start(&self.data_dir, self.fresh)?;
        let receiver = runtime.block_on(Receiver::bind(&supervisor.folder))?;
        let config = self.config(&supervisor, &receiver)?;
        let told_at = if self.delivery == "on" { &receiver.url } else { "off" }.to_owned();
        runtime.spawn(receiver.serve());
        let ended = runtime.block_on(async {
            super::migrate::migrate(&supervisor.database_url).await?;
            serve(config, listener, &supervisor, &told_at, until_signal()?).await
        });
        supervisor.stop();
        ended.map(|()| ExitCode::SUCCESS)
    }

    fn config(&self, supervisor: &Supervisor, receiver: &Receiver) -> anyhow::Result<Config> {
        use clap::Parser;
        /// The settings' defaults.
        #[derive(Parser)]
        struct Defaults {
            #[command(flatten)]
            settings: Settings,
        }
        let defaults = Defaults::parse_from(["onrush"]).settings;
        let settings = Settings {
            listen: self.listen.clone(),
            redis_url: supervisor.redis_url.clone(),
            database_url: supervisor.database_url.clone(),
            jwt_secret: secret(&supervisor.folder)?,
            shards: self.shards,
            delivery: (self.delivery == "on").then(|| receiver.file.clone()),
            limits: LimitSettings { limits: self.limits.clone(), ..defaults.limits.clone() },
            ..defaults
        };
        let checked = settings.check();
        let config = checked.map_err(|mistakes| anyhow::anyhow!("{}", mistakes.join("\n")))?;
        Ok(Config { leaves_tidy: true, ..config })
    }
}

/// Made once, so that tokens survive a restart.
fn secret(folder: &Path) -> anyhow::Result<String> {
    let path = folder.join(SECRET_FILE);
    if let Ok(known) = fs::read_to_string(&path)
        && known.trim().len() >= SECRET_MIN
    {
        return Ok(known.trim().to_owned());
    }
    let secret = random_text(48)?;
    write_private(&path, secret.as_bytes())?;
    Ok(secret)
}

/// Base64 of so many random bytes.
fn random_text(bytes: usize) -> anyhow::Result<String> {
    let mut random = vec![0; bytes];
    aws_lc_rs::rand::fill(&mut random).context("no random bytes")?;
    Ok(STANDARD.encode(random))
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    Ok(())
}

async fn serve(
    config: Config,
    listener: TcpListener,
    supervisor: &Supervisor,
    told_at: &str,
    signal: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let url = format!("http://{}", listener.local_addr()?);
    let app = App::connect(config).await?;
    let prepared = prepare(app.clone(), url, supervisor, told_at);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(app::serve(app, listener, async {
        // A dropped sender ends it as well.
        drop(stopped.await);
    }));
    tokio::pin!(signal);
    let outcome = tokio::select! {
        prepared = prepared => match prepared {
            Ok(()) => { signal.await; Ok(()) }
            Err(error) => Err(error),
        },
        () = &mut signal => Ok(()),
    };
    drop(stop);
    serving.await?;
    outcome
}

/// Waits until the service is ready, loads the data that are missing, and tells where everything is.
async fn prepare(app: AppState, url: String, supervisor: &Supervisor, told_at: &str) -> anyhow::Result<()> {
    let ready = async {
        while !operations::ops::readiness(&app).await.is_ok_and(|readiness| readiness.ready) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(READY_MAX, ready).await.is_err() {
        bail!("not ready after {} s: {:?}", READY_MAX.as_secs(), operations::ops::readiness(&app).await);
    }
    let path = supervisor.folder.join(DEMO_FILE);
    let known = fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str::<DemoFile>(&text).ok());
    let users = data::load(&app, known.map(|demo| demo.users).unwrap_or_default()).await?;
    let demo = DemoFile {
        url,
        redis_url: supervisor.redis_url.clone(),
        database_url: supervisor.database_url.clone(),
        users,
    };
    write_private(&path, &serde_json::to_vec_pretty(&demo)?)?;
    banner(&app, &demo, &supervisor.folder, told_at)
}

fn banner(app: &App, demo: &DemoFile, folder: &Path, told_at: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let DemoFile { url, redis_url, database_url, users } = demo;
    let limits = app.config.limits.word();
    writeln!(
        out,
        "Onrush demo {} · rate limits {limits} · data in {}",
        env!("CARGO_PKG_VERSION"),
        folder.display()
    )?;
    for (what, path) in
        [("service", ""), ("documentation", "/docs/"), ("OpenAPI", "/openapi.json"), ("metrics", "/metrics")]
    {
        writeln!(out, "  {what:<14} {url}{path}")?;
    }
    for (what, url) in [("Redis", redis_url.as_str()), ("Postgres", database_url), ("receiver", told_at)] {
        writeln!(out, "  {what:<14} {url}")?;
    }
    for user in users {
        writeln!(out, "  {:<14} {} / {}", user.role.word(), user.email, user.password)?;
    }
    writeln!(out, "  try            curl -s {url}/v1/concerts")?;
    writeln!(out, "ready {url}")?;
    out.flush()?;
    Ok(())
}
