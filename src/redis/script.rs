//! Lua scripts: declared, composed, known by their digests.
//!
//! [`script!`] declares a script as Rust sees it, with named keys and typed arguments, so that call sites
//! are not positional (a list of keys stands behind a semicolon). A contract test compares that with the
//! header of the script's file.

use std::collections::HashMap;

use aws_lc_rs::digest;

use super::compose::compose;
use super::{Args, Key};
use crate::sabotage::Sabotage;

/// A script as it is embedded: its name (`feature/verb`), its text and what the Rust side sends.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// `feature/verb`, as its path under `lua/`.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
    /// Names of the keys that the Rust side sends, without those of the libraries.
    pub keys: &'static [&'static str],
    /// Names of the arguments, likewise.
    pub args: &'static [&'static str],
}

/// A call of a script, ready but for what its libraries ask for.
pub trait Script: Send + 'static {
    /// The script.
    const SOURCE: &'static Source;
    /// Says its arguments in the order of the declaration; its keys, likewise.
    fn tell(self, args: &mut Args) -> Vec<Key>;
}

/// Declares a call of a script: `script! { /// doc pub Charge = "wallet/charge" { keys { … } args { … } } }`.
macro_rules! script {
    ($($(#[$doc:meta])* $name:ident = $path:literal {
        keys { $($key:ident),* $(,)? $(; $list:ident)? }
        args { $($arg:ident : $type:ty),* $(,)? }
    })+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            $(pub $key: $crate::redis::Key,)*
            $(pub $list: Vec<$crate::redis::Key>,)?
            $(pub $arg: $type,)*
        }

        impl $crate::redis::Script for $name {
            const SOURCE: &'static $crate::redis::Source = &$crate::redis::Source {
                name: $path,
                text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/", $path, ".lua")),
                keys: &[$(stringify!($key),)* $(concat!(stringify!($list), "..."))?],
                args: &[$(stringify!($arg)),*],
            };

            #[allow(unused_variables, reason = "there are scripts without arguments")]
            fn tell(self, args: &mut $crate::redis::Args) -> Vec<$crate::redis::Key> {
                $(args.push(self.$arg);)*
                let keys = vec![$(self.$key),*];
                $(let keys = [keys, self.$list].concat();)?
                keys
            }
        }
    )+

        /// The scripts declared here, for the contract test and the loader.
        pub const SCRIPTS: &[&$crate::redis::Source] = &[
            $(<$name as $crate::redis::Script>::SOURCE),+
        ];
    };
}
pub(crate) use script;

/// A script ready to be called.
#[derive(Debug)]
pub struct Composed {
    /// What Redis runs.
    pub text: String,
    /// SHA-1 of the text, in hex: the script's name in Redis.
    pub sha: String,
}

/// A number, or the empty argument.
pub fn or_empty(value: Option<i64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// All scripts, composed.
#[derive(Debug, Default)]
pub struct Scripts {
    by_name: HashMap<&'static str, Composed>,
}

impl Scripts {
    /// Composes every source. `sabotage` may change a script: how a negative control takes a defence out.
    pub fn compose(sources: &[&'static Source], sabotage: &Sabotage) -> Result<Self, String> {
        let mut by_name = HashMap::new();
        for source in sources {
            let text = sabotage.mend(source.name, source.text, |own| compose(source.name, own))?;
            let sha = sha1_hex(text.as_bytes());
            by_name.insert(source.name, Composed { text, sha });
        }
        Ok(Self { by_name })
    }

    /// The script of this name.
    pub fn get(&self, name: &str) -> Option<&Composed> {
        self.by_name.get(name)
    }
}

fn sha1_hex(bytes: &[u8]) -> String {
    crate::journal::hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref())
}
