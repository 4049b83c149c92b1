//! Access tokens: JWTs of one algorithm, for one audience, without leeway.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::model::Role;
use crate::clock::from_millis;
use crate::error::Error;
use crate::http::identity::Identity;
use crate::ids::UserId;

const ISSUER: &str = "onrush";
const AUDIENCE: &str = "onrush";
/// RFC 9068.
const TYPE: &str = "at+jwt";

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    role: String,
    iat: i64,
    exp: i64,
}

/// Signs and reads access tokens.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    header: Header,
}

impl Tokens {
    /// Tokens signed with the secret.
    pub fn new(secret: &SecretString) -> Self {
        let bytes = secret.expose_secret().as_bytes();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = 0;
        // Compared below, with the service's own clock.
        validation.validate_exp = false;
        let header = Header { typ: Some(TYPE.into()), ..Header::new(Algorithm::HS256) };
        Self {
            encoding: EncodingKey::from_secret(bytes),
            decoding: DecodingKey::from_secret(bytes),
            validation,
            header,
        }
    }

    /// A token for a user, good until `now + lifetime`, and when that is.
    pub fn issue(
        &self,
        user: UserId,
        role: Role,
        now_ms: i64,
        lifetime: chrono::Duration,
    ) -> Result<(String, chrono::DateTime<chrono::Utc>), Error> {
        let now = now_ms / 1_000;
        let claims = Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: user,
            role: role.word().into(),
            iat: now,
            exp: now + lifetime.num_seconds(),
        };
        let token = encode(&self.header, &claims, &self.encoding).map_err(Error::internal)?;
        Ok((token, from_millis(claims.exp * 1_000)))
    }

    /// Whose token it is; `None` unless it is ours, an access token, and good now.
    pub fn read(&self, token: &str, now_ms: i64) -> Option<Identity> {
        let data = decode::<Claims>(token, &self.decoding, &self.validation).ok()?;
        let good = data.header.typ.as_deref() == Some(TYPE) && data.claims.exp * 1_000 > now_ms;
        let role = Role::from_word(&data.claims.role)?;
        good.then_some(Identity { user: data.claims.sub, role })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(secret: &str) -> Tokens {
        Tokens::new(&SecretString::from(secret.repeat(32)))
    }

    #[test]
    fn a_token_is_good_for_its_user_until_it_ends() {
        let (tokens, user) = (tokens("a"), UserId::mint());
        let (token, ends) = tokens.issue(user, Role::Operator, 0, chrono::Duration::seconds(10)).unwrap();
        assert_eq!(ends, from_millis(10_000));
        assert_eq!(tokens.read(&token, 9_999), Some(Identity { user, role: Role::Operator }));
        assert_eq!(tokens.read(&token, 10_000), None);
    }

    #[test]
    fn other_secrets_algorithms_and_kinds_are_refused() {
        let (tokens, user) = (tokens("a"), UserId::mint());
        let claims = |aud: &str| Claims {
            iss: ISSUER.into(),
            aud: aud.into(),
            sub: user,
            role: "ADMIN".into(),
            iat: 0,
            exp: i64::MAX / 1_000,
        };
        let key = EncodingKey::from_secret("a".repeat(32).as_bytes());
        let at = |algorithm| Header { typ: Some(TYPE.into()), ..Header::new(algorithm) };
        let good = encode(&at(Algorithm::HS256), &claims(AUDIENCE), &key).unwrap();
        assert!(tokens.read(&good, 0).is_some());
        for (header, aud) in [
            (at(Algorithm::HS512), AUDIENCE),
            (Header::new(Algorithm::HS256), AUDIENCE),
            (at(Algorithm::HS256), "others"),
        ] {
            let forged = encode(&header, &claims(aud), &key).unwrap();
            assert_eq!(tokens.read(&forged, 0), None, "{header:?} {aud}");
        }
        assert_eq!(super::tests::tokens("b").read(&good, 0), None);
        let payload = good.split('.').nth(1).unwrap();
        let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{payload}.");
        assert_eq!(tokens.read(&none, 0), None);
    }
}
