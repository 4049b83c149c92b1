//! Lua scripts: embedded, composed from their own headers, called by digest.
//!
//! A script's header is its contract, and it is the header that binds the names that the body uses:
//!
//! ```text
//! #!lua
//! -- wallet/charge: adds points to a balance.
//! -- USES shard journal
//! -- KEYS balances
//! -- ARGV user amount transaction
//! -- RETURNS done | balance_limit
//! -- EVENT points.charged
//! -- COST O(1)
//! ```
//!
//! `USES` puts the named files of `lua/lib` in front; their KEYS and ARGV come first. From all of these the
//! composer writes `local balances, … = KEYS[4], …`, so a name cannot stand for another position than it
//! says; one that ends in `...` is a list, which takes all that is left. [`script!`] declares the Rust side
//! (a list of keys stands behind a semicolon); a contract test compares the two.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::digest;

use super::Key;
use crate::sabotage::Sabotage;

/// The files of `lua/lib`, by name.
const LIBRARY: &[(&str, &str)] = &[
    ("shard", include_str!("../../lua/lib/shard.lua")),
    ("journal", include_str!("../../lua/lib/journal.lua")),
    ("pass", include_str!("../../lua/lib/pass.lua")),
    ("room", include_str!("../../lua/lib/room.lua")),
    ("line", include_str!("../../lua/lib/line.lua")),
    ("silence", include_str!("../../lua/lib/silence.lua")),
    ("admission", include_str!("../../lua/lib/admission.lua")),
    ("seats", include_str!("../../lua/lib/seats.lua")),
    ("failures", include_str!("../../lua/lib/failures.lua")),
    ("claim", include_str!("../../lua/lib/claim.lua")),
    ("reward", include_str!("../../lua/lib/reward.lua")),
    ("asking", include_str!("../../lua/lib/asking.lua")),
];

/// What comes with lib/journal.
const RECORDS: &str = include_str!("../../lua/lib/records.lua");

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
    /// Keys and arguments in the order of the declaration.
    fn parts(self) -> (Vec<Key>, Vec<Vec<u8>>);
}

/// What a script can be sent: all that is displayed, as text, and [`Bits`] as they are.
pub trait Argument {
    /// As it is sent.
    fn sent(self) -> Vec<u8>;
}

