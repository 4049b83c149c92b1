//! Documents that cannot go stale: what is printed in them is made from what it tells of, examples run.
//!
//! A part between `<!-- begin: name -->` and `<!-- end: name -->` is compared with what it should say;
//! `UPDATE_DOCUMENTS=1` writes it instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sqlx::Row;

use crate::demo::start;
use crate::harness::{Program, document, with_app};

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[track_caller]
fn says(file: &str, part: &str, wanted: &str) {
    let text = read(file);
    let (begin, end) = (format!("<!-- begin: {part} -->\n"), format!("<!-- end: {part} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{file} has no part {part}"));
    let (found, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{file}: {part} does not end"));
    let wanted = format!("{}\n", wanted.trim_end());
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        fs::write(path(file), format!("{before}{begin}{wanted}{end}{after}")).unwrap();
        return;
    }
    assert_eq!(found, wanted, "{file}, {part}: run the test with UPDATE_DOCUMENTS=1 and look at the diff");
}

#[test]
fn the_table_of_settings_is_the_programs_own() {
    let table = Program::output(&["config", "table"]).stdout;
    says("README.md", "settings", &String::from_utf8(table).unwrap());
}

#[test]
fn the_table_of_routes_is_the_routers() {
    let mut by_tag: BTreeMap<&str, String> = BTreeMap::new();
    for (path, operations) in document()["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let requires = |name: &str| operation["security"][0].get(name).is_some();
            let who = operation["x-who"].as_str().unwrap();
            let bearer = match who {
                "user" => "bearer".to_owned(),
                "owner" => "bearer of that user, or ADMIN".to_owned(),
                "admin" => "ADMIN".to_owned(),
                role => format!("{}, ADMIN", role.to_uppercase().replace('+', ", ")),
            };
            let header = |name: &str| {
                operation["parameters"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|one| one["name"] == name && one["required"] == true)
            };
            let needs = [
                (requires("bearer"), bearer.as_str()),
                (requires("queueToken"), "Queue-Token"),
                (header("Idempotency-Key"), "Idempotency-Key"),
                (header("If-Match"), "If-Match"),
            ];
            let needs: Vec<&str> =
                needs.into_iter().filter(|(needed, _)| *needed).map(|(_, name)| name).collect();
            let row = by_tag.entry(operation["tags"][0].as_str().unwrap()).or_default();
            let summary = operation["summary"].as_str().unwrap();
            writeln!(row, "| `{} {path}` | {summary} | {} |", method.to_uppercase(), needs.join(", "))
                .unwrap();
        }
    }
    let mut table = String::from("| route | what it does | needs |\n| --- | --- | --- |\n");
    for (tag, rows) in by_tag {
        write!(table, "| **{tag}** | | |\n{rows}").unwrap();
    }
    says("README.md", "routes", &table);
}

/// Columns by table: name, type, whether it is part of the primary key.
type Tables = BTreeMap<String, Vec<(String, String, bool)>>;

