//! What we stand on: licences that may be passed on, no second copy that nobody has looked at, one crypto
//! library, nothing from outside the registry. From what cargo has on this machine: no network is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};

/// Licences that ask for no more than to be named.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that are there in several versions, because those who use them have not agreed yet. Looked at:
/// none of them holds state that two copies would have to share.
const TWICE: &[&str] = &[
    "base64",
    "block-buffer",
    "cipher",
    "cpufeatures",
    "crypto-common",
    "digest",
    "getrandom",
    "hashbrown",
    "inout",
    "rand",
    "rand_chacha",
    "rand_core",
    "sha2",
    "socket2",
    "syn",
    "untrusted",
];

/// Crypto is aws-lc's alone, TLS rustls': two providers in one process panic.
const BANNED: &[&str] = &["native-tls", "openssl", "openssl-sys", "ring"];

fn cargo(args: &[&str]) -> Vec<u8> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// All packages that are built here, with their versions.
fn packages() -> Vec<Value> {
    let told = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let told = String::from_utf8(told).unwrap();
    let host = told.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let args = ["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host];
    let metadata: Value = serde_json::from_slice(&cargo(&args)).unwrap();
    // The metadata name crates as well that a feature which is off would need; the tree does not.
    let tree = cargo(&["tree", "--offline", "--locked", "--target", host, "--prefix", "none", "-f", "{p}"]);
    let tree = String::from_utf8(tree).unwrap();
    let built: BTreeSet<String> =
        tree.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    let name = |package: &Value| {
        format!("{} v{}", package["name"].as_str().unwrap(), package["version"].as_str().unwrap())
    };
    let packages = metadata["packages"].as_array().unwrap().iter();
    let packages: Vec<Value> = packages.filter(|package| built.contains(&name(package))).cloned().collect();
    assert!(packages.len() > 100, "{} packages", packages.len());
    packages
}

fn may_be_passed_on(licence: &str) -> bool {
    let expression = Expression::parse_mode(licence, ParseMode::LAX);
    expression.is_ok_and(|expression| {
        expression.evaluate(|wanted| wanted.license.id().is_some_and(|id| LICENCES.contains(&id.name)))
    })
}

#[test]
fn every_licence_may_be_passed_on() {
    let mut broken = Vec::new();
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or_default();
        if !may_be_passed_on(licence) {
            broken.push(format!("{} {}: {licence:?}", package["name"], package["version"]));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    for (licence, may) in
        [("MIT OR GPL-3.0", true), ("GPL-3.0", false), ("MIT AND AGPL-3.0", false), ("", false)]
    {
        assert_eq!(may_be_passed_on(licence), may, "{licence}");
    }
}

#[test]
fn what_is_there_twice_was_looked_at() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        let text = |member: &str| package[member].as_str().unwrap().to_owned();
        versions.entry(text("name")).or_default().insert(text("version"));
    }
    let twice = versions.iter().filter(|(_, versions)| versions.len() > 1);
    let twice: Vec<&str> = twice.map(|(name, _)| name.as_str()).collect();
    assert_eq!(twice, TWICE);
    let banned: Vec<_> = BANNED.iter().filter(|name| versions.contains_key(**name)).collect();
    assert!(banned.is_empty(), "{banned:?}");
}

#[test]
fn everything_comes_from_the_registry_and_is_locked_by_its_hash() {
    for package in packages() {
        let source = package["source"].as_str().unwrap_or_default();
        let is_ours = package["name"] == "onrush";
        assert!(is_ours || source.starts_with("registry+"), "{} comes from {source:?}", package["name"]);
    }
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    let parts = lock.split("[[package]]").skip(1);
    let unlocked = parts.filter(|part| part.contains("source = ") && !part.contains("checksum = "));
    assert_eq!(unlocked.count(), 0);
}
