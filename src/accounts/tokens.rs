//! Access tokens: JWTs of one algorithm, one type, one audience, without leeway (RFC 8725, RFC 9068).

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keys::SigningKeys;
use super::model::Role;
use crate::clock::from_millis;
use crate::error::Error;
use crate::http::identity::Identity;
use crate::ids::UserId;
use crate::recent::Recent;

const ISSUER: &str = "onrush";
const AUDIENCE: &str = "onrush";
/// RFC 9068.
const TYPE: &str = "at+jwt";
/// Tokens whose signature was checked and is remembered: a check costs 35 µs, and a crowd of a million comes
/// with a token each. About 140 bytes a token.
const REMEMBERED_MAX: usize = 2_000_000;

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    role: String,
    /// The sign-in.
    sid: Uuid,
    iat: i64,
    exp: i64,
}

/// Tokens whose signature was checked, since a key was dropped the last time.
struct Good {
    drops: u64,
    /// By the token's name: whose it is, and when it ends.
    tokens: Recent<u128, (Identity, i64)>,
}

/// Half of the token's SHA-256: nobody finds a second token of the same name.
fn name_of(token: &str) -> u128 {
    let mut name = [0; 16];
    name.copy_from_slice(&digest::digest(&digest::SHA256, token.as_bytes()).as_ref()[..16]);
    u128::from_be_bytes(name)
}

/// Signs and reads access tokens.
pub struct Tokens {
    /// What they are signed with.
    pub keys: SigningKeys,
    validation: Validation,
    good: Mutex<Good>,
}

impl Tokens {
    /// Tokens signed with these keys.
    pub fn new(keys: SigningKeys) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = 0;
        // Compared below, with the service's own clock.
        validation.validate_exp = false;
        let good = Mutex::new(Good { drops: 0, tokens: Recent::new(REMEMBERED_MAX) });
        Self { keys, validation, good }
    }

    /// A token for a user's sign-in, good until `now + lifetime`, and when that is.
    pub fn issue(
        &self,
        who: Identity,
        now_ms: i64,
        lifetime: chrono::Duration,
    ) -> Result<(String, chrono::DateTime<chrono::Utc>), Error> {
        let now = now_ms / 1_000;
        let claims = Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: who.user,
            role: who.role.word().into(),
            sid: who.session,
            iat: now,
            exp: now + lifetime.num_seconds(),
        };
        let (kid, key) = self.keys.signing()?;
        let header = Header { typ: Some(TYPE.into()), kid: Some(kid), ..Header::new(Algorithm::EdDSA) };
        let token = encode(&header, &claims, &key).map_err(Error::internal)?;
        Ok((token, from_millis(claims.exp * 1_000)))
    }

    /// Whose token it is; `None` unless it is ours, an access token, and good now.
    pub async fn read(&self, token: &str, now_ms: i64) -> Option<Identity> {
        let name = name_of(token);
        let drops = self.keys.drops();
        let known = self.good(drops).tokens.get(&name).copied();
        let (identity, ends_ms) = match known {
            Some(known) => known,
            None => {
                // Boxed: most are known, and each request would carry it along.
                let checked = Box::pin(self.check(token)).await?;
                self.good(drops).tokens.insert(name, checked);
                checked
            }
        };
        (ends_ms > now_ms).then_some(identity)
    }

    fn good(&self, drops: u64) -> std::sync::MutexGuard<'_, Good> {
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good.drops != drops {
            good.drops = drops;
            good.tokens.clear();
        }
        good
    }

    /// What signed it must be a key of ours that it names; a key that it brings along counts for nothing.
    async fn check(&self, token: &str) -> Option<(Identity, i64)> {
        let header = decode_header(token).ok()?;
        let brings_key = header.jku.is_some() || header.x5u.is_some() || header.jwk.is_some();
        let brings_chain = header.x5c.is_some();
        if header.typ.as_deref() != Some(TYPE) || brings_key || brings_chain {
            return None;
        }
        let key = self.keys.verifying(&header.kid?).await?;
        let claims = decode::<Claims>(token, &key, &self.validation).ok()?.claims;
        let role = Role::from_word(&claims.role)?;
        Some((Identity { user: claims.sub, role, session: claims.sid }, claims.exp.checked_mul(1_000)?))
    }
}
