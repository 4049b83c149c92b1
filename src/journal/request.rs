//! A client's request as the journal knows it: who asked for what, with which key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use serde::Serialize;
use uuid::Uuid;

use super::entry::hex;
use super::event::Requested;
use super::facts::{Fact, Text};
use super::table::recall::KeyScope;
use crate::audit::model::Act;
use crate::error::{Code, Error};
use crate::ids::UserId;

/// Namespace of the operations that clients name with a key (UUID v5).
const OPERATIONS: Uuid = Uuid::from_u128(0x6f6e_7275_7368_4f70_9e1d_5d1c_53a4_7b11);

/// An idempotency key: 1–255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Bare or in double quotes, as RFC 8941 strings are; `None` when it is no key.
    pub fn parse(header: &str) -> Option<Self> {
        let key = match header.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"')?,
            None => header,
        };
        let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
        (visible && (1..=255).contains(&key.len())).then(|| Self(key.to_owned()))
    }

    /// The key without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One request for a write.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub user: UserId,
    /// For what (`points.charge`).
    pub operation: &'static str,
    /// What the request names: the user, concert, reservation …
    pub target: String,
    /// Of the parsed body: the same key with another is a mistake.
    pub fingerprint: String,
    /// The client's key, where one was sent.
    pub key: Option<IdempotencyKey>,
    /// Where Postgres looks that key up.
    pub scope: Option<KeyScope>,
    /// What its effect is known by.
    pub op: Uuid,
    /// What the audit log will say of it, where it is an act by role.
    pub act: Option<Act>,
}

impl Request {
    /// Names the request's effect: the same scope and key give the same operation, no key a fresh one.
    pub fn new<B: Serialize>(
        user: UserId,
        operation: &'static str,
        target: impl ToString,
        body: &B,
        key: Option<IdempotencyKey>,
    ) -> Self {
        let target = target.to_string();
        let op = match &key {
            Some(key) => {
                // No part but the key, which stands last, can hold a line feed.
                let name = format!("{user}\n{operation}\n{target}\n{}", key.as_str());
                Uuid::new_v5(&OPERATIONS, name.as_bytes())
            }
            None => Uuid::now_v7(),
        };
        let scope = key.as_ref().map(|key| KeyScope::new(user, operation, key.as_str()));
        Self { user, operation, target, fingerprint: fingerprint(body), key, scope, op, act: None }
    }

    /// It is an act by role.
    pub fn audited(mut self, act: Act) -> Self {
        self.act = Some(act);
        self
    }

    /// Whether this was asked before with the same key: for the same, in the same words.
    pub fn is_what_was(&self, asked: &Requested) -> bool {
        self.target == asked.target.0 && self.fingerprint == asked.fingerprint.0
    }

    /// The journal's lines of who asked and who acted; empty where no key was sent and it is no act.
    pub fn lines(&self) -> String {
        let act = self.act.as_ref().map(|act| act.line(self.operation));
        [self.requested(), act].into_iter().flatten().collect::<Vec<_>>().join("\n")
    }

    fn requested(&self) -> Option<String> {
        let key = self.key.as_ref()?;
        let fields = [
            self.user.to_string(),
            Text(self.operation.into()).to_string(),
            Text(key.as_str().into()).to_string(),
            Text(self.target.clone()).to_string(),
            Text(self.fingerprint.clone()).to_string(),
        ];
        Some(format!("{}|{}", Requested::KIND, fields.join("|")))
    }
}

/// The first 16 hex digits of the SHA-256 of the parsed body, so that white space and unknown fields do not
/// count.
pub fn fingerprint<B: Serialize>(body: &B) -> String {
    // Request bodies are plain structs, which serde_json writes without failing.
    let json = serde_json::to_vec(body).unwrap_or_default();
    hex(&digest::digest(&digest::SHA256, &json).as_ref()[..8])
}

/// One request at a time for an operation in this instance; others are stopped by the record in Redis.
#[derive(Debug, Default)]
pub struct Turns {
    running: Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>>,
}

/// The right to run an operation; gives it up when dropped.
pub struct Turn<'a> {
    turns: &'a Turns,
    op: Uuid,
    held: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the first request with the same key; `idempotency_in_progress` when it takes too long.
    pub async fn take(&self, op: Uuid, timeout: Duration) -> Result<Turn<'_>, Error> {
        let lock = self.running.lock().unwrap_or_else(PoisonError::into_inner).entry(op).or_default().clone();
        let mut turn = Turn { turns: self, op, held: None };
        let held = match lock.clone().try_lock_owned() {
            Ok(held) => Ok(held),
            // Boxed: hardly anybody waits.
            Err(_) => Box::pin(tokio::time::timeout(timeout, lock.lock_owned())).await,
        };
        turn.held = Some(held.map_err(|_| Error::refused(Code::IdempotencyInProgress))?);
        Ok(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut running = self.turns.running.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's own and nobody else's: nobody waits.
        if running.get(&self.op).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            running.remove(&self.op);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii_bare_or_quoted() {
        assert_eq!(IdempotencyKey::parse("\"a-1\"").unwrap().as_str(), "a-1");
        assert_eq!(IdempotencyKey::parse("a-1"), IdempotencyKey::parse("\"a-1\""));
        assert!(IdempotencyKey::parse("\"a").is_none() && IdempotencyKey::parse("\"").is_none());
        assert!(IdempotencyKey::parse("").is_none() && IdempotencyKey::parse("\"\"").is_none());
        assert!(IdempotencyKey::parse("a b").is_none() && IdempotencyKey::parse("é").is_none());
        assert!(IdempotencyKey::parse(&"k".repeat(255)).is_some());
        assert!(IdempotencyKey::parse(&"k".repeat(256)).is_none());
    }

    #[test]
    fn one_scope_and_key_is_one_operation() {
        let (user, key) = (UserId::mint(), IdempotencyKey::parse("k"));
        let op = |target: &str, key: &Option<IdempotencyKey>| {
            Request::new(user, "points.charge", target, &1, key.clone()).op
        };
        assert_eq!(op("a", &key), op("a", &key));
        assert_ne!(op("a", &key), op("b", &key));
        assert_ne!(op("a", &None), op("a", &None));
    }

    #[tokio::test]
    async fn a_second_request_waits_and_leaves_nothing_behind() {
        let turns = Turns::default();
        let op = Uuid::now_v7();
        let first = turns.take(op, Duration::ZERO).await.unwrap();
        let second = turns.take(op, Duration::from_millis(1)).await;
        assert_eq!(second.err().unwrap().code(), Code::IdempotencyInProgress);
        drop(first);
        drop(turns.take(op, Duration::ZERO).await.unwrap());
        assert!(turns.running.lock().unwrap().is_empty());
    }
}
