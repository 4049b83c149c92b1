//! What Lua says of itself, compared with what Rust says of Lua.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::Code;
use crate::journal::event::Event;
use crate::redis::compose::{header, key_names};

/// Words that are no refusal of the contract: what scripts and their callers say to each other.
const WORDS: &[&str] = &[
    "active",
    "clock_jumped",
    "closed",
    "done",
    "elsewhen",
    "fenced",
    "foreign",
    "found",
    "idle",
    "joined",
    "late",
    "lost",
    "no_line",
    "ok",
    "out_of_order",
    "replayed",
    "runs",
    "stale_epoch",
    "state",
    "taken",
];

fn lua_files(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("lua").join(folder);
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.collect();
    files.sort();
    files
}

/// Quoted words that follow `before` in the text: `{'word'` or `fact('kind'`.
fn quoted_after<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('\'').next())
}

/// The header's RETURNS without what stands in parentheses.
fn returned(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("-- RETURNS "));
    let mut words = BTreeSet::new();
    for line in lines {
        let line = line.split(':').next().unwrap_or_default();
        for part in line.split('|') {
            words.insert(part.split('(').next().unwrap_or_default().trim().to_owned());
        }
    }
    words
}

#[test]
fn every_script_is_declared_once_and_every_declaration_has_its_script() {
    let declared: BTreeSet<String> =
        crate::scripts().iter().map(|source| format!("{}.lua", source.name)).collect();
    assert_eq!(declared.len(), crate::scripts().len(), "a script is declared twice");
    let mut found = BTreeSet::new();
    for folder in lua_files("").into_iter().filter(|path| path.is_dir() && !path.ends_with("lib")) {
        let feature = folder.file_name().unwrap().to_str().unwrap().to_owned();
        for file in lua_files(&feature) {
            found.insert(format!("{feature}/{}", file.file_name().unwrap().to_str().unwrap()));
        }
    }
    assert_eq!(found, declared);
}

#[test]
fn keys_and_arguments_are_those_of_the_header_in_its_order() {
    for source in crate::scripts() {
        let own = |field| header(source.text, field).collect::<Vec<_>>();
        assert_eq!(own("KEYS"), source.keys, "KEYS of {}", source.name);
        assert_eq!(own("ARGV"), source.args, "ARGV of {}", source.name);
        let first = source.text.lines().nth(1).unwrap_or_default();
        assert!(
            first.starts_with(&format!("-- {}: ", source.name)),
            "{} does not say what it is",
            source.name
        );
        for field in ["RETURNS ", "EVENT ", "COST "] {
            assert!(source.text.contains(&format!("\n-- {field}")), "{} lacks {field}", source.name);
        }
    }
}

#[test]
fn a_script_that_changes_nothing_says_so_and_one_that_writes_does_not() {
    const WRITES: &[&str] = &["SET", "DEL", "ADD", "REM", "PUSH", "POP", "TRIM", "INCRBY", "SETBIT"];
    for source in crate::scripts() {
        let reads = source.text.starts_with("#!lua flags=no-writes\n");
        let commands: BTreeSet<&str> = quoted_after(source.text, "redis.call('").collect();
        let writes = commands.iter().any(|command| WRITES.iter().any(|write| command.contains(write)));
        let journals = header(source.text, "USES").any(|library| library == "journal");
        let varies = source.name == "shard/load";
        assert_eq!(reads, !(writes || journals || varies), "flags of {}: {commands:?}", source.name);
    }
}

#[test]
fn every_answer_is_a_word_of_the_contract_and_stands_in_the_header() {
    for source in crate::scripts() {
        let mut promised = returned(source.text);
        for library in ["shard", "journal", "pass"] {
            if header(source.text, "USES").any(|used| used == library) {
                let path = format!("{}/lua/lib/{library}.lua", env!("CARGO_MANIFEST_DIR"));
                promised.extend(returned(&std::fs::read_to_string(path).unwrap()));
            }
        }
        for word in &promised {
            let known = WORDS.contains(&word.as_str()) || Code::from_word(word).is_some();
            assert!(known, "{} returns {word:?}, which is no word of the contract", source.name);
        }
        for word in quoted_after(source.text, "return {'") {
            assert!(
                promised.contains(word),
                "{} returns {word:?}, and its header does not say so",
                source.name
            );
        }
    }
}

#[test]
fn every_fact_stands_in_the_header_and_every_event_is_told_by_a_script() {
    let library = |name: &str| {
        std::fs::read_to_string(format!("{}/lua/lib/{name}.lua", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let mut told: BTreeSet<String> = BTreeSet::from(["op.requested".to_owned(), "audit.acted".to_owned()]);
    for source in crate::scripts() {
        let promised: BTreeSet<String> =
            header(source.text, "EVENT").filter(|kind| *kind != "none").map(str::to_owned).collect();
        let mut facts: BTreeSet<String> = quoted_after(source.text, "fact('").map(str::to_owned).collect();
        for used in
            header(source.text, "USES").filter(|used| ["room", "admission", "claim", "reward"].contains(used))
        {
            facts.extend(quoted_after(&library(used), "fact('").map(str::to_owned));
        }
        assert_eq!(facts, promised, "EVENT of {}", source.name);
        told.extend(facts);
    }
    let known: BTreeSet<String> = Event::kinds().into_iter().map(str::to_owned).collect();
    assert_eq!(told, known);
}

#[test]
fn every_key_that_a_command_touches_has_a_name() {
    for source in crate::scripts() {
        // A command that is chosen at run time comes from a list of keys.
        let names: BTreeSet<String> = key_names(source.name, source.text).unwrap().into_iter().collect();
        for call in source.text.split("redis.call('").skip(1) {
            let Some((command, rest)) = call.split_once('\'') else { continue };
            if command == "TIME" {
                continue;
            }
            let key = rest.trim_start_matches([',', ' ']);
            let key: String = key.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            // `set`, `key` and `keep` stand for keys that are handed on; KEYS and targets are the keys
            // themselves.
            let handed_on = ["set", "key", "keep", "KEYS"].contains(&key.as_str());
            assert!(names.contains(&key) || handed_on, "{} calls {command} on {key:?}", source.name);
        }
    }
}
