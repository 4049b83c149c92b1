//! `onrush config`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::Target;

/// Look at settings without starting.
#[derive(Args)]
pub struct ConfigCommand {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Check the settings as `serve` would; exits with 1 and every mistake.
    Check(Box<Target>),
    /// Print all settings as a Markdown table.
    Table,
}

impl ConfigCommand {
    /// Checks or prints.
    pub fn run(self, cli: &clap::Command) -> anyhow::Result<ExitCode> {
        match self.command {
            What::Check(target) => {
                target.config()?;
                super::print("the settings are good\n")
            }
            What::Table => super::print(&table(cli)),
        }
    }
}

/// The settings as the command line defines them.
fn table(cli: &clap::Command) -> String {
    let mut text = String::from("| variable | flag | default | meaning |\n| --- | --- | --- | --- |\n");
    let Some(serve) = cli.find_subcommand("serve") else { return text };
    for argument in serve.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let (Some(variable), Some(flag)) = (argument.get_env(), argument.get_long()) else { continue };
        let default = argument.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
        let default =
            default.filter(|value| !value.is_empty()).map_or_else(String::new, |value| format!("`{value}`"));
        let meaning = argument.get_help().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!(
            "| `{}` | `--{flag}` | {default} | {meaning} |\n",
            variable.to_string_lossy()
        ));
    }
    text
}
