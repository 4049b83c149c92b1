//! `onrush delivery`.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use uuid::Uuid;

use super::Target;
use crate::clock::rfc3339;
use crate::delivery::sink::wire_id;
use crate::delivery::table::operator::{Choice, drop_endpoint, list, replay};

/// What other systems are told, and what they could not be told.
#[derive(Args)]
pub struct Delivery {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List messages, newest first; the dead ones unless others are asked for.
    List {
        #[command(flatten)]
        which: Which,
        /// In this state.
        #[arg(long, default_value = "dead", value_name = "STATE")]
        state: State,
        /// So many at most.
        #[arg(long, default_value_t = 50, value_name = "COUNT")]
        limit: u32,
        #[command(flatten)]
        target: Target,
    },
    /// Deliver messages again, each with its old id and all of its tries.
    Replay {
        #[command(flatten)]
        which: Which,
        /// Those that arrived as well, not the dead ones alone.
        #[arg(long)]
        delivered: bool,
        /// All there are; needed where nothing else says which.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Tell an endpoint nothing more. Take it out of every instance's file first: a start adds it again.
    Drop {
        /// Its name.
        endpoint: String,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Args)]
struct Which {
    /// Of this endpoint.
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Of this kind (`order.placed`).
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// This one (`msg_…`).
    #[arg(long, value_name = "ID", value_parser = message_id)]
    id: Option<Uuid>,
    /// What happened then or later (2026-11-22T09:00:00Z).
    #[arg(long, value_name = "TIME")]
    from: Option<DateTime<Utc>>,
    /// What happened before.
    #[arg(long, value_name = "TIME")]
    to: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, ValueEnum)]
enum State {
    Dead,
    Pending,
    Delivered,
}

fn message_id(text: &str) -> Result<Uuid, uuid::Error> {
    text.strip_prefix("msg_").unwrap_or(text).parse()
}

impl Which {
    fn says_nothing(&self) -> bool {
        self.endpoint.is_none() && self.kind.is_none() && self.id.is_none() && self.from.is_none()
    }

    fn choice(self, states: Vec<&'static str>) -> Choice {
        let Self { endpoint, kind, id, from, to } = self;
        Choice { endpoint, kind, states, message: id, from, to }
    }
}

impl Delivery {
    /// Lists or replays.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List { which, state, limit, target } => {
                let word = match state {
                    State::Dead => "DEAD",
                    State::Pending => "PENDING",
                    State::Delivered => "DELIVERED",
                };
                tell(&which.choice(vec![word]), i64::from(limit), &target)
            }
            Command::Replay { which, delivered, all, target } => {
                if which.says_nothing() && !all {
                    anyhow::bail!("say which: --id, --endpoint, --kind, --from and --to, or --all");
                }
                let states = if delivered { vec!["DEAD", "DELIVERED"] } else { vec!["DEAD"] };
                again(&which.choice(states), &target)
            }
            Command::Drop { endpoint, target } => {
                let there = target.pooled(async |_, pool| Ok(drop_endpoint(pool, &endpoint).await?))?;
                let (text, code) = match there {
                    true => (format!("{endpoint} is told nothing more\n"), ExitCode::SUCCESS),
                    false => (format!("there is no endpoint {endpoint}\n"), ExitCode::FAILURE),
                };
                super::print(&text).map(|_| code)
            }
        }
    }
}

fn tell(choice: &Choice, limit: i64, target: &Target) -> anyhow::Result<ExitCode> {
    let rows = target.pooled(async |_, pool| Ok(list(pool, choice, limit).await?))?;
    let mut text = String::new();
    for row in rows {
        let (id, at, why) =
            (wire_id(row.message_id), rfc3339(row.at), row.last_error.as_deref().unwrap_or("-"));
        let (endpoint, kind, state, tries) = (row.endpoint, row.kind, row.state, row.attempts);
        text += &format!("{id}  {at}  {endpoint}  {kind}  {state}  {tries} tries  {why}\n");
    }
    super::print(&text)
}

fn again(choice: &Choice, target: &Target) -> anyhow::Result<ExitCode> {
    let counts = target.pooled(async |_, pool| Ok(replay(pool, choice).await?))?;
    if counts.is_empty() {
        return super::print("no such message\n").map(|_| ExitCode::FAILURE);
    }
    let lines =
        counts.iter().map(|(endpoint, count)| format!("{endpoint}: {count} will be delivered again\n"));
    super::print(&lines.collect::<String>())
}
