//! `onrush admin create`.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use garde::Validate;
use sqlx::{Connection, PgConnection};

use super::Target;
use crate::accounts::model::{Role, SignupRequest};
use crate::accounts::{passwords, table};
use crate::ids::UserId;

/// Make accounts with a role.
#[derive(Args)]
pub struct Admin {
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Make an account. The password comes from a prompt, or from standard input when that is no terminal.
    Create(Create),
}

#[derive(Args)]
struct Create {
    /// Its e-mail address.
    #[arg(long)]
    email: String,
    /// What it may do.
    #[arg(long, value_enum, default_value_t = Role::Admin)]
    role: Role,
    /// Its name; the e-mail where none is given.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl Admin {
    /// Makes the account and prints its id.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let AdminCommand::Create(create) = self.command;
        let account = SignupRequest {
            name: create.name.unwrap_or_else(|| create.email.clone()),
            password: password()?,
            email: create.email,
        };
        if let Err(report) = account.validate() {
            bail!("{}", report.to_string().trim());
        }
        let url = create.target.database_url()?;
        let cost = create.target.settings.bcrypt_cost;
        super::runtime(Some(1))?.block_on(async {
            let mut pg = PgConnection::connect(&url).await?;
            let id = self::create(&mut pg, &account, create.role, cost).await?;
            println!("{id}");
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Makes an account with a role.
pub async fn create(
    pg: &mut PgConnection,
    account: &SignupRequest,
    role: Role,
    cost: u32,
) -> anyhow::Result<UserId> {
    let hash = passwords::hash(&account.password, cost)?;
    let made = table::insert(pg, UserId::mint(), (&account.email, &account.name), role, Some(&hash)).await?;
    match made {
        Some(user) => Ok(user.user_id),
        None => bail!("an account with the e-mail {} exists", account.email),
    }
}

fn password() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        let first = rpassword::prompt_password("Password: ")?;
        if first != rpassword::prompt_password("Once more: ")? {
            bail!("the two are not the same");
        }
        return Ok(first);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
