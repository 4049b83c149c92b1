//! What servers say of themselves, for whoever looks after them.

use std::collections::HashMap;

use fred::types::Value;

use super::server::{ask, info_of};
use super::{Redis, RedisError};

/// Settings that servers are asked for.
pub const SETTINGS: [&str; 3] = ["appendfsync", "auto-aof-rewrite-min-size", "rdbcompression"];

/// One server's own words.
#[derive(Clone, Debug, Default)]
pub struct ServerReport {
    /// `host:port`.
    pub address: String,
    /// How far its clock is ahead of ours, in milliseconds.
    pub ahead_ms: i64,
    /// The lines of INFO.
    info: HashMap<String, String>,
    /// Of CONFIG GET.
    settings: HashMap<String, String>,
}

impl ServerReport {
    /// A line of INFO; empty where it is missing.
    pub fn info(&self, name: &str) -> &str {
        self.info.get(name).map(String::as_str).unwrap_or_default()
    }

    /// One of [`SETTINGS`]; `None` where CONFIG is not allowed.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }
}

impl Redis {
    /// Asks every server.
    pub async fn reports(&self) -> Result<Vec<ServerReport>, RedisError> {
        let asked = self.nodes().into_iter().map(|(address, lines)| async move {
            let client = lines.line()?.client.clone();
            let (info, ahead_ms) = info_of(&client).await?;
            let asks = ["GET"].into_iter().chain(SETTINGS).map(Value::from).collect();
            let told = ask(&client, "CONFIG", asks).await.ok();
            let settings = told.and_then(|told| told.convert().ok()).unwrap_or_default();
            Ok(ServerReport { address, ahead_ms, info, settings })
        });
        futures::future::try_join_all(asked).await
    }
}
