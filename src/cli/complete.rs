//! `onrush completions`.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

/// Print a completion script for a shell.
#[derive(Args)]
pub struct Completions {
    /// Which shell.
    shell: Shell,
}

impl Completions {
    /// Prints it.
    pub fn run(self, cli: &mut clap::Command) -> anyhow::Result<ExitCode> {
        clap_complete::generate(self.shell, cli, "onrush", &mut std::io::stdout());
        Ok(ExitCode::SUCCESS)
    }
}
