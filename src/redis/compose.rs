//! Scripts are composed from their own headers.
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
//! `USES` puts the named files of `lua/lib` in front; their KEYS and ARGV come first. From all of these
//! `local balances, … = KEYS[4], …` is written, so a name cannot stand for another position than it says; one
//! that ends in `...` is a list, which takes all that is left.
//!
//! A script that journals takes many calls in one run. What `lib/shard` and `lib/journal` ask for is said
//! once; all else becomes a function of what each call says, and `lib/run`, which comes last, calls it for
//! each. A script that uses `lib/reads` is asked likewise, with what `lib/shard` asks for said once.

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
    ("reads", READS),
];
/// What a script that journals ends with.
const RUN: &str = include_str!("../../lua/lib/run.lua");
/// What a script ends with that is asked many times at once.
const READS: &str = include_str!("../../lua/lib/reads.lua");

/// The values of a header line such as `-- KEYS a b`; a line may be repeated.
pub fn header<'a>(text: &'a str, field: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .skip(1)
        .map_while(|line| line.strip_prefix("-- "))
        .filter_map(move |line| line.strip_prefix(field)?.strip_prefix(' '))
        .flat_map(str::split_whitespace)
}

/// Which of its libraries make a script one that takes many calls in a run, after `lib/shard`.
const MANY: [&str; 2] = ["journal", "reads"];

/// The libraries that a script names, in its order.
fn libraries(name: &str, text: &str) -> Result<Vec<&'static str>, String> {
    let find = |library: &str| {
        let found = LIBRARY.iter().find(|(known, _)| *known == library);
        found.map(|(_, text)| *text).ok_or_else(|| format!("{name} uses lua/lib/{library}, which is unknown"))
    };
    header(text, "USES").map(find).collect()
}

/// The libraries of a script that takes many calls: what is said once, what each call says, what comes last.
type Parts = (Vec<&'static str>, Vec<&'static str>, &'static str);

/// `None` for a script that is called by itself.
fn parts_of_many(name: &str, text: &str) -> Result<Option<Parts>, String> {
    let used: Vec<&str> = header(text, "USES").collect();
    let Some(many) = MANY.iter().find(|many| used.contains(many)) else { return Ok(None) };
    if !used.starts_with(&["shard", many]) {
        return Err(format!("{name} takes many calls, so it must use shard {many} first"));
    }
    let mut once = libraries(name, text)?;
    let each = once.split_off(2);
    if *many == "journal" {
        return Ok(Some((once, each, RUN)));
    }
    once.truncate(1);
    Ok(Some((once, each, READS)))
}

/// Values of a header line of all these parts.
fn named(parts: &[&str], field: &str) -> Vec<String> {
    parts.iter().flat_map(|part| header(part, field)).map(str::to_owned).collect()
}

/// Names of all keys that a script is sent: those of its libraries, then its own.
pub fn key_names(name: &str, text: &str) -> Result<Vec<String>, String> {
    Ok(named(&[libraries(name, text)?, vec![text]].concat(), "KEYS"))
}

/// The text that Redis runs.
pub fn compose(name: &str, text: &str) -> Result<String, String> {
    let Some((shebang, body)) = text.split_once('\n').filter(|(first, _)| first.starts_with("#!lua")) else {
        return Err(format!("{name} does not begin with #!lua"));
    };
    let keys = key_names(name, text)?;
    let function;
    let (said_once, said_each, pieces) = match parts_of_many(name, text)? {
        Some((once, each, last)) => {
            let said_each = named(&[&each[..], &[text]].concat(), "ARGV");
            function = format!("local function call({})\n", said_each.join(", "));
            let pieces = [&once[..], &[&function], &each[..], &[body, "end\n", last]].concat();
            (named(&[&once[..], &[last]].concat(), "ARGV"), said_each, pieces)
        }
        None => {
            let once = libraries(name, text)?;
            (named(&[&once[..], &[text]].concat(), "ARGV"), Vec::new(), [&once[..], &[body]].concat())
        }
    };
    let mut bound = [vec!["kind".to_owned()], keys.clone(), said_once.clone(), said_each].concat();
    for piece in &pieces {
        if let Some(twice) = top_level_names(piece).find(|own| bound.contains(own)) {
            return Err(format!("{name}: {twice} is declared twice"));
        }
        bound.extend(top_level_names(piece));
    }
    let binding = [bindings("KEYS", &keys), bindings("ARGV", &said_once)].concat();
    Ok(format!("{shebang}\nlocal kind = '{name}'\n{binding}{}", pieces.concat()))
}

/// Binds names to positions; a list, to where it begins.
fn bindings(array: &str, names: &[String]) -> String {
    let bind = |(index, name): (usize, &String)| {
        let position = index + 1;
        match name.strip_suffix("...") {
            Some(list) => format!("local {list}_from = {position}\n"),
            None => format!("local {name} = {array}[{position}]\n"),
        }
    };
    names.iter().enumerate().map(bind).collect()
}

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
    fn a_script_that_journals_is_a_function_that_is_called_for_each() {
        let text = "#!lua\n-- a/b: c.\n-- USES shard journal\n-- KEYS mine\n-- ARGV one two\nreturn {one}\n";
        let whole = compose("a/b", text).unwrap();
        assert!(whole.contains("local mine = KEYS[5]\n") && whole.contains("local origin = ARGV[3]\n"));
        assert!(whole.contains("local calls_from = 6\n"), "{whole}");
        let (_, rest) = whole.split_once("local function call(one, two)\n").unwrap();
        assert!(rest.contains("return {one}\nend\n"));
        let late = "#!lua\n-- a/b: c.\n-- USES shard room journal\nreturn {}\n";
        assert!(compose("a/b", late).unwrap_err().contains("first"));
    }

    #[test]
    fn a_script_that_is_asked_many_times_answers_each() {
        let text = "#!lua\n-- a/b: c.\n-- USES shard reads\n-- KEYS mine\n-- ARGV one two\nreturn {one}\n";
        let whole = compose("a/b", text).unwrap();
        assert!(
            whole.contains("local mine = KEYS[2]\n") && whole.contains("local calls_from = 3\n"),
            "{whole}"
        );
        let (_, rest) = whole.split_once("local function call(one, two)\n").unwrap();
        let (each, last) = rest.split_once("return {one}\nend\n").unwrap();
        assert!(!each.contains("calls_from") && last.contains("for i = calls_from, #ARGV do"), "{rest}");
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
