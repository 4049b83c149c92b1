//! What servers say of themselves, for whoever looks after them.

use std::collections::HashMap;

use super::server::{ask, info_of};
use super::{Redis, RedisError};

/// One server's own words.
#[derive(Clone, Debug, Default)]
pub struct ServerReport {
    /// `host:port`.
    pub address: String,
    /// `appendfsync`; `None` where CONFIG is not allowed.
    pub appendfsync: Option<String>,
    /// How far its clock is ahead of ours, in milliseconds.
    pub ahead_ms: i64,
    /// The lines of INFO.
    info: HashMap<String, String>,
}

impl ServerReport {
    /// A line of INFO; empty where it is missing.
    pub fn info(&self, name: &str) -> &str {
        self.info.get(name).map(String::as_str).unwrap_or_default()
    }
}

impl Redis {
    /// Asks every server.
    pub async fn reports(&self) -> Result<Vec<ServerReport>, RedisError> {
        let asked = self.nodes().into_iter().map(|(address, lines)| async move {
            let client = lines.line()?.client.clone();
            let (info, ahead_ms) = info_of(&client).await?;
            let appendfsync = ask(&client, "CONFIG", vec!["GET".into(), "appendfsync".into()]).await;
            let appendfsync = appendfsync.ok().and_then(|reply| reply.into_array().pop()?.into_string());
            Ok(ServerReport { address, appendfsync, ahead_ms, info })
        });
        futures::future::try_join_all(asked).await
    }
}
