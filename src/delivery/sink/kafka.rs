//! A Kafka topic: a record a message, keyed by aggregate, so that its order is that of the partition.
//! `acks=all` and an idempotent producer; a record whose outcome is unknown is sent again, with the same id.

use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::{Failure, wire_id};
use crate::delivery::settings::Delivery;
use crate::delivery::table::Message;

/// What a topic answers when it has a record.
const STORED: u16 = 200;

/// An endpoint that is a topic.
pub struct Kafka {
    producer: FutureProducer,
    topic: String,
    timeout: std::time::Duration,
}

impl Kafka {
    /// Makes the producer, which connects by itself.
    pub fn new(brokers: &str, topic: &str, delivery: &Delivery) -> anyhow::Result<Self> {
        let timeout = delivery.timeout();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("client.id", "onrush")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "1")
            .set("message.timeout.ms", timeout.as_millis().to_string())
            .create()?;
        Ok(Self { producer, topic: topic.to_owned(), timeout })
    }

    /// One record.
    pub async fn send(&self, message: &Message) -> Result<u16, Failure> {
        let (id, key) = (wire_id(message.message_id), message.aggregate.to_string());
        let headers = OwnedHeaders::new()
            .insert(Header { key: "webhook-id", value: Some(id.as_str()) })
            .insert(Header { key: "onrush-kind", value: Some(message.kind.as_str()) });
        let record = FutureRecord::to(&self.topic)
            .key(&key)
            .payload(&message.body)
            .timestamp(message.at.timestamp_millis())
            .headers(headers);
        match self.producer.send(record, self.timeout).await {
            Ok(_) => Ok(STORED),
            Err((error, _)) => Err(match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidRecord) => {
                    Failure::messages(error)
                }
                _ => Failure::endpoints(error),
            }),
        }
    }
}
