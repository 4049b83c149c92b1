//! `onrush serve`.

use std::process::ExitCode;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Target;
use crate::app;

/// Serve on external servers.
#[derive(Args)]
pub struct Serve {
    #[command(flatten)]
    target: Target,
}

impl Serve {
    /// Serves until SIGTERM or Ctrl-C.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let settings = &self.target.settings;
        super::log(&settings.log, &settings.log_format)?;
        let config = self.target.config()?;
        super::runtime(settings.workers)?.block_on(async {
            let listener = TcpListener::bind(&settings.listen).await?;
            let (address, limits) = (listener.local_addr()?, config.limits.word());
            tracing::info!(%address, rate_limits = limits, "listening");
            if config.limits.rates.is_none() {
                tracing::warn!("rate limits are off (ONRUSH_LIMITS): good for load tests and nothing else");
            }
            app::run(config, listener, until_signal()?).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Ends at the first SIGTERM or SIGINT.
pub fn until_signal() -> std::io::Result<impl Future<Output = ()> + Send> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}
