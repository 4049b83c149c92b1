//! Settings of how much a client may: rates, connections, sizes, times.

use std::time::Duration;

use clap::Args;

use crate::http::limits::{Allowance, Allowances};
use crate::http::peer::Proxies;

/// Settings of limits. A rate is `5/25`: five a second in the long run, twenty-five at once.
#[derive(Args, Clone, Debug)]
pub struct LimitSettings {
    /// Rate limits; `off` is for load tests.
    #[arg(long, env = "ONRUSH_LIMITS", default_value = "on", value_parser = ["on", "off"])]
    pub limits: String,
    /// What each user and each address may read: user=RATE/BURST,address=RATE/BURST, either or `off`.
    #[arg(
        long,
        env = "ONRUSH_LIMIT_READS",
        default_value = "user=20/100,address=1000/3000",
        value_name = "RATES"
    )]
    pub limit_reads: String,
    /// How often a ticket may be polled, and the tickets of an address.
    #[arg(
        long,
        env = "ONRUSH_LIMIT_POLLS",
        default_value = "user=5/25,address=2000/5000",
        value_name = "RATES"
    )]
    pub limit_polls: String,
    /// How often queues may be joined.
    #[arg(
        long,
        env = "ONRUSH_LIMIT_JOINS",
        default_value = "user=1/10,address=200/1000",
        value_name = "RATES"
    )]
    pub limit_joins: String,
    /// How often anything else may be written.
    #[arg(
        long,
        env = "ONRUSH_LIMIT_WRITES",
        default_value = "user=10/50,address=500/1500",
        value_name = "RATES"
    )]
    pub limit_writes: String,
    /// How often an address may sign in and refresh.
    #[arg(long, env = "ONRUSH_LIMIT_SIGN_INS", default_value = "address=20/100", value_name = "RATES")]
    pub limit_sign_ins: String,
    /// How often an address may sign up.
    #[arg(long, env = "ONRUSH_LIMIT_SIGN_UPS", default_value = "address=2/30", value_name = "RATES")]
    pub limit_sign_ups: String,
    /// Failed sign-ins of an account from one address, before each next one must wait: 1 s, 2 s, 4 s …
    #[arg(long, env = "ONRUSH_SIGN_IN_FAILURES", default_value_t = 5, value_name = "COUNT")]
    pub sign_in_failures: u32,
    /// Failed sign-ins of an account from anywhere, likewise; one is forgotten each 10 s.
    #[arg(long, env = "ONRUSH_SIGN_IN_FAILURES_ACCOUNT", default_value_t = 50, value_name = "COUNT")]
    pub sign_in_failures_account: u32,
    /// Failed sign-ins of an address, likewise.
    #[arg(long, env = "ONRUSH_SIGN_IN_FAILURES_ADDRESS", default_value_t = 50, value_name = "COUNT")]
    pub sign_in_failures_address: u32,
    /// The longest wait for an account from one address; so often one of its failures is forgotten.
    #[arg(long, env = "ONRUSH_SIGN_IN_WAIT_MAX_SECONDS", default_value_t = 300, value_name = "SECONDS")]
    pub sign_in_wait_max_seconds: u32,
    /// The longest wait for an account from anywhere, and for an address: others share it.
    #[arg(
        long,
        env = "ONRUSH_SIGN_IN_SHARED_WAIT_MAX_SECONDS",
        default_value_t = 10,
        value_name = "SECONDS"
    )]
    pub sign_in_shared_wait_max_seconds: u32,
    /// Passwords that may wait to be hashed; beyond that a sign-in is refused as busy at once.
    #[arg(long, env = "ONRUSH_PASSWORDS_WAITING_MAX", default_value_t = 16, value_name = "COUNT")]
    pub passwords_waiting_max: usize,
    /// Networks of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8; nobody's unless set.
    #[arg(long, env = "ONRUSH_TRUSTED_PROXIES", default_value = "", value_name = "NETWORKS")]
    pub trusted_proxies: String,
    /// The largest request body.
    #[arg(long, env = "ONRUSH_BODY_BYTES_MAX", default_value_t = 65_536, value_name = "BYTES")]
    pub body_bytes_max: usize,
    /// The largest request head: request line and headers together.
    #[arg(long, env = "ONRUSH_HEAD_BYTES_MAX", default_value_t = 32_768, value_name = "BYTES")]
    pub head_bytes_max: usize,
    /// The longest path with its query.
    #[arg(long, env = "ONRUSH_URI_BYTES_MAX", default_value_t = 4_096, value_name = "BYTES")]
    pub uri_bytes_max: usize,
    /// How long a request's head may take, and an open connection be idle.
    #[arg(long, env = "ONRUSH_HEAD_TIMEOUT_SECONDS", default_value_t = 30, value_name = "SECONDS")]
    pub head_timeout_seconds: u64,
    /// How long a request's body may take.
    #[arg(long, env = "ONRUSH_BODY_TIMEOUT_SECONDS", default_value_t = 30, value_name = "SECONDS")]
    pub body_timeout_seconds: u64,
    /// How long an answer may take.
    #[arg(long, env = "ONRUSH_REQUEST_TIMEOUT_SECONDS", default_value_t = 30, value_name = "SECONDS")]
    pub request_timeout_seconds: u64,
    /// How long a client may leave what was sent unread.
    #[arg(long, env = "ONRUSH_UNREAD_TIMEOUT_SECONDS", default_value_t = 30, value_name = "SECONDS")]
    pub unread_timeout_seconds: u64,
    /// Event streams that one user may have open on an instance.
    #[arg(long, env = "ONRUSH_STREAMS_USER_MAX", default_value_t = 3, value_name = "COUNT")]
    pub streams_user_max: usize,
    /// Connections that clients may have open.
    #[arg(long, env = "ONRUSH_CONNECTIONS_MAX", default_value_t = 20_000, value_name = "COUNT")]
    pub connections_max: usize,
    /// Connections that one address may have open, unless it is a trusted proxy's.
    #[arg(long, env = "ONRUSH_CONNECTIONS_ADDRESS_MAX", default_value_t = 1_000, value_name = "COUNT")]
    pub connections_address_max: usize,
}

