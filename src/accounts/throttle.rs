//! Failed sign-ins, counted in Redis for all instances: of an account from one address, of an account from
//! anywhere, and of an address.
//!
//! Each failure beyond those that are free doubles the wait before the next try (OWASP, Authentication
//! Cheat Sheet). One address that guesses at one account soon waits for minutes; what others share with it,
//! the account elsewhere and the address for other accounts, has a larger allowance and a short longest
//! wait. Even that would let somebody who fails on purpose take every turn, so it does not hold for whoever
//! has signed in from that address lately. The waits hold for e-mails that are unknown as well. While Redis
//! is away nobody is kept from signing in: what bcrypt may take of the machine, and what an address may ask
//! of this instance, bound guessing then.

use std::net::IpAddr;
use std::time::Duration;

use futures::future::join_all;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::store::{self, Attempt, Settle};
use super::table;
use crate::app::{App, AppState};
use crate::error::Error;
use crate::http::peer;
use crate::metrics;
use crate::redis::{Reply, Space};

/// Namespace of what failures are counted of (UUID v5): neither e-mails nor addresses are kept.
const COUNTED: Uuid = Uuid::from_u128(0x6f6e_7275_7368_4661_8c2e_91b7_0d54_e5a3);
/// A try takes no longer; one whose end nobody told is over by then.
const TRY_MAX: Duration = Duration::from_secs(10);
/// Of what is shared with others one failure is forgotten so often.
const SHARED_DECAY: Duration = Duration::from_secs(10);

/// What failures are counted of, and what they cost.
#[derive(Clone, Copy)]
struct Counted {
    of: Uuid,
    free: u32,
    wait_max: Duration,
    decay: Duration,
    /// Whether a success forgets the failures before it.
    forgives: bool,
}

impl Counted {
    fn keep_ms(&self) -> u128 {
        (self.wait_max * 2).as_millis()
    }
}

/// How a try ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Failed,
    Succeeded,
    Untried,
}

/// One sign-in that is tried. Dropped before its end was told, it is no failure.
pub struct SignIn {
    app: AppState,
    tried: Vec<Counted>,
}

impl SignIn {
    /// Counts it; 429 with the time to wait when too many have failed. `email` is folded. Whoever goes away
    /// meanwhile leaves nothing counted: the count goes on without him and is taken back.
    pub async fn begin(app: &AppState, email: String, client: IpAddr) -> Result<Self, Error> {
        let begun = app.tasks.spawn(Self::count(app.clone(), email, client));
        begun.await.map_err(Error::internal)?
    }

    async fn count(app: AppState, email: String, client: IpAddr) -> Result<Self, Error> {
        let asked = join_all(counted(&app, &email, client).map(|one| attempt(&app, one))).await;
        let mut begun = Self { app: app.clone(), tried: Vec::new() };
        let (mut own, mut shared) = (None, None);
        for (one, wait) in asked.into_iter().flatten() {
            match wait {
                None => begun.tried.push(one),
                Some(_) if one.forgives => own = wait,
                Some(_) => shared = shared.max(wait),
            }
        }
        let refused = match (own, shared) {
            (Some(_), _) => own,
            (None, Some(_)) if is_known(&app, &email, client).await => None,
            _ => shared,
        };
        match refused {
            None => Ok(begun),
            Some(wait) => {
                metrics::limited("failed-sign-ins");
                Err(Error::rate_limited(wait))
            }
        }
    }

    /// The password was right.
    pub async fn succeeded(mut self) {
        drop(self.end(Outcome::Succeeded).await);
    }

    /// It was not, or there is no such account.
    pub async fn failed(mut self) {
        drop(self.end(Outcome::Failed).await);
    }

    /// Goes on when nobody waits for it any more.
    fn end(&mut self, outcome: Outcome) -> JoinHandle<()> {
        let (app, tried) = (self.app.clone(), std::mem::take(&mut self.tried));
        self.app.tasks.spawn(async move { settle(&app, tried, outcome).await })
    }
}

/// Has the account's owner signed in from there lately? When nobody can tell, he has not.
async fn is_known(app: &App, email: &str, client: IpAddr) -> bool {
    let known = table::is_known_at(&app.pool, email, client_id(client)).await;
    known.inspect_err(|error| tracing::debug!(%error, "looking for earlier sign-ins")).unwrap_or(false)
}

/// What stands for a client's address where it is kept.
pub fn client_id(client: IpAddr) -> Uuid {
    named(&peer::counted(client).to_string())
}

fn named(name: &str) -> Uuid {
    Uuid::new_v5(&COUNTED, name.as_bytes())
}

impl Drop for SignIn {
    fn drop(&mut self) {
        if !self.tried.is_empty() {
            drop(self.end(Outcome::Untried));
        }
    }
}

/// Nothing while rate limits are off.
fn counted(app: &App, email: &str, client: IpAddr) -> impl Iterator<Item = Counted> {
    let (limits, at) = (&app.config.limits, client_id(client));
    let of_account = Counted {
        of: named(&format!("{at} {email}")),
        free: limits.sign_in_failures,
        wait_max: limits.sign_in_wait_max,
        decay: limits.sign_in_wait_max,
        forgives: true,
    };
    let shared = Counted {
        wait_max: limits.sign_in_shared_wait_max,
        decay: SHARED_DECAY,
        forgives: false,
        ..of_account
    };
    let account = Counted { of: named(email), free: limits.sign_in_failures_account, ..shared };
    let address = Counted { of: at, free: limits.sign_in_failures_address, ..shared };
    [of_account, account, address].into_iter().filter(|_| limits.rates.is_some())
}

/// How long it must wait, if it must; `None` when nobody can tell.
async fn attempt(app: &App, one: Counted) -> Option<(Counted, Option<Duration>)> {
    let script = |space: &Space| Attempt {
        failures: store::failures(space, one.of),
        free: one.free,
        decay_ms: one.decay.as_millis(),
        try_ms: TRY_MAX.as_millis(),
        keep_ms: one.keep_ms(),
    };
    let reply: Result<Reply, Error> = app.journal.ask(app.journal.shards.of(one.of), script).await;
    match reply {
        Ok(reply) if reply.word() == "done" => Some((one, None)),
        Ok(reply) => {
            let wait = reply.int(0).ok().and_then(|ms| u64::try_from(ms).ok()).unwrap_or(1_000);
            Some((one, Some(Duration::from_millis(wait))))
        }
        Err(error) => {
            tracing::warn!(%error, "failed sign-ins are not counted");
            None
        }
    }
}

async fn settle(app: &App, tried: Vec<Counted>, outcome: Outcome) {
    let settled = tried.into_iter().map(|one| async move {
        let word = match outcome {
            Outcome::Failed => "failed",
            Outcome::Succeeded if one.forgives => "succeeded",
            Outcome::Succeeded | Outcome::Untried => "untried",
        };
        let script = |space: &Space| Settle {
            failures: store::failures(space, one.of),
            outcome: word.to_owned(),
            free: one.free,
            wait_max_ms: one.wait_max.as_millis(),
            decay_ms: one.decay.as_millis(),
            keep_ms: one.keep_ms(),
        };
        if let Err(error) = app.journal.ask(app.journal.shards.of(one.of), script).await {
            tracing::warn!(%error, "the end of a sign-in is not counted");
        }
    });
    join_all(settled).await;
}
