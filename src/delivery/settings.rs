//! The file that says who is told what (`ONRUSH_DELIVERY`).

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::address;
use super::notice::KINDS;
use super::table::breaker::Rule;

/// Endpoints and how they are treated.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delivery {
    /// Who is told.
    pub endpoints: Vec<Endpoint>,
    /// Pauses after failed tries, each ± 20 %; after one more the message is dead.
    #[serde(default = "retry_seconds")]
    retry_seconds: Vec<f64>,
    /// How long a connection may take to be made.
    #[serde(default = "connect_timeout_ms")]
    connect_timeout_ms: u64,
    /// How long a try may take.
    #[serde(default = "timeout_ms")]
    timeout_ms: u64,
    /// Failures in a row that open an endpoint's breaker.
    #[serde(default = "breaker_failures")]
    breaker_failures: i64,
    /// How long it is open at first; each further failure doubles it, up to sixteen times.
    #[serde(default = "breaker_seconds")]
    breaker_seconds: f64,
}

fn retry_seconds() -> Vec<f64> {
    vec![5.0, 30.0, 120.0, 600.0, 3_600.0, 18_000.0, 36_000.0]
}

fn connect_timeout_ms() -> u64 {
    3_000
}

fn timeout_ms() -> u64 {
    10_000
}

fn breaker_failures() -> i64 {
    5
}

fn breaker_seconds() -> f64 {
    5.0
}

/// Somebody who is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Its name in logs, metrics and tables.
    pub name: String,
    /// What it is told.
    pub kinds: BTreeSet<String>,
    /// Where.
    pub to: Destination,
}

/// Where messages go.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Destination {
    /// A POST, signed as Standard Webhooks says.
    Webhook {
        /// An `https` URL.
        #[serde(deserialize_with = "url")]
        url: Url,
        /// `whsec_` and the key in base64, 24 to 64 bytes.
        secret: SecretString,
        /// Private and loopback addresses may be asked, and `http` as well.
        #[serde(default)]
        allow_private: bool,
    },
    /// A topic, keyed by aggregate.
    Kafka {
        /// Brokers, `host:port`, by commas.
        brokers: String,
        /// The topic.
        topic: String,
    },
}

fn url<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

impl Delivery {
    /// Reads the file's text; the errors name all mistakes.
    pub fn read(text: &str) -> Result<Self, Vec<String>> {
        let read: Self = serde_json::from_str(text).map_err(|error| vec![error.to_string()])?;
        let mut mistakes = Vec::new();
        let mut names = BTreeSet::new();
        for endpoint in &read.endpoints {
            let name = &endpoint.name;
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if !(1..=64).contains(&name.len()) || !name.bytes().all(is_name) {
                mistakes.push(format!("{name:?} is no name: letters, digits, - and _, 64 at most"));
            }
            if !names.insert(name) {
                mistakes.push(format!("{name} is there twice"));
            }
            for kind in endpoint.kinds.iter().filter(|kind| !KINDS.contains(&kind.as_str())) {
                mistakes.push(format!("{name}: {kind:?} is no kind; there are {}", KINDS.join(", ")));
            }
            mistakes.extend(endpoint.to.mistakes().into_iter().map(|mistake| format!("{name}: {mistake}")));
        }
        if read.retry_seconds.iter().any(|pause| !(0.01..=604_800.0).contains(pause)) {
            mistakes.push("retrySeconds must be between 0.01 and 604800".into());
        }
        if !(0.01..=3_600.0).contains(&read.breaker_seconds) || read.breaker_failures < 1 {
            mistakes.push("breakerSeconds must be between 0.01 and 3600, breakerFailures at least 1".into());
        }
        if !(10..=60_000).contains(&read.timeout_ms) || !(10..=60_000).contains(&read.connect_timeout_ms) {
            mistakes.push("timeoutMs and connectTimeoutMs must be between 10 and 60000".into());
        }
        if mistakes.is_empty() { Ok(read) } else { Err(mistakes) }
    }

