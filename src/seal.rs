//! Secrets that stand in Postgres, sealed with the service's own (AES-256-GCM): a key that signs, a key that
//! coupons' codes are made with.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};

use crate::error::Error;

/// Bytes of a nonce, which stands before what is sealed.
const NONCE_BYTES: usize = 12;

/// Seals and opens.
pub struct Seal(RandomizedNonceKey);

impl Seal {
    /// With this secret.
    pub fn new(secret: &[u8; 32]) -> Result<Self, Error> {
        RandomizedNonceKey::new(&AES_256_GCM, secret).map(Self).map_err(Error::internal)
    }

    /// Nonce, then what was encrypted; it opens under this name alone.
    pub fn close(&self, name: &str, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut sealed = plain.to_vec();
        let aad = Aad::from(name.as_bytes());
        let nonce = self.0.seal_in_place_append_tag(aad, &mut sealed).map_err(Error::internal)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// `None` where another secret sealed it, or under another name.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_BYTES)?;
        let mut rest = rest.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.0.open_in_place(nonce, Aad::from(name.as_bytes()), &mut rest).ok()?;
        Some(opened.to_vec())
    }
}
