//! Coupons' codes: what is written on a coupon, and what it says.
//!
//! A code is a keyed permutation (FF1, NIST SP 800-38G, AES-256) of 80 bits: campaign ordinal (16), number
//! (34), and thirty zeros, in sixteen characters of Crockford's Base32 and his check symbol. So codes are
//! unique without being stored, a campaign of ten billion takes no space, what is no code of ours is known
//! without a look-up, and who guesses hits one with at most 2^-40: he must find those of 2^50 that are given
//! out, at most one in 2^30 of all, with the check symbol on top.
//!
//! Numbers up to [`QUANTITY_MAX`] are claimed; those above are generated ones.
//!
//! **Keys** have versions; new codes are made with the newest. Two keys may give two coupons one code. So a
//! code that another key up to its version could have made as well is not used: the coupon then takes the one
//! that an older key gives. Whichever two coupons are compared, the younger was looked at with both keys.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use aes::Aes256;
use fpe::ff1::{BinaryNumeralString, FF1};
use sqlx::{PgConnection, PgPool};

use super::table::keys;
use crate::error::Error;
use crate::seal::Seal;

/// The largest campaign.
pub const QUANTITY_MAX: u64 = 10_000_000_000;
/// Coupons of a campaign that can be generated beside those.
pub const GENERATED_MAX: u64 = (1 << NUMBER_BITS) - 1 - QUANTITY_MAX;
const NUMBER_BITS: u32 = 34;
const TAG_BITS: u32 = 30;
/// Characters of a code, without its check symbol.
const CHARACTERS: usize = 16;
/// Crockford's Base32, then the symbols that only a check symbol can be.
const SYMBOLS: &[u8; 37] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ*~$=U";
/// Letters and digits of any code, also of imported ones.
const LENGTHS: std::ops::RangeInclusive<usize> = 4..=64;

/// What a code of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coupon {
    /// The campaign's ordinal.
    pub ordinal: u16,
    /// The coupon's number in it.
    pub number: u64,
}

type Cipher = FF1<Aes256>;

#[derive(Default)]
struct Known {
    ciphers: BTreeMap<i16, Cipher>,
    /// Versions that another secret sealed.
    closed: Vec<i16>,
}

/// The keys that codes are made with.
pub struct Codes {
    seal: Seal,
    known: RwLock<Arc<Known>>,
}

impl Codes {
    /// Reads the keys; makes one where there is none that this secret opens.
    pub async fn open(pool: &PgPool, secret: &[u8; 32]) -> Result<Self, Error> {
        let codes = Self { seal: Seal::new(secret)?, known: RwLock::default() };
        codes.refresh(&mut *pool.acquire().await?).await?;
        if codes.known().ciphers.is_empty() {
            codes.add(pool, true).await?;
        }
        Ok(codes)
    }

    fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the keys again.
    pub async fn refresh(&self, pg: &mut PgConnection) -> Result<(), Error> {
        let before = self.known();
        let stored = keys::all(pg).await?;
        if stored.len() == before.ciphers.len() + before.closed.len() {
            return Ok(());
        }
        let mut known = Known::default();
        for (version, sealed) in stored {
            match self.seal.open(&name(version), &sealed).map(|key| FF1::new(&key, 2)) {
                Some(Ok(cipher)) => drop(known.ciphers.insert(version, cipher)),
                _ => {
                    tracing::warn!(version, "a key for coupons' codes was sealed with another secret");
                    known.closed.push(version);
                }
            }
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        Ok(())
    }

    /// Adds a key, which makes new codes from now on; `if_none`, unless another instance was first.
    pub async fn add(&self, pool: &PgPool, if_none: bool) -> Result<(), Error> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(Error::internal)?;
        let mut tx = pool.begin().await?;
        let version = keys::next_version(&mut tx).await?;
        self.refresh(&mut tx).await?;
        if if_none && !self.known().ciphers.is_empty() {
            return Ok(());
        }
        keys::insert(&mut tx, version, &self.seal.close(&name(version), &key)?).await?;
        tx.commit().await?;
        tracing::info!(version, "made a key for coupons' codes");
        self.refresh(&mut *pool.acquire().await?).await
    }

    /// The version that new codes are made with.
    pub fn newest(&self) -> Result<i16, Error> {
        let newest = self.known().ciphers.keys().next_back().copied();
        newest.ok_or_else(|| Error::internal("no key for coupons' codes can be opened"))
    }