/// Checked limits.
#[derive(Clone, Debug)]
pub struct Limited {
    /// What clients may; `None` when rate limits are off.
    pub rates: Option<Allowances>,
    /// Failed sign-ins of an account from one address before each next one must wait.
    pub sign_in_failures: u32,
    /// Failed sign-ins of an account from anywhere before each next one must wait.
    pub sign_in_failures_account: u32,
    /// Failed sign-ins of an address before each next one must wait.
    pub sign_in_failures_address: u32,
    /// The longest wait for an account from one address.
    pub sign_in_wait_max: Duration,
    /// The longest wait for what is shared with others.
    pub sign_in_shared_wait_max: Duration,
    /// Passwords that may wait to be hashed.
    pub passwords_waiting_max: usize,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Proxies,
    /// The largest request body, in bytes.
    pub body_bytes_max: usize,
    /// The largest request head, in bytes.
    pub head_bytes_max: usize,
    /// The longest path with its query, in bytes.
    pub uri_bytes_max: usize,
    /// How long a request's head may take.
    pub head_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
    /// How long an answer may take.
    pub request_timeout: Duration,
    /// How long a client may leave what was sent unread.
    pub unread_timeout: Duration,
    /// Event streams that one user may have open; `None` when rate limits are off.
    pub streams_user_max: Option<usize>,
    /// Connections that clients may have open.
    pub connections_max: usize,
    /// Connections that one address may have open; `None` when rate limits are off.
    pub connections_address_max: Option<usize>,
}

impl Limited {
    /// `on`, or `off` when nothing is counted.
    pub fn word(&self) -> &'static str {
        if self.rates.is_some() { "on" } else { "off" }
    }
}

