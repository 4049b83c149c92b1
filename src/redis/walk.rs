//! Walking through all keys, and reading one whole: for what happens seldom.

use std::time::Duration;

use fred::types::{ClusterHash, CustomCommand, Value};

use super::line::Line;
use super::reply::TypedContent;
use super::server::{ask, send};
use super::{Redis, RedisError};

/// Keys that one SCAN looks at.
const SCAN_COUNT: &str = "1000";

/// How far a walk through all keys has come.
#[derive(Debug)]
pub struct ScanPlace {
    node: usize,
    cursor: String,
}

impl Default for ScanPlace {
    fn default() -> Self {
        Self { node: 0, cursor: "0".into() }
    }
}

impl Redis {
    /// One step through all keys that match, on every server; `None` at the end.
    pub async fn scan(
        &self,
        place: &mut ScanPlace,
        pattern: &str,
    ) -> Result<Option<Vec<String>>, RedisError> {
        let Some((_, lines)) = self.nodes().into_iter().nth(place.node) else { return Ok(None) };
        let (next, keys) = scan_step(&*lines.line()?, &place.cursor, pattern).await?;
        if next == "0" {
            place.node += 1;
        }
        place.cursor = next;
        Ok(Some(keys))
    }

    /// What a key holds; for keys that nobody writes to.
    pub async fn content(&self, key: &str, timeout: Duration) -> Result<TypedContent, RedisError> {
        let kind = self.command("TYPE", &[key]).await?.into_string().unwrap_or_default();
        let (command, rest): (_, &[&str]) = match kind.as_str() {
            "hash" => ("HGETALL", &[]),
            "zset" => ("ZRANGE", &["0", "-1", "WITHSCORES"]),
            "set" => ("SMEMBERS", &[]),
            "list" => ("LRANGE", &["0", "-1"]),
            "string" => ("GET", &[]),
            _ => return Ok((kind, Vec::new(), Vec::new())),
        };
        let line = self.lines_of(key)?.line()?;
        let args = std::iter::once(&key).chain(rest).map(|word| Value::from(*word)).collect();
        let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
        let answer = send(&line.client, command, args, timeout).await?;
        let bytes = answer.as_bytes().map(<[u8]>::to_vec).unwrap_or_default();
        let items = match answer {
            Value::Array(items) => items.into_iter().filter_map(Value::into_string).collect(),
            _ => Vec::new(),
        };
        Ok((kind, items, bytes))
    }
}

async fn scan_step(line: &Line, cursor: &str, pattern: &str) -> Result<(String, Vec<String>), RedisError> {
    let args = [cursor, "MATCH", pattern, "COUNT", SCAN_COUNT].map(Value::from).to_vec();
    let answer = ask(&line.client, "SCAN", args).await?;
    let shape = || RedisError::Broken("SCAN answered in another shape".into());
    let Value::Array(pair) = answer else { return Err(shape()) };
    let [next, keys] = <[Value; 2]>::try_from(pair).map_err(|_| shape())?;
    let keys = keys.into_array().into_iter().filter_map(Value::into_string).collect();
    Ok((next.into_string().ok_or_else(shape)?, keys))
}