impl<T: fmt::Display> Argument for T {
    fn sent(self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

/// Bits, eight a byte, the first the highest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits(pub Vec<u8>);

impl Argument for Bits {
    fn sent(self) -> Vec<u8> {
        self.0
    }
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

            fn parts(self) -> (Vec<$crate::redis::Key>, Vec<Vec<u8>>) {
                let keys = vec![$(self.$key),*];
                $(let keys = [keys, self.$list].concat();)?
                (keys, vec![$($crate::redis::Argument::sent(self.$arg)),*])
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

/// The values of a header line such as `-- KEYS a b`; a line may be repeated.
pub fn header<'a>(text: &'a str, field: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .skip(1)
        .map_while(|line| line.strip_prefix("-- "))
        .filter_map(move |line| line.strip_prefix(field)?.strip_prefix(' '))
        .flat_map(str::split_whitespace)
}

/// The libraries that a script names, in its order.
fn libraries<'a>(name: &'a str, text: &'a str) -> impl Iterator<Item = Result<&'a str, String>> + 'a {
    header(text, "USES").map(move |library| {
        let found = LIBRARY.iter().find(|(known, _)| *known == library);
        found.map(|(_, text)| *text).ok_or_else(|| format!("{name} uses lua/lib/{library}, which is unknown"))
    })
}

/// Names of all keys or arguments that a script is sent: those of its libraries, then its own.
pub fn names(name: &str, text: &str, field: &'static str) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for library in libraries(name, text) {
        all.extend(header(library?, field).map(str::to_owned));
    }
    all.extend(header(text, field).map(str::to_owned));
    Ok(all)
}

fn compose(name: &str, text: &str) -> Result<String, String> {
    let Some((shebang, body)) = text.split_once('\n').filter(|(first, _)| first.starts_with("#!lua")) else {
        return Err(format!("{name} does not begin with #!lua"));
    };
    let mut whole = format!("{shebang}\nlocal kind = '{name}'\n");
    let (keys, args) = (names(name, text, "KEYS")?, names(name, text, "ARGV")?);
    let (once, each) = args.split_at(if is_run_of_many(text) { RUN_ARGS } else { args.len() });
    for (field, all) in [("KEYS", keys.as_slice()), ("ARGV", once)] {
        for (index, named) in all.iter().enumerate() {
            let position = index + 1;
            match named.strip_suffix("...") {
                Some(list) => whole.push_str(&format!("local {list}_from = {position}\n")),
                None => whole.push_str(&format!("local {named} = {field}[{position}]\n")),
            }
        }
    }
    let mut bound: Vec<String> = [vec!["kind".to_owned()], keys, args.clone()].concat();
    if is_run_of_many(text) {
        bound.extend(top_level_names(RECORDS).chain(top_level_names(RUN)).chain(["call".to_owned()]));
    }
    for part in libraries(name, text).chain([Ok(body)]) {
        let part = part?;
        if let Some(twice) = top_level_names(part).find(|own| bound.contains(own)) {
            return Err(format!("{name}: {twice} is declared twice"));
        }
        bound.extend(top_level_names(part));
    }
    let mut parts = libraries(name, text);
    if is_run_of_many(text) {
        // The first is lib/shard: it speaks for all.
        whole.extend([parts.next().transpose()?.unwrap_or_default(), RECORDS]);
        whole.push_str(&format!("local function call({})\n", each.join(", ")));
    }
    for part in parts.chain([Ok(body)]) {
        whole.push_str(part?);
    }
    if is_run_of_many(text) {
        whole.push_str(&RUN.replace("$COUNT", &each.len().to_string()));
    }
    Ok(whole)
}

/// Whether one run of the script takes many calls: all that journal do. What lib/shard asks for is said once,
/// all else for each call; the answer is `many`, and the answers, or what lib/shard says.
fn is_run_of_many(text: &str) -> bool {
    header(text, "USES").any(|library| library == "journal")
}

/// Arguments that are said once: those of lib/shard.
pub const RUN_ARGS: usize = 2;
/// How a run of many ends.
const RUN: &str = "end
local answers = {'many'}
for at = 3, #ARGV, $COUNT do answers[#answers + 1] = call(unpack(ARGV, at, at + $COUNT - 1)) end
leave_records()
return answers
";

/// Names that a piece of Lua declares outside of all blocks. One that hides a key would make a script write
/// to a key that nobody declared.
fn top_level_names(text: &str) -> impl Iterator<Item = String> {
    let declared = text.lines().filter_map(|line| line.strip_prefix("local "));
    declared.flat_map(|rest| {
        let rest = rest.strip_prefix("function ").unwrap_or(rest);
        let names = rest.split(['=', '(']).next().unwrap_or_default();
        names.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()
    })
}

fn sha1_hex(bytes: &[u8]) -> String {
    crate::journal::hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_binds_the_names_that_the_body_uses() {
        let text = "#!lua\n-- a/b: c.\n-- KEYS first second\n-- ARGV one rest...\nreturn {first}\n";
        let whole = compose("a/b", text).unwrap();
        assert!(whole.starts_with("#!lua\nlocal kind = 'a/b'\n"));
        assert!(whole.contains("local second = KEYS[2]\n") && whole.contains("local rest_from = 2\n"));
    }

    #[test]
    fn a_name_that_hides_a_key_is_refused() {
        let text = "#!lua\n-- a/b: c.\n-- USES shard\n-- KEYS seats\nlocal one, seats = 1, 2\nreturn {one}\n";
        assert!(compose("a/b", text).unwrap_err().contains("seats"));
    }

    #[test]
    fn an_unknown_library_is_named() {
        let error = compose("a/b", "#!lua\n-- a/b: c.\n-- USES nothing\n").unwrap_err();
        assert!(error.contains("lua/lib/nothing"), "{error}");
    }
}
