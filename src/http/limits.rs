//! How often a client may ask: a bucket of tokens for each user and for each address, by class of request
//! (GCRA, by `governor`), told in `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
//!
//! Each instance counts for itself: a shared count would cost a round trip at every poll, and what is at
//! stake is this instance's time. Only signing in is counted together, in Redis (see `accounts`). A bucket
//! that is full again is dropped every few seconds, so there are as many as clients of the last moments.

use std::fmt::Write;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::peer;
use crate::error::Error;
use crate::ids::UserId;
use crate::metrics;

/// The current place in all buckets.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The buckets.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Requests that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Probes, which must not be refused: not counted.
    Free,
    /// What reads.
    Reads,
    /// How a ticket stands.
    Polls,
    /// Taking a place in a queue.
    Joins,
    /// What writes.
    Writes,
    /// Signing in, refreshing.
    SignIns,
    /// Signing up.
    SignUps,
}

impl Class {
    const COUNTED: [Class; 6] =
        [Class::Reads, Class::Polls, Class::Joins, Class::Writes, Class::SignIns, Class::SignUps];

    fn word(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Reads => "reads",
            Self::Polls => "polls",
            Self::Joins => "joins",
            Self::Writes => "writes",
            Self::SignIns => "sign-ins",
            Self::SignUps => "sign-ups",
        }
    }
}

/// So many at once, and so many a second in the long run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    per_second: f64,
    burst: NonZeroU32,
}

impl Rate {
    fn quota(self) -> Option<Quota> {
        let period = Duration::try_from_secs_f64(1.0 / self.per_second).ok()?;
        Quota::with_period(period).map(|quota| quota.allow_burst(self.burst))
    }

    /// Seconds in which so many tokens come back.
    fn seconds(self, tokens: u32) -> u64 {
        (f64::from(tokens) / self.per_second).ceil() as u64
    }
}

impl FromStr for Rate {
    type Err = ();

    /// `5/25`: five a second, twenty-five at once.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (rate, burst) = text.split_once('/').ok_or(())?;
        let rate = Self { per_second: rate.parse().map_err(|_| ())?, burst: burst.parse().map_err(|_| ())? };
        let possible = rate.per_second > 0.0 && rate.per_second <= 1e6;
        if possible && rate.quota().is_some() { Ok(rate) } else { Err(()) }
    }
}

/// What each user and each address may in a class; `None` is as often as they like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Allowance {
    user: Option<Rate>,
    address: Option<Rate>,
}

impl FromStr for Allowance {
    type Err = ();

    /// `user=5/25,address=2000/5000`; either may be missing; `off` is none.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut allowance = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty() && *part != "off") {
            match part.split_once('=').ok_or(())? {
                ("user", rate) => allowance.user = Some(rate.parse()?),
                ("address", rate) => allowance.address = Some(rate.parse()?),
                _ => return Err(()),
            }
        }
        Ok(allowance)
    }
}

/// What is allowed in each class that is counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowances {
    /// What reads.
    pub reads: Allowance,
    /// How a ticket stands.
    pub polls: Allowance,
    /// Taking a place in a queue.
    pub joins: Allowance,
    /// What writes.
    pub writes: Allowance,
    /// Signing in, refreshing.
    pub sign_ins: Allowance,
    /// Signing up.
    pub sign_ups: Allowance,
}

struct Buckets<K: Hash + Eq + Clone> {
    /// `polls-user`.
    name: String,
    rate: Rate,
    buckets: RateLimiter<K, DashMapStateStore<K>, MonotonicClock, StateInformationMiddleware>,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    fn new(class: Class, of: &str, rate: Rate) -> Option<Self> {
        let store = DashMapStateStore::default();
        let buckets = RateLimiter::new(rate.quota()?, store, MonotonicClock);
        Some(Self { name: format!("{}-{of}", class.word()), rate, buckets })
    }

    fn policy(&self) -> String {
        format!("\"{}\";q={};w={}", self.name, self.rate.burst, self.rate.seconds(self.rate.burst.get()))
    }

    /// What is left after this request; or how long to wait.
    fn take(&self, key: &K) -> Result<u32, Duration> {
        match self.buckets.check_key(key) {
            Ok(state) => Ok(state.remaining_burst_capacity()),
            Err(not_yet) => Err(not_yet.wait_time_from(MonotonicClock.now())),
        }
    }

    fn forget_full(&self) {
        self.buckets.retain_recent();
        self.buckets.shrink_to_fit();
    }
}

/// The buckets of a class.
pub struct ClassLimits {
    class: Class,
    users: Option<Buckets<UserId>>,
    addresses: Option<Buckets<IpAddr>>,
    policy: HeaderValue,
}

