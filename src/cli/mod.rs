//! The command line: one file a command.

mod admin;
mod check;
mod complete;
mod delivery;
mod demo;
mod doctor;
mod health;
mod import;
mod keys;
pub(crate) mod load_users;
mod migrate;
mod openapi;
mod rebuild;
mod serve;
mod target;
mod verify;
mod with_servers;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub use target::Target;

/// The engine behind an on-sale: a fair queue, seats held and sold, points, all of it durable.
///
/// Try it:        onrush demo
/// In production: onrush migrate && onrush serve   (settings: onrush config table)
#[derive(Parser)]
#[command(name = "onrush", version, verbatim_doc_comment, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything here: Redis, Postgres, the service, demo data. Ctrl-C ends it all; the data stays.
    Demo(demo::Demo),
    /// Serve on external servers. Settings are checked first, every mistake is named.
    Serve(serve::Serve),
    /// Bring the database's schema up to date. Run it before `serve` of a new version.
    Migrate(Target),
    /// Make accounts with a role.
    Admin(admin::Admin),
    /// Keys that access tokens are signed with, and those that coupons' codes are made with.
    Keys(keys::Keys),
    /// What other systems are told: list messages that did not arrive, deliver them again.
    Delivery(delivery::Delivery),
    /// Read lists that others made: `import coupons FILE --campaign ID`.
    Import(import::Import),
    /// Make users for load tests and print `userId,accessToken` (CSV); the tokens live for a day.
    LoadUsers(load_users::LoadUsers),
    /// Prove on live data that Redis, Postgres and the books agree; exits with 1 and the differences when
    /// not.
    Verify(Target),
    /// Look at settings, servers, schema and shards, and say what to mend; exits with 1 when something must.
    Doctor(Target),
    /// Rebuild shards from Postgres by hand; decide for a shard that is fenced.
    Rebuild(rebuild::Rebuild),
    /// Print the OpenAPI document.
    Openapi,
    /// Look at settings without starting.
    Config(check::ConfigCommand),
    /// Ask a running instance for its heartbeat; exits with 1 when it has none. For container health checks.
    Healthcheck(health::Healthcheck),
    /// Run a command with a private Redis and Postgres; it finds them in ONRUSH_REDIS_URL and
    /// ONRUSH_DATABASE_URL.
    WithServers(with_servers::WithServers),
    /// Print a completion script for a shell.
    Completions(complete::Completions),
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Demo(command) => command.run(),
        Command::Serve(command) => command.run(),
        Command::Migrate(target) => migrate::run(&target),
        Command::Admin(command) => command.run(),
        Command::Keys(command) => command.run(),
        Command::Delivery(command) => command.run(),
        Command::Import(command) => command.run(),
        Command::LoadUsers(command) => command.run(),
        Command::Verify(target) => verify::run(&target),
        Command::Doctor(target) => doctor::run(&target),
        Command::Rebuild(command) => command.run(),
        Command::Openapi => openapi::run(),
        Command::Config(command) => command.run(&Cli::command()),
        Command::Healthcheck(command) => command.run(),
        Command::WithServers(command) => command.run(),
        Command::Completions(command) => command.run(&mut Cli::command()),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints to standard output; who closed the pipe has read enough.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    use std::io::{ErrorKind, Write};
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The runtime of a command, with this many threads, or as many as there are cores.
fn runtime(workers: Option<usize>) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers);
    }
    Ok(builder.enable_all().build()?)
}

/// Where logs go: standard error, so that what a command prints can be piped.
fn log(filter: &str, format: &str) -> anyhow::Result<()> {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(filter).map_err(|error| anyhow::anyhow!("ONRUSH_LOG: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    let set =
        if format == "json" { builder.json().flatten_event(true).try_init() } else { builder.try_init() };
    set.map_err(|error| anyhow::anyhow!("logs cannot be set up: {error}"))
}
