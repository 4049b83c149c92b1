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

use sqlx::{PgConnection, PgPool};

use super::ff1::Ff1;
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

#[derive(Default)]
struct Known {
    /// As Postgres has them.
    stored: BTreeMap<i16, Vec<u8>>,
    ciphers: BTreeMap<i16, Ff1>,
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
        let mut stored: BTreeMap<i16, Vec<u8>> = keys::all(pg).await?.into_iter().collect();
        if stored == before.stored {
            return Ok(());
        }
        // A Postgres that went back has forgotten keys that codes are out of.
        for (version, sealed) in
            before.stored.iter().filter(|(version, _)| before.ciphers.contains_key(version))
        {
            if !stored.contains_key(version) {
                tracing::error!(version, "postgres had lost a key for coupons' codes; it is there again");
                keys::insert(&mut *pg, *version, sealed).await?;
                stored.insert(*version, sealed.clone());
            }
        }
        let mut known = Known { stored, ciphers: BTreeMap::new() };
        for (version, sealed) in &known.stored {
            let version = *version;
            let key = self.seal.open(&name(version), sealed);
            match key.and_then(|key| key.try_into().ok()).map(|key| Ff1::new(&key)) {
                Some(cipher) => drop(known.ciphers.insert(version, cipher)),
                None => tracing::warn!(version, "a key for coupons' codes was sealed with another secret"),
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
        let plain = (u128::from(coupon.ordinal) << (NUMBER_BITS + TAG_BITS))
            | (u128::from(coupon.number) << TAG_BITS);
        let known = self.known();
        if !known.ciphers.contains_key(&version) {
            return Err(Error::internal(format_args!("the key {version} for coupons' codes is not there")));
        }
        let found = only_value(&known, plain, version, |cipher, value| says(cipher, value).is_some());
        found.map(|(_, value)| spell(value)).ok_or_else(|| {
            Error::internal(format_args!("the key {version} for coupons' codes cannot be used"))
        })
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

/// What the key of this version makes of it, and no other up to it could have made; else what the next older
/// key makes, likewise. With the version that made it.
fn only_value(
    known: &Known,
    plain: u128,
    version: i16,
    could_have: impl Fn(&Ff1, u128) -> bool,
) -> Option<(i16, u128)> {
    let older = known.ciphers.range(..=version);
    for (of, cipher) in older.clone().rev() {
        let found = cipher.encrypt(plain);
        if !older.clone().any(|(other, cipher)| other != of && could_have(cipher, found)) {
            return Some((*of, found));
        }
        // Once in a billion with two keys.
        tracing::debug!(version, "a code that another key could have made");
    }
    None
}

/// What a value says where this key made it.
fn says(cipher: &Ff1, found: u128) -> Option<Coupon> {
    let plain = cipher.decrypt(found);
    let number = (plain >> TAG_BITS) & ((1 << NUMBER_BITS) - 1);
    let is_ours = plain & ((1 << TAG_BITS) - 1) == 0;
    is_ours.then_some(Coupon { ordinal: (plain >> (NUMBER_BITS + TAG_BITS)) as u16, number: number as u64 })
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Keys of these versions.
    fn codes(versions: &[i16]) -> Codes {
        let key = |version: &i16| (*version, Ff1::new(&[*version as u8; 32]));
        let known = Known { ciphers: versions.iter().map(key).collect(), stored: BTreeMap::new() };
        Codes { seal: Seal::new(&[0; 32]).unwrap(), known: RwLock::new(Arc::new(known)) }
    }

    proptest::proptest! {
        #[test]
        fn a_code_says_what_it_was_made_of(ordinal: u16, number in 0..1_u64 << NUMBER_BITS) {
            let (codes, coupon) = (codes(&[1, 2]), Coupon { ordinal, number });
            for version in [1, 2] {
                let code = codes.encode(coupon, version).unwrap();
                proptest::prop_assert_eq!(codes.decode(&code), Some(coupon));
                let written = grouped(&code).to_lowercase().replace('0', "o").replace('1', "L");
                proptest::prop_assert_eq!(canonical(&written), Some(code));
            }
        }

        #[test]
        fn anything_is_a_code_or_none_and_never_a_panic(text: String) {
            let code = canonical(&text);
            proptest::prop_assert!(code.as_deref().and_then(|code| codes(&[1]).decode(code)).is_none());
            proptest::prop_assert_eq!(code.as_deref().and_then(canonical), code);
        }
    }

    #[test]
    fn one_character_changed_is_no_code_of_ours() {
        let codes = codes(&[1]);
        let code = codes.encode(Coupon { ordinal: 7, number: 9_999_999_999 }, 1).unwrap();
        for (at, symbol) in code.char_indices() {
            for other in SYMBOLS.iter().map(|other| *other as char).filter(|other| *other != symbol) {
                let near = format!("{}{other}{}", &code[..at], &code[at + 1..]);
                assert_eq!(codes.decode(&near), None, "{near} beside {code}");
            }
        }
        for at in 0..code.len() - 1 {
            let mut near: Vec<u8> = code.bytes().collect();
            near.swap(at, at + 1);
            let near = String::from_utf8(near).unwrap();
            assert!(near == code || codes.decode(&near).is_none(), "{near} beside {code}");
        }
    }

    #[test]
    fn neighbours_look_like_strangers() {
        let codes = codes(&[1]);
        let made = |number| codes.encode(Coupon { ordinal: 1, number }, 1).unwrap();
        let all: BTreeSet<String> = (1..=10_000).map(made).collect();
        assert_eq!(all.len(), 10_000);
        let beginnings: BTreeSet<&str> = all.iter().map(|code| &code[..3]).collect();
        assert!(beginnings.len() > 8_000, "{} different beginnings", beginnings.len());
    }

    /// That keys meet cannot be waited for; so here a key could have made one value in four, not in a
    /// billion.
    #[test]
    fn a_code_that_another_key_could_have_made_is_not_used() {
        let known = codes(&[1, 2, 3]).known();
        let could_have = |cipher: &Ff1, value: u128| cipher.encrypt(value) & 3 == 0;
        let (mut by, mut none) = ([0; 4], 0);
        for plain in 0..2_000 {
            let Some((of, value)) = only_value(&known, plain, 3, could_have) else {
                none += 1;
                continue;
            };
            by[of as usize] += 1;
            let others = known.ciphers.iter().filter(|(other, _)| **other != of);
            assert!(others.clone().all(|(_, cipher)| !could_have(cipher, value)));
            assert_eq!(known.ciphers[&of].encrypt(plain), value);
        }
        assert!(by[3] > by[2] && by[2] > by[1] && by[1] > 0 && none > 0, "{by:?} {none}");
        // The oldest key knows of no other.
        assert_eq!(only_value(&known, 7, 1, |_, _| true).map(|(of, _)| of), Some(1));
    }

    #[test]
    fn what_can_be_no_code_is_none() {
        for wrong in ["", "ABC", "A B C D", "ABCD*E", "ABCÄ", "*", &"A".repeat(65), "\u{0}ABCD"] {
            assert_eq!(canonical(wrong), None, "{wrong:?}");
        }
        assert_eq!(canonical("abcd-il-O").as_deref(), Some("ABCD110"));
        assert_eq!(canonical(&"A".repeat(64)).map(|code| code.len()), Some(64));
        assert_eq!(grouped("ABCDEFGHJKMNPQRS*"), "ABCD-EFGH-JKMN-PQRS-*");
    }
}
