//! Facts: one line each, `kind|field|field`. Text, not JSON: half the bytes, and readable in psql.
//!
//! A field never holds `|` or a line feed; free text is percent-encoded by [`Text`]. Lists are
//! comma-separated, pairs are joined by a colon, nothing is the empty field.

use std::fmt;
use std::str::FromStr;

use crate::ids::*;

/// A field of a fact.
pub trait Field: Sized {
    /// `None` when the text is not such a field.
    fn read(text: &str) -> Option<Self>;
}

macro_rules! fields_by_parsing {
    ($($type:ty),+ $(,)?) => {$(
        impl Field for $type {
            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )+};
}

fields_by_parsing!(
    i64,
    u32,
    uuid::Uuid,
    chrono::NaiveDate,
    UserId,
    QueueId,
    ConcertId,
    ShowId,
    ReservationId,
    PaymentId,
    TransactionId,
    OrderId,
    CampaignId,
    RewardId,
    EventId,
    RewardRequestId,
    Points,
    Text,
);

impl<T: Field> Field for Vec<T> {
    fn read(text: &str) -> Option<Self> {
        text.split(',').filter(|item| !item.is_empty()).map(T::read).collect()
    }
}

impl<T: Field> Field for Option<T> {
    fn read(text: &str) -> Option<Self> {
        if text.is_empty() { Some(None) } else { T::read(text).map(Some) }
    }
}

/// A ticket: number and user, `12:0190…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The ticket's number.
    pub number: i64,
    /// Who holds it.
    pub user: UserId,
}

impl Field for Place {
    fn read(text: &str) -> Option<Self> {
        let (number, user) = text.split_once(':')?;
        Some(Self { number: number.parse().ok()?, user: user.parse().ok()? })
    }
}

/// Free text; written with `%`, `|`, `,`, `:` and control characters percent-encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub String);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_special = |character: char| character.is_control() || "%|,:".contains(character);
        let mut rest = self.0.as_str();
        // Most texts have none of these, and are written whole.
        while let Some((at, special)) = rest.char_indices().find(|(_, character)| is_special(*character)) {
            f.write_str(&rest[..at])?;
            let after = at + special.len_utf8();
            for byte in rest[at..after].bytes() {
                write!(f, "%{byte:02X}")?;
            }
            rest = &rest[after..];
        }
        f.write_str(rest)
    }
}

impl FromStr for Text {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const BAD: &str = "not percent-encoded text";
        if !text.contains('%') {
            return Ok(Self(text.to_owned()));
        }
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'%' {
                bytes.push(byte);
                continue;
            }
            let digits = [rest.next().ok_or(BAD)?, rest.next().ok_or(BAD)?];
            let digits = std::str::from_utf8(&digits).map_err(|_| BAD)?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| BAD)?);
        }
        String::from_utf8(bytes).map(Self).map_err(|_| BAD)
    }
}

/// One kind of fact.
pub trait Fact: Sized {
    /// How its line begins.
    const KIND: &'static str;
    /// Reads the fields after the kind; the reason when they are not such a fact's.
    fn read(fields: &mut std::str::Split<'_, char>) -> Result<Self, String>;

    /// Reads a whole line; `None` when it is of another kind.
    fn from_line(line: &str) -> Option<Result<Self, String>> {
        let mut fields = line.split('|');
        (fields.next() == Some(Self::KIND)).then(|| Self::read(&mut fields))
    }
}

/// Declares what a feature's scripts may say: a struct for each fact, and an enum of them all.
macro_rules! events {
    ($(#[$enum_doc:meta])* $enum:ident {
        $($(#[$doc:meta])* $name:ident = $kind:literal {
            $($(#[$field_doc:meta])* $field:ident : $type:ty),* $(,)?
        })+
    }) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type),* }

        impl $crate::journal::facts::Fact for $name {
            const KIND: &'static str = $kind;

            fn read(fields: &mut std::str::Split<'_, char>) -> Result<Self, String> {
                let fact = $name { $($field: {
                    let text = fields.next().ok_or(concat!($kind, " lacks ", stringify!($field)))?;
                    $crate::journal::facts::Field::read(text).ok_or_else(|| {
                        format!(concat!($kind, ": {:?} is not a ", stringify!($field)), text)
                    })?
                }),* };
                match fields.next() {
                    None => Ok(fact),
                    Some(more) => Err(format!(concat!($kind, " carries more: {:?}"), more)),
                }
            }
        })+

        $(#[$enum_doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(clippy::enum_variant_names, reason = "a variant is called like its fact")]
        pub enum $enum { $($(#[$doc])* $name($name)),+ }

        impl $enum {
            /// How the lines of these facts begin.
            pub const KINDS: &'static [&'static str] = &[$($kind),+];

            /// Reads a line; `None` when it is another feature's.
            pub fn from_line(line: &str) -> Option<Result<Self, String>> {
                let mut fields = line.split('|');
                match fields.next()? {
                    $($kind => {
                        Some(<$name as $crate::journal::facts::Fact>::read(&mut fields).map(Self::$name))
                    })+
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use events;

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn text_survives_the_journal(text: String) {
            let encoded = Text(text.clone()).to_string();
            proptest::prop_assert!(!encoded.contains(['|', '\n', ',', ':']));
            proptest::prop_assert_eq!(encoded.parse(), Ok(Text(text)));
        }
    }

    #[test]
    fn lists_and_absence_have_their_spelling() {
        assert_eq!(Vec::<u32>::read("1,2,3"), Some(vec![1, 2, 3]));
        assert_eq!(Vec::<u32>::read(""), Some(vec![]));
        assert_eq!(Vec::<u32>::read("1,x"), None);
        assert_eq!(Option::<i64>::read(""), Some(None));
        let user = UserId::mint();
        assert_eq!(Place::read(&format!("12:{user}")), Some(Place { number: 12, user }));
    }
}
