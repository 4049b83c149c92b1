//! Keys that access tokens are signed with: Ed25519, named by `kid`, kept in Postgres for all instances, the
//! private part sealed with the service's secret.
//!
//! The newest that is not retired signs. A retired one is still good for the tokens that it signed, and is
//! published until the last of them has ended: rotation logs nobody out. An instance that meets a `kid` that
//! it does not know asks Postgres, at most a few times a second.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::Mutex;

use super::table;
use crate::error::Error;
use crate::seal::Seal;

/// The longest that any access token lives; so long after its retirement a key still verifies.
pub const TOKEN_LIFETIME_MAX: chrono::Duration = chrono::Duration::hours(25);
/// Pause between two questions for a key that nobody knows.
const ASK_PAUSE: Duration = Duration::from_millis(200);

/// A key as it is stored.
#[derive(PartialEq, Eq)]
pub struct StoredKey {
    /// Its name.
    pub kid: String,
    /// 32 bytes.
    pub public: Vec<u8>,
    /// Nonce, then PKCS#8 encrypted with AES-256-GCM.
    pub sealed: Vec<u8>,
    /// It signs no more.
    pub is_retired: bool,
}

struct Known {
    stored: Vec<StoredKey>,
    /// Counts the times that a key was dropped.
    drops: u64,
    signing: Option<(String, EncodingKey)>,
    verifying: HashMap<String, DecodingKey>,
    published: Value,
}

/// The keys.
pub struct SigningKeys {
    pool: PgPool,
    seal: Seal,
    known: RwLock<Arc<Known>>,
    asked: Mutex<Instant>,
}

impl SigningKeys {
    /// Reads the keys; makes the first one where there is none that this secret opens.
    pub async fn open(pool: PgPool, secret: &[u8; 32]) -> Result<Self, Error> {
        let seal = Seal::new(secret)?;
        let none = Known {
            stored: Vec::new(),
            drops: 0,
            signing: None,
            verifying: HashMap::new(),
            published: json!({"keys": []}),
        };
        let (known, asked) = (RwLock::new(Arc::new(none)), Mutex::new(Instant::now()));
        let keys = Self { pool, seal, known, asked };
        keys.refresh().await?;
        if keys.known().signing.is_none() {
            let kid = keys.add(false).await?;
            tracing::info!(kid, "made a signing key");
        }
        Ok(keys)
    }

    fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the keys again.
    pub async fn refresh(&self) -> Result<(), Error> {
        let (before, stored) = (self.known(), table::signing_keys(&self.pool).await?);
        if before.stored == stored {
            return Ok(());
        }
        let mut verifying = HashMap::new();
        let (mut published, mut signing) = (Vec::new(), None);
        // Newest first.
        for key in &stored {
            let x = URL_SAFE_NO_PAD.encode(&key.public);
            verifying.insert(key.kid.clone(), DecodingKey::from_ed_der(&key.public));
            published.push(json!({
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key.kid, "x": x,
            }));
            if signing.is_none() && !key.is_retired {
                signing = self.unseal(key).map(|pkcs8| (key.kid.clone(), EncodingKey::from_ed_der(&pkcs8)));
            }
        }
        let dropped = before.verifying.keys().any(|kid| !verifying.contains_key(kid));
        let drops = before.drops + u64::from(dropped);
        let known = Known { stored, drops, signing, verifying, published: json!({"keys": published}) };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        Ok(())
    }

    /// Adds a key, which signs from now on; the others are retired where that is asked for. Its name.
    pub async fn add(&self, retire_others: bool) -> Result<String, Error> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(Error::internal)?;
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(Error::internal)?;
        let kid = uuid::Uuid::now_v7().simple().to_string();
        let sealed = self.seal.close(&kid, pkcs8.as_ref())?;
        table::insert_signing_key(&self.pool, &kid, pair.public_key().as_ref(), &sealed, retire_others)
            .await?;
        self.refresh().await?;
        Ok(kid)
    }

    /// `None` where another secret sealed it.
    fn unseal(&self, key: &StoredKey) -> Option<Vec<u8>> {
        let opened = self.seal.open(&key.kid, &key.sealed);
        if opened.is_none() {
            tracing::warn!(kid = key.kid, "a signing key was sealed with another secret; it only verifies");
        }
        opened
    }

    /// The key that signs, and its name.
    pub fn signing(&self) -> Result<(String, EncodingKey), Error> {
        let signing = self.known().signing.clone();
        signing.ok_or_else(|| Error::internal("there is no signing key"))
    }

    /// The key of this name.
    pub async fn verifying(&self, kid: &str) -> Option<DecodingKey> {
        if let Some(key) = self.known().verifying.get(kid) {
            return Some(key.clone());
        }
        let mut asked = self.asked.lock().await;
        if asked.elapsed() > ASK_PAUSE {
            *asked = Instant::now();
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "reading signing keys");
            }
        }
        self.known().verifying.get(kid).cloned()
    }

    /// How often a key was dropped: what it signed is good no more.
    pub fn drops(&self) -> u64 {
        self.known().drops
    }

    /// What `/.well-known/jwks.json` says (RFC 7517, RFC 8037).
    pub fn published(&self) -> Value {
        self.known().published.clone()
    }
}
