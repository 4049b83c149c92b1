//! The house's rules that a machine can see: sizes, who may name what, which way imports point.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder with one of the endings, as (path from the root, text).
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|_| panic!("{} is missing", folder.display()))
        {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if endings.iter().any(|ending| path.extension().is_some_and(|found| found == *ending)) {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Files that only tests see.
const TEST_ONLY: &[&str] = &["src/contract.rs"];

/// The text without what only tests see, comments and documentation.
fn code(text: &str) -> String {
    let shown = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    shown.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn none(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn files_and_lines_fit_a_reader() {
    let mut broken = Vec::new();
    for (folder, endings, lines_max) in [
        ("src", &["rs"][..], 400),
        ("tests", &["rs"], 400),
        ("benches", &["rs"], 400),
        ("lua", &["lua"], 80),
        ("migrations", &["sql"], 120),
        ("k6", &["js"], 400),
        ("scripts", &["sh"], 200),
    ] {
        for (name, text) in files(folder, endings) {
            let lines = text.lines().count();
            if lines > lines_max {
                broken.push(format!("{name} has {lines} lines, {lines_max} at most"));
            }
            for (at, line) in text.lines().enumerate() {
                let columns = line.chars().count();
                // A meaning in the table of codes is one string, however long.
                let is_prose = line.trim_start().starts_with('"') || line.contains("https://");
                if columns > 110 && !is_prose {
                    broken.push(format!("{name}:{} has {columns} columns", at + 1));
                }
            }
        }
    }
    none("files and lines fit a reader", broken);
}

#[test]
fn each_thing_is_named_in_its_own_room() {
    /// A text, and the beginnings of the paths that may hold it.
    const ROOMS: &[(&str, &[&str])] = &[
        ("fred::", &["src/redis/"]),
        ("reqwest::", &["src/delivery/"]),
        ("\"/v1/", &["src/router/", "src/http/api.rs", "src/http/openapi.rs"]),
        (
            "sqlx::query",
            &["table.rs", "/table/", "src/database.rs", "src/journal/rebuild.rs", "src/journal/verify.rs"],
        ),
        ("space.key(", &["store.rs", "src/app.rs"]),
        ("histogram!(", &["src/metrics.rs"]),
        ("counter!(", &["src/metrics.rs"]),
        ("gauge!(", &["src/metrics.rs"]),
        ("std::env::var(", &[]),
        ("env::var_os(", &["src/servers/"]),
    ];
    let mut broken = Vec::new();
    for (name, text) in files("src", &["rs"]) {
        for (thing, rooms) in ROOMS {
            let at_home = rooms
                .iter()
                .any(|room| name.starts_with(room) || name.ends_with(room) || name.contains(room));
            if code(&text).contains(thing) && !at_home {
                broken.push(format!("{name} names {thing:?}"));
            }
        }
    }
    none("each thing is named in its own room", broken);
}

#[test]
fn imports_point_one_way() {
    /// In files of these names, no such text.
    const RULES: &[(&[&str], &[&str])] = &[
        (&["ops.rs", "sweep.rs", "tick.rs", "recovery.rs"], &["axum::", "::routes"]),
        (&["store.rs", "model.rs", "event.rs"], &["axum::", "::ops", "::routes", "sqlx::query", "table::"]),
        (&["table.rs", "/table/"], &["axum::", "crate::redis::Redis", "::ops", "::routes"]),
        (&["routes.rs"], &["::store", "sqlx::"]),
    ];
    const FEATURES: &[&str] = &[
        "accounts", "audit", "concerts", "coupons", "delivery", "events", "menus", "orders", "payments",
        "queue", "ranking", "rewards", "seats", "wallet",
    ];
    let mut broken = Vec::new();
    for (name, text) in files("src", &["rs"]) {
        let file = name.rsplit('/').next().unwrap();
        let code = code(&text);
        for (names, forbidden) in RULES {
            let concerns =
                names.iter().any(|room| file == *room || (room.contains('/') && name.contains(room)));
            for what in forbidden.iter().filter(|what| concerns && code.contains(**what)) {
                broken.push(format!("{name} imports {what:?}"));
            }
        }
        // What spans features is an op that calls ops; only a store names another feature's keys.
        let feature = name.split('/').nth(1).unwrap_or_default();
        if FEATURES.contains(&feature) && file != "store.rs" {
            for other in FEATURES.iter().filter(|other| **other != feature) {
                if code.contains(&format!("{other}::store")) {
                    broken.push(format!("{name} uses the store of {other}"));
                }
            }
        }
    }
    none("imports point one way", broken);
}

#[test]
fn nothing_is_left_for_later() {
    let mut broken = Vec::new();
    let marks =
        ["TO", "FIX"].map(|begin| if begin == "TO" { format!("{begin}DO") } else { format!("{begin}ME") });
    for folder in ["src", "lua", "tests", "migrations", "scripts", "k6", "benches", "deploy"] {
        for (name, text) in files(folder, &["rs", "lua", "sql", "sh", "js", "yml", "md"]) {
            for mark in marks.iter().map(String::as_str).chain(["todo!(", "unimplemented!(", "#[ignore"]) {
                if text.contains(mark) && !name.ends_with("tidy.rs") {
                    broken.push(format!("{name} has {mark}"));
                }
            }
        }
    }
    for (name, text) in
        files("src", &["rs"]).into_iter().filter(|(name, _)| !TEST_ONLY.contains(&name.as_str()))
    {
        for (at, line) in code(&text).lines().enumerate() {
            if line.contains(".unwrap()") || line.contains(".expect(\"") {
                broken.push(format!("{name} may panic near line {}", at + 1));
            }
        }
    }
    none("nothing is left for later", broken);
}

#[test]
fn every_feature_says_what_must_hold_and_lists_its_keys() {
    let mut broken = Vec::new();
    for (name, text) in files("src", &["rs"]) {
        if !text.starts_with("//! ") && name != "src/main.rs" {
            broken.push(format!("{name} does not say what it is for"));
        }
        let Some(folder) = name.strip_suffix("/mod.rs") else { continue };
        if root().join(folder).join("store.rs").exists() {
            for wanted in ["must always hold", "Keys"] {
                if !text.contains(wanted) {
                    broken.push(format!("{name} lacks {wanted:?}"));
                }
            }
        }
    }
    none("every feature says what must hold and lists its keys", broken);
}

#[test]
fn every_feature_that_keeps_something_in_redis_is_loaded_by_a_rebuild() {
    let rebuild = std::fs::read_to_string(root().join("src/journal/rebuild.rs")).unwrap();
    let adopt = std::fs::read_to_string(root().join("src/journal/adopt.rs")).unwrap();
    let mut broken = Vec::new();
    for (name, text) in files("src", &["rs"]).iter().filter(|(name, _)| name.ends_with("/store.rs")) {
        let feature = name.split('/').nth(1).unwrap();
        // The journal's own keys are made by `shard/begin` and `shard/open`; of accounts Redis counts only
        // failures, which a loss forgets.
        if ["accounts", "journal"].contains(&feature) || !text.contains("space.key(") {
            continue;
        }
        if !rebuild.contains(&format!("crate::{feature}::table::load(")) {
            broken.push(format!("src/journal/rebuild.rs does not load {feature}"));
        }
        if !adopt.contains(&format!("{feature}::table::adopt(")) {
            broken.push(format!("src/journal/adopt.rs does not take over {feature}"));
        }
    }
    none("every feature that keeps something in Redis is loaded by a rebuild", broken);
}
