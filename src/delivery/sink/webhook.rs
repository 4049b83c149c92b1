//! POSTs in the form of Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`; besides,
//! `onrush-kind` and `onrush-aggregate` (whose messages come in order). No redirect is followed and no proxy
//! is asked.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

use super::{Failure, wire_id};
use crate::delivery::address::PublicOnly;
use crate::delivery::settings::Delivery;
use crate::delivery::table::Message;

/// An endpoint behind a URL.
pub struct Webhook {
    client: Client,
    url: Url,
    signer: standardwebhooks::Webhook,
}

impl Webhook {
    /// Makes the client; nothing is asked yet.
    pub fn new(
        url: &Url,
        secret: &SecretString,
        allow_private: bool,
        delivery: &Delivery,
    ) -> anyhow::Result<Self> {
        let mut client = Client::builder()
            .connect_timeout(delivery.connect_timeout())
            .timeout(delivery.timeout())
            .redirect(Policy::none())
            .no_proxy()
            .user_agent(concat!("onrush/", env!("CARGO_PKG_VERSION")));
        if !allow_private {
            client = client.https_only(true).dns_resolver(Arc::new(PublicOnly));
        }
        let signer = standardwebhooks::Webhook::new(secret.expose_secret())?;
        Ok(Self { client: client.build()?, url: url.clone(), signer })
    }

    /// One POST.
    pub async fn send(&self, message: &Message) -> Result<u16, Failure> {
        let (id, now) = (wire_id(message.message_id), Utc::now().timestamp());
        let signature = self.signer.sign(&id, now, message.body.as_bytes()).map_err(Failure::endpoints)?;
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(standardwebhooks::HEADER_WEBHOOK_ID, id)
            .header(standardwebhooks::HEADER_WEBHOOK_TIMESTAMP, now)
            .header(standardwebhooks::HEADER_WEBHOOK_SIGNATURE, signature)
            .header("onrush-kind", &message.kind)
            .header("onrush-aggregate", message.aggregate.to_string())
            .body(message.body.clone());
        let answer = request.send().await.map_err(why)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(status.as_u16());
        }
        let not_before = patience(answer.headers());
        Err(Failure { why: status.to_string(), is_endpoints: !is_about_the_message(status), not_before })
    }
}

/// `Retry-After` in seconds, a day at most.
fn patience(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0).min(86_400))
}

/// The receiver is there and did not like this body.
fn is_about_the_message(status: StatusCode) -> bool {
    [
        StatusCode::BAD_REQUEST,
        StatusCode::CONFLICT,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        StatusCode::UNPROCESSABLE_ENTITY,
    ]
    .contains(&status)
}

/// The chain of causes, without the URL: it may hold a secret.
fn why(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let mut words = vec![error.to_string()];
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        words.push(next.to_string());
        cause = next.source();
    }
    words.dedup();
    Failure::endpoints(words.join(": "))
}
