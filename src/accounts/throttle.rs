//! Failed sign-ins: of an account and of an address, counted in Redis for all instances.
//!
//! Each failure beyond those that are free doubles the wait before the next try (OWASP, Authentication Cheat
//! Sheet; no lock-out for good, so that nobody can shut an account by failing on purpose). The wait holds for
//! addresses and e-mails that are unknown as well. While Redis is away nobody is kept from signing in: what
//! bcrypt may take of the machine, and what an address may ask of this instance, bound guessing then.

use std::net::IpAddr;
use std::time::Duration;

use uuid::Uuid;

use super::store::{self, Attempt, Withdraw};
use crate::app::App;
use crate::error::Error;
use crate::http::peer;
use crate::metrics;
use crate::redis::{Reply, Space};

/// Namespace of what failures are counted of (UUID v5): neither e-mails nor addresses are kept.
const COUNTED: Uuid = Uuid::from_u128(0x6f6e_7275_7368_4661_8c2e_91b7_0d54_e5a3);

/// One try, which counts as failed until it is taken back.
#[derive(Clone, Copy)]
struct Try {
    of: Uuid,
    till: i64,
}

/// One sign-in that is tried.
pub struct SignIn {
    account: Option<Try>,
    address: Option<Try>,
}

impl SignIn {
    /// Counts it; 429 with the time to wait when too many have failed.
    pub async fn begin(app: &App, email: &str, client: IpAddr) -> Result<Self, Error> {
        let limits = &app.config.limits;
        if limits.rates.is_none() {
            return Ok(Self { account: None, address: None });
        }
        let named = |kind: &str, name: &str| Uuid::new_v5(&COUNTED, format!("{kind} {name}").as_bytes());
        let account = named("account", &email.to_lowercase());
        let account = attempt(app, account, limits.sign_in_failures_account).await?;
        let begun = Self { account, address: None };
        let address = named("address", &peer::counted(client).to_string());
        match attempt(app, address, limits.sign_in_failures_address).await {
            Ok(address) => Ok(Self { address, ..begun }),
            Err(refused) => {
                begun.never_tried(app).await;
                Err(refused)
            }
        }
    }

    /// It succeeded: the account's failures are forgotten, the address has one less.
    pub async fn succeeded(self, app: &App) {
        tokio::join!(withdraw(app, self.account, true), withdraw(app, self.address, false));
    }

    /// The password was not looked at.
    pub async fn never_tried(self, app: &App) {
        tokio::join!(withdraw(app, self.account, false), withdraw(app, self.address, false));
    }
}

/// `None` when nobody can tell.
async fn attempt(app: &App, of: Uuid, free: u32) -> Result<Option<Try>, Error> {
    let wait_max_ms = app.config.limits.sign_in_wait_max.as_millis();
    let script = |space: &Space| Attempt { failures: store::failures(space, of), free, wait_max_ms };
    let reply: Reply = match app.journal.ask(app.journal.shards.of(of), script).await {
        Ok(reply) => reply,
        Err(error) => {
            tracing::warn!(%error, "failed sign-ins are not counted");
            return Ok(None);
        }
    };
    if reply.word() == "done" {
        return Ok(Some(Try { of, till: reply.int(0)? }));
    }
    metrics::limited("failed-sign-ins");
    let wait = u64::try_from(reply.int(0)?).unwrap_or_default();
    Err(Error::rate_limited(Duration::from_millis(wait)))
}

async fn withdraw(app: &App, tried: Option<Try>, all: bool) {
    let Some(Try { of, till }) = tried else { return };
    let script = |space: &Space| Withdraw { failures: store::failures(space, of), till, all: u8::from(all) };
    if let Err(error) = app.journal.ask(app.journal.shards.of(of), script).await {
        tracing::debug!(%error, "a sign-in that succeeded counts as failed");
    }
}