    /// How long a connection may take to be made.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// How long a try may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// How long a claim is good: no try of it runs that long.
    pub fn lease(&self) -> Duration {
        self.timeout() * 2 + Duration::from_secs(1)
    }

    /// The pause after so many failed tries; `None` when there is to be no other.
    pub fn pause(&self, tries: i32) -> Option<Duration> {
        let at = usize::try_from(tries).ok()?.checked_sub(1)?;
        self.retry_seconds.get(at).map(|seconds| Duration::from_secs_f64(seconds * jitter()))
    }

    /// When breakers open, and for how long.
    pub fn breaker(&self) -> Rule {
        Rule { failures: self.breaker_failures, seconds: self.breaker_seconds * jitter() }
    }
}

/// ± 20 %.
fn jitter() -> f64 {
    0.8 + 0.4 * fastrand::f64()
}

impl Destination {
    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        match self {
            Self::Webhook { url, secret, allow_private } => {
                if url.scheme() != "https" && !(url.scheme() == "http" && *allow_private) {
                    mistakes.push(format!("{} is not https", url.scheme()));
                }
                if !url.username().is_empty() || url.password().is_some() {
                    mistakes.push("the URL holds a user; the signature says who we are".into());
                }
                if !allow_private && let Some(refused) = address::refused_literal(url) {
                    mistakes.push(format!("{refused} is a private address (allowPrivate)"));
                }
                let key = secret.expose_secret().strip_prefix("whsec_").and_then(decoded);
                if !key.is_some_and(|key| (24..=64).contains(&key.len())) {
                    mistakes.push("secret must be whsec_ and 24 to 64 bytes in base64".into());
                }
            }
            Self::Kafka { brokers, topic } => {
                if cfg!(not(feature = "kafka")) {
                    mistakes.push("this build has no Kafka (feature `kafka`)".into());
                }
                if brokers.is_empty() || topic.is_empty() {
                    mistakes.push("brokers and topic must not be empty".into());
                }
            }
        }
        mistakes
    }
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(endpoint: &str) -> Result<Delivery, Vec<String>> {
        Delivery::read(&format!("{{\"endpoints\": [{endpoint}]}}"))
    }

    #[test]
    fn an_endpoint_has_a_name_kinds_a_good_address_and_a_long_secret() {
        let secret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let good = |url: &str, more: &str| {
            format!(
                r#"{{"name":"a","kinds":["order.placed"],
                    "to":{{"webhook":{{"url":"{url}","secret":"{secret}"{more}}}}}}}"#
            )
        };
        assert!(read(&good("https://example.com/hook", "")).is_ok());
        assert!(read(&good("http://127.0.0.1:9/x", r#","allowPrivate":true"#)).is_ok());
        for (wrong, word) in [
            (good("http://example.com", ""), "https"),
            (good("https://127.0.0.1", ""), "private"),
            (good("https://[::ffff:10.0.0.1]", ""), "private"),
            (good("https://u:p@example.com", ""), "user"),
            (good("https://example.com", "").replace("order.placed", "x"), "no kind"),
            (good("https://example.com", "").replace("whsec_A", "A"), "whsec_"),
            (good("https://example.com", "").replace("\"a\"", "\"a b\""), "no name"),
        ] {
            let mistakes = read(&wrong).err().unwrap().join("\n");
            assert!(mistakes.contains(word), "{word}: {mistakes}");
        }
        assert!(Delivery::read(r#"{"endpoints": [], "retrySecond": [1]}"#).is_err(), "a misspelt setting");
    }

    #[test]
    fn pauses_grow_with_a_fifth_of_jitter_and_end() {
        let delivery = Delivery::read(r#"{"endpoints": []}"#).unwrap();
        for (tries, seconds) in [(1, 5.0), (2, 30.0), (5, 3_600.0), (7, 36_000.0)] {
            for _ in 0..100 {
                let pause = delivery.pause(tries).unwrap().as_secs_f64();
                assert!((seconds * 0.8..seconds * 1.2).contains(&pause), "{tries}: {pause}");
            }
        }
        assert_eq!((delivery.pause(0), delivery.pause(8)), (None, None));
    }
}
