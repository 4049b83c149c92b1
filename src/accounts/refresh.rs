//! Refresh tokens: `family | generation | HMAC`. The same generation is always the same token, so a successor
//! that was lost on its way can be handed out again.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

const TAG_BYTES: usize = 32;
const BYTES: usize = 16 + 4 + TAG_BYTES;

/// A refresh token that we signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// The sign-in.
    pub family: Uuid,
    /// Its number within the sign-in, from 1.
    pub generation: i32,
}

impl RefreshToken {
    /// Writes and signs it.
    pub fn sign(self, key: &hmac::Key) -> String {
        let mut bytes = self.body();
        bytes.extend_from_slice(hmac::sign(key, &bytes).as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads one; `None` unless we signed it.
    pub fn read(text: &str, key: &hmac::Key) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == BYTES)?;
        let (body, tag) = bytes.split_at(BYTES - TAG_BYTES);
        hmac::verify(key, body, tag).ok()?;
        let (family, generation) = body.split_at(16);
        Some(Self {
            family: Uuid::from_slice(family).ok()?,
            generation: i32::from_be_bytes(generation.try_into().ok()?),
        })
    }

    fn body(self) -> Vec<u8> {
        [self.family.as_bytes().as_slice(), &self.generation.to_be_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_ours_or_nothing() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"one");
        let other = hmac::Key::new(hmac::HMAC_SHA256, b"two");
        let token = RefreshToken { family: Uuid::now_v7(), generation: 7 };
        let text = token.sign(&key);
        assert_eq!(RefreshToken::read(&text, &key), Some(token));
        assert_eq!(RefreshToken::read(&text, &other), None);
        assert_eq!(RefreshToken::read(&text[1..], &key), None);
        assert_eq!(token.sign(&key), text, "the same generation is the same token");
    }
}
