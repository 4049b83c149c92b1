//! Enums that clients, scripts and Postgres know by the same words.

/// Declares them: `words! { /// doc State { /// doc Open = "OPEN" } }`. A word is its variant in capitals,
/// since a word that `serde(rename)` took from here would be lost on the OpenAPI document. It is read from a
/// text alone: what is derived would also take an object of it.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)?
    }) => {
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
            serde::Serialize, serde::Deserialize, utoipa::ToSchema,
        )]
        #[serde(rename_all = "UPPERCASE", try_from = "String")]
        $(#[$meta])*
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        #[allow(dead_code, reason = "some are only read, some only written")]
        impl $name {
            /// Its word.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Reads its word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }

            /// Reads its word from where we wrote it.
            pub fn stored(word: &str) -> Result<Self, $crate::error::Error> {
                Self::from_word(word).ok_or_else(|| {
                    $crate::error::Error::internal(format_args!(
                        concat!("{:?} is stored as a ", stringify!($name)), word
                    ))
                })
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(word: String) -> Result<Self, Self::Error> {
                Self::from_word(&word).ok_or(concat!("must be one of", $(" ", $word),+))
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    words! {
        /// A test's.
        Word {
            /// Here.
            Here = "HERE",
            /// There.
            There = "THERE",
        }
    }

    #[test]
    fn a_word_is_a_text_and_nothing_else() {
        for word in [Word::Here, Word::There] {
            let json = serde_json::json!(word.word());
            assert_eq!(serde_json::to_value(word).unwrap(), json);
            assert_eq!(serde_json::from_value::<Word>(json).unwrap(), word);
            assert_eq!(Word::stored(word.word()).unwrap(), word);
        }
        for wrong in ["{\"HERE\": null}", "\"here\"", "[\"HERE\"]", "0", "null"] {
            assert!(serde_json::from_str::<Word>(wrong).is_err(), "{wrong}");
        }
        let told = serde_json::from_str::<Word>("\"x\"").unwrap_err().to_string();
        assert_eq!(told, "must be one of HERE THERE");
    }
}
