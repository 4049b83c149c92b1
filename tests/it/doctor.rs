//! `onrush doctor`: what it finds, and what it says to do about it.

use std::process::Output;

use onrush::servers::{Folder, Programs, free_port};

use crate::demo::start;
use crate::harness::{Program, program_settings, redis_nodes, redis_raw, with_app};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_demo_has_nothing_to_mend() {
    let folder = tempfile::Builder::new().prefix("onrush-doctor-").tempdir_in("/tmp").unwrap();
    let (program, _) = start(folder.path(), &[]);
    let told = Program::output(&["doctor", "--data-dir", folder.path().to_str().unwrap()]);
    assert!(told.status.success(), "{}", text(&told));
    let told = text(&told);
    assert!(told.contains("doctor: 0 to mend"), "{told}");
    for good in ["ONRUSH_JWT_SECRET", "schema", "shards", "accounts"] {
        assert!(told.lines().any(|line| line.starts_with(&format!("good  {good}"))), "{good}:\n{told}");
    }
    assert!(told.contains("maxmemory is 0"), "what is doubtful is told as well:\n{told}");
    assert_eq!(program.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_thing_that_is_wrong_is_named_with_what_mends_it() {
    with_app(async |app| {
        let folder = tempfile::Builder::new().prefix("onrush-doctor-").tempdir_in("/tmp").unwrap();
        let home = Folder::open(folder.path()).unwrap();
        let redis = home.start_redis(&Programs::find().unwrap(), free_port().unwrap()).unwrap();
        for setting in [
            ["maxmemory-policy", "allkeys-lru"],
            ["appendonly", "no"],
            ["auto-aof-rewrite-min-size", "64mb"],
            ["rdbcompression", "yes"],
            ["maxmemory", "900mb"],
        ] {
            let node = redis_nodes(&redis.url).remove(0);
            redis_raw(node, &["CONFIG", "SET", setting[0], setting[1]]).await;
        }
        app.sql("update journal_cursor set state = 'fenced' where shard = 1").await;
        let mut command = Program::command(&["doctor"]);
        program_settings(&mut command, &app)
            .env("ONRUSH_REDIS_URL", &redis.url)
            .env("ONRUSH_JWT_SECRET", "a".repeat(40))
            .env("ONRUSH_BCRYPT_COST", "5")
            .env("ONRUSH_TRUSTED_PROXIES", "0.0.0.0/0");
        let output = command.output().unwrap();
        app.sql("update journal_cursor set state = 'live' where shard = 1").await;
        let told = text(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        for (grade, of, what) in [
            ("MEND", "ONRUSH_JWT_SECRET", "openssl rand -base64 48"),
            ("MEND", "settings", "ONRUSH_TRUSTED_PROXIES holds everybody"),
            ("look", "settings", "ONRUSH_BCRYPT_COST is 5"),
            ("look", "settings", "ONRUSH_LIMITS is off"),
            ("MEND", "redis", "CONFIG SET maxmemory-policy noeviction"),
            ("look", "redis", "CONFIG SET appendonly yes"),
            ("look", "redis", "CONFIG SET auto-aof-rewrite-min-size 256mb"),
            ("look", "redis", "CONFIG SET rdbcompression no"),
            // The harness's Postgres does not sync.
            ("MEND", "postgres", "set fsync = on"),
            ("MEND", "shards", "1 are fenced"),
            ("look", "accounts", "onrush admin create"),
        ] {
            let found =
                told.lines().any(|line| line.starts_with(&format!("{grade}  {of}")) && line.contains(what));
            assert!(found, "{grade} {of} {what:?} is not in\n{told}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_away_and_a_schema_that_is_not_there_are_named() {
    with_app(async |app| {
        let run = |name: &str, value: &str| {
            let mut command = Program::command(&["doctor"]);
            let output = program_settings(&mut command, &app).env(name, value).output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            text(&output)
        };
        let told = run("ONRUSH_REDIS_URL", "redis://127.0.0.1:1");
        assert!(told.contains("cannot be asked") && told.contains("ONRUSH_REDIS_URL"), "{told}");
        assert!(told.contains("postgres"), "the rest is looked at all the same:\n{told}");
        let told = run("ONRUSH_DATABASE_URL", "postgres://x@127.0.0.1:1/x");
        assert!(told.contains("cannot be asked") && told.contains("ONRUSH_DATABASE_URL"), "{told}");
        let told = run("ONRUSH_DATABASE_URL", &format!("{}x", app.config.database_url));
        assert!(told.contains("run onrush migrate"), "{told}");
        let told = run("ONRUSH_SHARDS", "7");
        assert!(told.contains("MEND  ONRUSH_SHARDS"), "{told}");
        let told = run("ONRUSH_TICK_MS", "1");
        assert!(told.contains("MEND  settings") && told.contains("ONRUSH_TICK_MS"), "{told}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_redis_of_another_deployment_is_named() {
    with_app(async |app| {
        with_app(async |other| {
            let mut command = Program::command(&["doctor"]);
            program_settings(&mut command, &app).env("ONRUSH_DATABASE_URL", &other.config.database_url);
            let told = text(&command.output().unwrap());
            let found =
                told.lines().any(|line| line.starts_with("MEND  redis") && line.contains("deployment"));
            assert!(found, "{told}");
        })
        .await;
    })
    .await;
}
