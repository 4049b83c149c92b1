//! Where messages go: one try each.

#[cfg(feature = "kafka")]
mod kafka;
mod webhook;

use std::time::Duration;

use uuid::Uuid;

use super::settings::{Delivery, Destination, Endpoint};
use super::table::Message;

/// Why a try failed, and whom that speaks of.
#[derive(Debug)]
pub struct Failure {
    /// For the log and the operator; without the receiver's own words.
    pub why: String,
    /// Another message would have fared no better: the breaker counts it.
    pub is_endpoints: bool,
    /// The receiver asks for so much patience.
    pub not_before: Duration,
}

impl Failure {
    /// The endpoint is away or refuses whatever comes.
    pub fn endpoints(why: impl ToString) -> Self {
        Self { why: why.to_string(), is_endpoints: true, not_before: Duration::ZERO }
    }

    /// The endpoint is there and does not like this message.
    #[cfg(feature = "kafka")]
    pub fn messages(why: impl ToString) -> Self {
        Self { is_endpoints: false, ..Self::endpoints(why) }
    }
}

/// A connection to an endpoint.
pub enum Sink {
    /// Signed POSTs.
    Webhook(webhook::Webhook),
    /// A topic.
    #[cfg(feature = "kafka")]
    Kafka(kafka::Kafka),
}

impl Sink {
    /// Makes one; nothing is asked yet.
    pub fn new(endpoint: &Endpoint, delivery: &Delivery) -> anyhow::Result<Self> {
        match &endpoint.to {
            Destination::Webhook { url, secret, allow_private } => {
                webhook::Webhook::new(url, secret, *allow_private, delivery).map(Self::Webhook)
            }
            #[cfg(feature = "kafka")]
            Destination::Kafka { brokers, topic } => {
                kafka::Kafka::new(brokers, topic, delivery).map(Self::Kafka)
            }
            #[cfg(not(feature = "kafka"))]
            Destination::Kafka { .. } => anyhow::bail!("this build has no Kafka (feature `kafka`)"),
        }
    }

    /// Tries once; what it says in return, where it says anything.
    pub async fn send(&self, message: &Message) -> Result<u16, Failure> {
        match self {
            Self::Webhook(webhook) => webhook.send(message).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => kafka.send(message).await,
        }
    }
}

/// A message's id as receivers see it.
pub fn wire_id(message: Uuid) -> String {
    format!("msg_{message}")
}