    /// Whether this version is known.
    pub fn knows(&self, version: i16) -> bool {
        self.known().ciphers.contains_key(&version)
    }

    /// Makes sure that these versions are known, if they can be.
    pub async fn learn(&self, pg: &mut PgConnection, versions: &[i16]) -> Result<(), Error> {
        if versions.iter().all(|version| self.knows(*version)) { Ok(()) } else { self.refresh(pg).await }
    }

    /// The code of a coupon, by the key of this version: sixteen characters and the check symbol.
    pub fn encode(&self, coupon: Coupon, version: i16) -> Result<String, Error> {
        let known = self.known();
        let plain = (u128::from(coupon.ordinal) << (NUMBER_BITS + TAG_BITS))
            | (u128::from(coupon.number) << TAG_BITS);
        let older = known.ciphers.range(..=version);
        for (of, cipher) in older.clone().rev() {
            let found = encrypt(cipher, plain)?;
            let is_free = |(other, cipher): (&i16, &Cipher)| other == of || says(cipher, found).is_none();
            if older.clone().all(is_free) {
                return Ok(spell(found));
            }
            // Once in a billion with two keys.
            tracing::debug!(version, "a code that another key could have made");
        }
        Err(Error::unavailable(format_args!("the key {version} for coupons' codes cannot be used")))
    }

    /// What a code says; `None` where it is none of ours.
    pub fn decode(&self, code: &str) -> Option<Coupon> {
        let value = parse(code)?;
        self.known().ciphers.values().find_map(|cipher| says(cipher, value))
    }
}

fn name(version: i16) -> String {
    format!("coupon codes {version}")
}

fn encrypt(cipher: &Cipher, plain: u128) -> Result<u128, Error> {
    let plain = BinaryNumeralString::from_bytes_le(&plain.to_le_bytes()[..10]);
    cipher.encrypt(&[], &plain).map(|found| value(&found)).map_err(Error::internal)
}

/// What a value says where this key made it.
fn says(cipher: &Cipher, found: u128) -> Option<Coupon> {
    let found = BinaryNumeralString::from_bytes_le(&found.to_le_bytes()[..10]);
    let plain = value(&cipher.decrypt(&[], &found).ok()?);
    let number = (plain >> TAG_BITS) & ((1 << NUMBER_BITS) - 1);
    let is_ours = plain & ((1 << TAG_BITS) - 1) == 0;
    is_ours.then_some(Coupon { ordinal: (plain >> (NUMBER_BITS + TAG_BITS)) as u16, number: number as u64 })
}

fn value(string: &BinaryNumeralString) -> u128 {
    string.to_bytes_le().iter().rev().fold(0, |value, byte| (value << 8) | u128::from(*byte))
}

fn spell(value: u128) -> String {
    let places = (0..CHARACTERS as u32).rev();
    let symbols = places.map(|place| (value >> (5 * place)) as usize & 31).chain([(value % 37) as usize]);
    symbols.map(|symbol| SYMBOLS[symbol] as char).collect()
}

fn parse(code: &str) -> Option<u128> {
    let digit = |symbol: u8| SYMBOLS.iter().position(|known| *known == symbol);
    let (check, body) = code.as_bytes().split_last()?;
    if body.len() != CHARACTERS {
        return None;
    }
    let add = |value: u128, symbol: &u8| {
        digit(*symbol).filter(|digit| *digit < 32).map(|digit| (value << 5) | digit as u128)
    };
    let value = body.iter().try_fold(0, add)?;
    (digit(*check)? as u128 == value % 37).then_some(value)
}

/// A code as it is stored: without hyphens, in capitals, `O` as `0`, `I` and `L` as `1`. `None` for what can
/// be no code.
pub fn canonical(text: &str) -> Option<String> {
    let mut code = String::with_capacity(text.len().min(*LENGTHS.end()));
    for character in text.chars().filter(|character| *character != '-') {
        // After a check symbol that is no letter nothing comes.
        if code.len() == *LENGTHS.end() || code.ends_with(['*', '~', '$', '=']) {
            return None;
        }
        code.push(match character.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other if other.is_ascii_alphanumeric() || "*~$=".contains(other) => other,
            _ => return None,
        });
    }
    LENGTHS.contains(&code.len()).then_some(code)
}

/// A code of ours as people read it: in groups of four.
pub fn grouped(code: &str) -> String {
    let groups: Vec<&str> = (0..code.len()).step_by(4).map(|at| &code[at..code.len().min(at + 4)]).collect();
    groups.join("-")
}
