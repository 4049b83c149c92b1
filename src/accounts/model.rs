//! The words of accounts.

use chrono::{DateTime, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::name::{is_name, short_name};
use crate::ids::UserId;
use crate::words::words;

words! {
    /// What a user may do.
    #[derive(Hash, clap::ValueEnum)]
    #[clap(rename_all = "UPPER")]
    Role {
        /// Acts for himself.
        User = "USER",
        /// Makes and runs concerts, queues and the like.
        Operator = "OPERATOR",
        /// Reads events, rewards and the audit log.
        Auditor = "AUDITOR",
        /// May everything.
        Admin = "ADMIN",
    }
}

impl Role {
    /// Whether it runs concerts and queues, and sees what others reserved and paid.
    pub fn operates(self) -> bool {
        matches!(self, Self::Operator | Self::Admin)
    }
}

/// `POST /v1/auth/signup`.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub struct SignupRequest {
    /// Compared without case.
    #[garde(length(max = 254), custom(is_email))]
    #[schema(max_length = 254, format = "email")]
    pub email: String,
    /// 8 to 72 bytes, as bcrypt takes them; a character is one to four.
    #[garde(length(bytes, min = 8, max = 72), custom(has_no_nul))]
    #[schema(min_length = 2, max_length = 72)]
    pub password: String,
    /// 1 to 100 characters.
    #[garde(length(chars, max = 100), custom(is_name))]
    #[schema(schema_with = short_name)]
    pub name: String,
}

/// `POST /v1/auth/login`.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub struct LoginRequest {
    /// Compared without case.
    #[garde(length(max = 254), custom(has_no_nul))]
    pub email: String,
    /// As it was set.
    #[garde(length(bytes, max = 1_024))]
    pub password: String,
}

/// `POST /v1/auth/refresh`.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefreshRequest {
    /// The newest refresh token of the sign-in.
    #[garde(length(max = 1_024))]
    pub refresh_token: String,
}

/// `PUT /v1/users/{userId}/role`.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[garde(allow_unvalidated)]
pub struct ChangeRole {
    /// What the user may do from now on.
    pub role: Role,
}

/// An account.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Its id.
    pub user_id: UserId,
    /// As it was given.
    pub email: String,
    /// As it was given.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    #[serde(with = "created")]
    pub created_at: DateTime<Utc>,
}

/// Written as the contract writes times, read back from a recorded answer.
mod created {
    pub use crate::clock::millis::serialize;
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
        DateTime::deserialize(deserializer)
    }
}

/// A sign-in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// For `Authorization: Bearer`.
    pub access_token: String,
    /// When it ends.
    #[serde(with = "crate::clock::millis")]
    pub expires_at: DateTime<Utc>,
    /// For `POST /v1/auth/refresh`, once.
    pub refresh_token: String,
    /// When the sign-in can no longer be refreshed.
    #[serde(with = "crate::clock::millis")]
    pub refresh_expires_at: DateTime<Utc>,
    /// `Bearer`.
    pub token_type: String,
}

/// One @, something before it, a dotted name after it, no blanks: what can be told without sending a message.
fn is_email(email: &str, _: &()) -> garde::Result {
    let shape = email.split_once('@').is_some_and(|(local, domain)| {
        let labels = || domain.split('.');
        !local.is_empty() && !domain.contains('@') && labels().count() > 1 && labels().all(|l| !l.is_empty())
    });
    let plain = email.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if shape && plain { Ok(()) } else { Err(garde::Error::new("is not an e-mail address")) }
}

/// Neither bcrypt nor Postgres takes it.
fn has_no_nul(text: &str, _: &()) -> garde::Result {
    if text.contains('\0') { Err(garde::Error::new("must not contain a NUL character")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_text() {
        for good in ["a@b.c", "Ann+tag@mail.example.org", "안녕@예.한국"] {
            assert!(is_email(good, &()).is_ok(), "{good}");
        }
        for bad in ["", "a", "@b.c", "a@", "a@b", "a@b.", "a@.c", "a b@c.d", "a@b@c.d"] {
            assert!(is_email(bad, &()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_measured_in_bytes() {
        let signup = |password: &str| SignupRequest {
            email: "a@b.c".into(),
            password: password.into(),
            name: "Ann".into(),
        };
        assert!(signup("비밀번").validate().is_ok(), "nine bytes in three characters");
        assert!(signup(&"a".repeat(7)).validate().is_err());
        assert!(signup(&"a".repeat(72)).validate().is_ok());
        assert!(signup(&"비".repeat(25)).validate().is_err(), "75 bytes in 25 characters");
        assert!(signup("password\0").validate().is_err());
    }
}