impl ClassLimits {
    fn new(class: Class, allowance: Allowance) -> Option<Self> {
        let users = allowance.user.and_then(|rate| Buckets::new(class, "user", rate));
        let addresses = allowance.address.and_then(|rate| Buckets::new(class, "address", rate));
        let policies = [users.as_ref().map(Buckets::policy), addresses.as_ref().map(Buckets::policy)];
        let policy = policies.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let policy = HeaderValue::from_str(&policy).ok().filter(|policy| !policy.is_empty())?;
        Some(Self { class, users, addresses, policy })
    }
}

/// All buckets of this instance.
#[derive(Default)]
pub struct Limits(Vec<ClassLimits>);

impl Limits {
    /// Empty when nothing is limited.
    pub fn new(allowances: Option<&Allowances>) -> Self {
        let Some(allowed) = allowances else { return Self::default() };
        let each =
            [allowed.reads, allowed.polls, allowed.joins, allowed.writes, allowed.sign_ins, allowed.sign_ups];
        let classes = Class::COUNTED.into_iter().zip(each);
        Self(classes.filter_map(|(class, allowance)| ClassLimits::new(class, allowance)).collect())
    }

    /// The buckets of a class, where it is limited.
    pub fn of(&self, class: Class) -> Option<&ClassLimits> {
        self.0.iter().find(|limits| limits.class == class)
    }

    /// Drops buckets that are full again. One step of the schedule.
    pub fn forget_full(&self) {
        for limits in &self.0 {
            limits.users.iter().for_each(Buckets::forget_full);
            limits.addresses.iter().for_each(Buckets::forget_full);
        }
    }
}

/// How a request stands with its buckets.
#[derive(Default)]
pub struct Standing {
    policy: Option<HeaderValue>,
    told: String,
}

impl Standing {
    /// Takes a token of the client's address.
    pub fn spend_address(&mut self, limits: &ClassLimits, client: IpAddr) -> Result<(), Error> {
        self.policy = Some(limits.policy.clone());
        self.spend(limits, limits.addresses.as_ref(), &peer::counted(client))
    }

    /// Takes a token of the user.
    pub fn spend_user(&mut self, limits: &ClassLimits, user: UserId) -> Result<(), Error> {
        self.spend(limits, limits.users.as_ref(), &user)
    }

    fn spend<K: Hash + Eq + Clone>(
        &mut self,
        limits: &ClassLimits,
        buckets: Option<&Buckets<K>>,
        key: &K,
    ) -> Result<(), Error> {
        let Some(buckets) = buckets else { return Ok(()) };
        let taken = buckets.take(key);
        let left = *taken.as_ref().unwrap_or(&0);
        let back = buckets.rate.seconds(buckets.rate.burst.get().saturating_sub(left));
        let comma = if self.told.is_empty() { "" } else { ", " };
        // A String takes whatever is written.
        let _ = write!(self.told, "{comma}\"{}\";r={left};t={back}", buckets.name);
        taken.map(drop).map_err(|wait| {
            metrics::limited(limits.class.word());
            Error::rate_limited(wait)
        })
    }

    /// Tells the client.
    pub fn tell(self, headers: &mut HeaderMap) {
        let Some(policy) = self.policy else { return };
        headers.insert(RATE_LIMIT_POLICY, policy);
        if let Ok(told) = HeaderValue::from_str(&self.told) {
            headers.insert(RATE_LIMIT, told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_read_whole_or_not_at_all() {
        let both: Allowance = "user=5/25, address=0.5/10".parse().unwrap();
        assert_eq!(both.user, "5/25".parse().ok());
        assert_eq!(both.address.map(|rate| rate.seconds(10)), Some(20));
        assert_eq!("off".parse(), Ok(Allowance::default()));
        for wrong in ["5/25", "user=5", "user=0/1", "user=1/0", "user=-1/1", "user=x/1", "who=1/1"] {
            assert!(wrong.parse::<Allowance>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_who_asks_too_often_waits_and_costs_the_others_nothing() {
        let polls = "user=0.001/2".parse().unwrap();
        let limits = Limits::new(Some(&Allowances { polls, ..Allowances::default() }));
        let polls = limits.of(Class::Polls).unwrap();
        assert!(limits.of(Class::Reads).is_none());
        let (greedy, patient) = (UserId::mint(), UserId::mint());
        for left in [1, 0] {
            let mut standing = Standing::default();
            standing.spend_user(polls, greedy).unwrap();
            assert!(standing.told.starts_with(&format!("\"polls-user\";r={left};")), "{}", standing.told);
        }
        assert!(Standing::default().spend_user(polls, greedy).is_err());
        limits.forget_full();
        assert!(Standing::default().spend_user(polls, greedy).is_err(), "what is not full is not forgotten");
        assert!(Standing::default().spend_user(polls, patient).is_ok());
    }
}