impl LimitSettings {
    /// Checks each; a sentence for each mistake.
    pub fn check(&self) -> Result<Limited, Vec<String>> {
        let mut mistakes = Vec::new();
        let mut rates = |name: &str, text: &str| {
            text.parse::<Allowance>().unwrap_or_else(|()| {
                let good = "rates such as user=5/25,address=100/500, or off";
                mistakes.push(format!("ONRUSH_LIMIT_{name} is {text:?}, not {good}"));
                Allowance::default()
            })
        };
        let allowances = Allowances {
            reads: rates("READS", &self.limit_reads),
            polls: rates("POLLS", &self.limit_polls),
            joins: rates("JOINS", &self.limit_joins),
            writes: rates("WRITES", &self.limit_writes),
            sign_ins: rates("SIGN_INS", &self.limit_sign_ins),
            sign_ups: rates("SIGN_UPS", &self.limit_sign_ups),
        };
        let proxies = Proxies::parse(&self.trusted_proxies);
        let smallest = [
            ("SIGN_IN_FAILURES", u64::from(self.sign_in_failures), 1),
            ("SIGN_IN_SHARED_WAIT_MAX_SECONDS", u64::from(self.sign_in_shared_wait_max_seconds), 1),
            ("SIGN_IN_FAILURES_ACCOUNT", u64::from(self.sign_in_failures_account), 1),
            ("SIGN_IN_FAILURES_ADDRESS", u64::from(self.sign_in_failures_address), 1),
            ("SIGN_IN_WAIT_MAX_SECONDS", u64::from(self.sign_in_wait_max_seconds), 1),
            ("PASSWORDS_WAITING_MAX", self.passwords_waiting_max as u64, 1),
            ("BODY_BYTES_MAX", self.body_bytes_max as u64, 1_024),
            ("HEAD_BYTES_MAX", self.head_bytes_max as u64, 8_192),
            ("URI_BYTES_MAX", self.uri_bytes_max as u64, 256),
            ("HEAD_TIMEOUT_SECONDS", self.head_timeout_seconds, 1),
            ("BODY_TIMEOUT_SECONDS", self.body_timeout_seconds, 1),
            ("REQUEST_TIMEOUT_SECONDS", self.request_timeout_seconds, 1),
            ("UNREAD_TIMEOUT_SECONDS", self.unread_timeout_seconds, 1),
            ("STREAMS_USER_MAX", self.streams_user_max as u64, 1),
            ("CONNECTIONS_MAX", self.connections_max as u64, 1),
            ("CONNECTIONS_ADDRESS_MAX", self.connections_address_max as u64, 1),
        ];
        let too_small = smallest.iter().filter(|(_, value, least)| value < least);
        mistakes.extend(too_small.map(|(name, _, least)| format!("ONRUSH_{name} must be at least {least}")));
        match proxies {
            Some(proxies) if mistakes.is_empty() => Ok(self.checked(allowances, proxies)),
            Some(_) => Err(mistakes),
            None => {
                let good = "networks or addresses, separated by commas";
                mistakes.push(format!("ONRUSH_TRUSTED_PROXIES is {:?}, not {good}", self.trusted_proxies));
                Err(mistakes)
            }
        }
    }

    fn checked(&self, allowances: Allowances, trusted_proxies: Proxies) -> Limited {
        let on = self.limits == "on";
        Limited {
            rates: on.then_some(allowances),
            sign_in_failures: self.sign_in_failures,
            sign_in_failures_account: self.sign_in_failures_account,
            sign_in_failures_address: self.sign_in_failures_address,
            sign_in_wait_max: Duration::from_secs(self.sign_in_wait_max_seconds.into()),
            sign_in_shared_wait_max: Duration::from_secs(self.sign_in_shared_wait_max_seconds.into()),
            passwords_waiting_max: self.passwords_waiting_max,
            trusted_proxies,
            body_bytes_max: self.body_bytes_max,
            head_bytes_max: self.head_bytes_max,
            uri_bytes_max: self.uri_bytes_max,
            head_timeout: Duration::from_secs(self.head_timeout_seconds),
            body_timeout: Duration::from_secs(self.body_timeout_seconds),
            request_timeout: Duration::from_secs(self.request_timeout_seconds),
            unread_timeout: Duration::from_secs(self.unread_timeout_seconds),
            streams_user_max: on.then_some(self.streams_user_max),
            connections_max: self.connections_max,
            connections_address_max: on.then_some(self.connections_address_max),
        }
    }
}