async fn tables(pool: &sqlx::PgPool, schema: &str) -> Tables {
    let rows = sqlx::query(
        "select c.relname::text as name, a.attname::text as col, format_type(a.atttypid, null) as kind,
                coalesce(a.attnum = any(i.indkey), false) as key
         from pg_class c
         join pg_namespace n on n.oid = c.relnamespace and n.nspname = $1
         join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         left join pg_index i on i.indrelid = c.oid and i.indisprimary
         where c.relkind in ('r', 'p') and not c.relispartition and c.relname <> '_sqlx_migrations'
         order by c.relname, a.attnum",
    );
    let mut tables = Tables::new();
    for row in rows.bind(schema).fetch_all(pool).await.unwrap() {
        let column = (row.get("col"), row.get::<String, _>("kind"), row.get("key"));
        tables.entry(row.get("name")).or_default().push(column);
    }
    tables
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_diagram_of_tables_is_that_of_the_schema() {
    with_app(async |app| {
        let tables = tables(&app.inside(0).pool, &app.schema).await;
        assert!(tables.len() > 10, "{tables:?}");
        let mut diagram = String::from("```mermaid\nerDiagram\n");
        for (name, columns) in &tables {
            writeln!(diagram, "    {name} {{").unwrap();
            for (column, kind, key) in columns {
                let kind = kind.replace("timestamp with time zone", "timestamptz").replace("[]", "_array");
                writeln!(diagram, "        {kind} {column}{}", if *key { " PK" } else { "" }).unwrap();
            }
            writeln!(diagram, "    }}").unwrap();
        }
        // A column that is called as another table's whole key refers to it.
        for (owner, columns) in &tables {
            let keys: Vec<&String> = columns.iter().filter(|(.., key)| *key).map(|(name, ..)| name).collect();
            let [key] = keys[..] else { continue };
            for (other, columns) in tables.iter().filter(|(name, _)| *name != owner) {
                if columns.iter().any(|(column, ..)| column == key) {
                    writeln!(diagram, "    {owner} ||--o{{ {other} : {key}").unwrap();
                }
            }
        }
        diagram.push_str("```\n");
        says("migrations/README.md", "tables", &diagram);
    })
    .await;
}

/// Code blocks of a kind below a heading.
fn blocks(text: &str, heading: &str, kind: &str) -> Vec<String> {
    let below = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    let section = below.split("\n## ").next().unwrap();
    let fence = format!("```{kind}\n");
    let parts = section.split(&fence).skip(1);
    parts.map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_examples_run_as_they_stand() {
    let folder = tempfile::Builder::new().prefix("onrush-readme-").tempdir_in("/tmp").unwrap();
    let (program, url) = start(folder.path(), &[]);
    let blocks = blocks(&read("README.md"), "## The API by example", "sh");
    assert!(blocks.len() >= 5, "the examples are gone");
    let folder_text = folder.path().to_str().unwrap();
    let script = blocks.concat().replace(".onrush/", &format!("{folder_text}/"));
    assert!(script.contains(folder_text), "the examples read the demo's file");
    let script = format!("set -euo pipefail\ntrap 'echo \"line $LINENO: $BASH_COMMAND\" >&2' ERR\n{script}");
    let output = Command::new("bash").arg("-c").arg(&script).output().unwrap();
    let (told, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{url}: {told}\n{wrong}");
    for part in ["\"status\":\"PAID\"", "\"type\":\"PAYMENT\"", "seat_taken", "Idempotency-Replayed: true"] {
        assert!(told.to_lowercase().contains(&part.to_lowercase()), "{part} is not in {told}");
    }
    assert_eq!(program.terminate(), Some(0));
}

/// The tests that a text names; each must be there.
#[track_caller]
fn tests_named(text: &str) -> BTreeSet<&str> {
    let named: BTreeSet<&str> =
        text.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).collect();
    for name in &named {
        let (module, function) = name.rsplit_once("::").unwrap();
        let file = format!("tests/it/{}.rs", module.replace("::", "/"));
        assert!(read(&file).contains(&format!("fn {function}(")), "{name} is no test");
    }
    named
}

#[test]
fn each_risk_names_tests_that_are_there() {
    let security = read("SECURITY.md");
    let rows: Vec<&str> = security.lines().filter(|line| line.starts_with("| API")).collect();
    assert_eq!(rows.len(), 10, "OWASP's ten");
    for row in rows {
        assert!(!tests_named(row).is_empty(), "{row} has no test");
    }
}

#[test]
fn each_guarantee_names_tests_that_are_there() {
    let readme = read("README.md");
    let section = readme.split_once("\n## Guarantees\n").expect("the guarantees").1;
    let section = section.split("\n## ").next().unwrap();
    let named = tests_named(section);
    assert!(named.len() >= 16, "two a guarantee: {named:?}");
    for guarantee in 1..=8 {
        assert!(section.contains(&format!("| G{guarantee} |")), "G{guarantee} is missing");
    }
}

#[test]
fn files_for_containers_use_settings_that_exist() {
    let table = String::from_utf8(Program::output(&["config", "table"]).stdout).unwrap();
    for file in ["docker-compose.yml", "Dockerfile"] {
        let text = read(file);
        let names = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        let names: BTreeSet<&str> = names.filter(|name| name.starts_with("ONRUSH_")).collect();
        assert!(!names.is_empty(), "{file} sets nothing");
        for name in names {
            assert!(table.contains(&format!("`{name}`")), "{file}: {name} is no setting");
        }
    }
    // Prometheus asks the path that the service answers on.
    assert!(read("deploy/prometheus.yml").contains("metrics_path: /metrics"));
    assert!(matches!(document()["paths"]["/metrics"], Value::Object(_)));
}
