//! Walking through all keys, and reading one whole: for what happens seldom.

use std::time::Duration;

use fred::types::Value;

use super::line::Line;
use super::reply::TypedContent;
use super::server::ask;
use super::{Redis, RedisError};

/// Keys, fields or members that one SCAN looks at.
const SCAN_COUNT: &str = "1000";
/// How long one may take: a thousand are read in turn, and nobody waits for them.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

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

    /// What a key holds, read in pages, so that nobody is held up: what changes meanwhile may come as it was
    /// or as it is, what is removed and put back may be missed, and an item may come twice.
    pub async fn content(&self, key: &str) -> Result<TypedContent, RedisError> {
        let kind = self.slowly("TYPE", &[key]).await?.into_string().unwrap_or_default();
        let command = match kind.as_str() {
            "hash" => "HSCAN",
            "zset" => "ZSCAN",
            "set" => "SSCAN",
            "list" => {
                let items = self.slowly("LRANGE", &[key, "0", "-1"]).await?;
                return Ok((kind, texts(items), Vec::new()));
            }
            "string" => {
                let bytes = self.slowly("GET", &[key]).await?;
                return Ok((kind, Vec::new(), bytes.as_bytes().map(<[u8]>::to_vec).unwrap_or_default()));
            }
            _ => return Ok((kind, Vec::new(), Vec::new())),
        };
        let (mut cursor, mut items) = ("0".to_owned(), Vec::new());
        loop {
            let answer = self.slowly(command, &[key, &cursor, "COUNT", SCAN_COUNT]).await?;
            let (next, page) = page(answer)?;
            items.extend(page);
            if next == "0" {
                return Ok((kind, items, Vec::new()));
            }
            cursor = next;
        }
    }

    async fn slowly(&self, command: &'static str, args: &[&str]) -> Result<Value, RedisError> {
        self.command_within(command, args, PAGE_TIMEOUT).await
    }
}

async fn scan_step(line: &Line, cursor: &str, pattern: &str) -> Result<(String, Vec<String>), RedisError> {
    let args = [cursor, "MATCH", pattern, "COUNT", SCAN_COUNT].map(Value::from).to_vec();
    page(ask(&line.client, "SCAN", args).await?)
}

/// The next cursor, and what was found.
fn page(answer: Value) -> Result<(String, Vec<String>), RedisError> {
    let shape = || RedisError::Broken("a page of SCAN came in another shape".into());
    let Value::Array(pair) = answer else { return Err(shape()) };
    let [next, found] = <[Value; 2]>::try_from(pair).map_err(|_| shape())?;
    Ok((next.into_string().ok_or_else(shape)?, texts(found)))
}

fn texts(items: Value) -> Vec<String> {
    match items {
        Value::Array(items) => items.into_iter().filter_map(Value::into_string).collect(),
        _ => Vec::new(),
    }
}
