//! The program as its users start it: commands, mistakes, signals.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use crate::harness::{Program, eventually, free_port, key, program_settings, with_app};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_teaches_and_completions_are_printed() {
    let help = text(&Program::output(&["--help"]).stdout);
    for command in [
        "demo",
        "serve",
        "migrate",
        "admin",
        "load-users",
        "verify",
        "doctor",
        "openapi",
        "config",
        "healthcheck",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "--help lacks {command}:\n{help}");
    }
    assert!(help.contains("Try it:"));
    let serve = text(&Program::output(&["serve", "--help"]).stdout);
    assert!(serve.contains("ONRUSH_JWT_SECRET") && serve.contains("openssl rand"));
    let completions = Program::output(&["completions", "bash"]);
    assert!(text(&completions.stdout).contains("_onrush()"));
}

#[test]
fn serve_names_every_mistake_and_refuses_to_start_without_a_secret() {
    let mut command = Program::command(&["serve"]);
    let ended = command.env("ONRUSH_LISTEN", "nowhere").env("ONRUSH_JWT_SECRET", "short").output().unwrap();
    assert!(!ended.status.success());
    let told = text(&ended.stderr);
    for mistake in
        ["ONRUSH_LISTEN", "ONRUSH_REDIS_URL", "ONRUSH_DATABASE_URL", "ONRUSH_JWT_SECRET has 5 bytes"]
    {
        assert!(told.contains(mistake), "{mistake} is not in:\n{told}");
    }
    assert!(told.contains("openssl rand -base64 48"), "it says how to make one");
    let check = Program::output(&["config", "check"]);
    assert!(!check.status.success() && text(&check.stderr).contains("ONRUSH_REDIS_URL"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_wants_a_schema_and_its_own_number_of_shards() {
    with_app(async |app| {
        let with = |name: &str, value: &str| {
            let mut command = Program::command(&["serve"]);
            program_settings(&mut command, &app).env("ONRUSH_LISTEN", "127.0.0.1:0").env(name, value);
            text(&command.output().unwrap().stderr)
        };
        let told = with("ONRUSH_SHARDS", "7");
        assert!(told.contains("4 shards"), "{told}");
        let empty = format!("{}x", app.config.database_url);
        let told = with("ONRUSH_DATABASE_URL", &empty);
        assert!(told.contains("onrush migrate"), "{told}");
        let told = with("ONRUSH_REDIS_URL", "redis://127.0.0.1:1");
        assert!(told.contains("cannot connect to Redis"), "{told}");
        let told = with("ONRUSH_DATABASE_URL", "postgres://x@127.0.0.1:1/x");
        assert!(told.contains("cannot connect to Postgres"), "{told}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_deployments_redis_is_left_alone() {
    with_app(async |app| {
        let user = app.user(5).await;
        with_app(async |other| {
            let mut command = Program::command(&["serve"]);
            program_settings(&mut command, &app)
                .env("ONRUSH_LISTEN", "127.0.0.1:0")
                .env("ONRUSH_DATABASE_URL", &other.config.database_url);
            let refused = command.output().unwrap();
            let told = text(&refused.stderr);
            assert!(!refused.status.success() && told.contains("data of deployment"), "{told}");
        })
        .await;
        app.client().charge(&user, 1, &key()).await.expect(201);
        assert_eq!(app.count("select max(epoch) from journal_cursor").await, 1, "nothing was rebuilt");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_is_made_with_a_password_from_standard_input() {
    with_app(async |app| {
        let create = |email: &str, password: &str| {
            let mut command = Program::command(&["admin", "create", "--email", email, "--role", "ADMIN"]);
            program_settings(&mut command, &app)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        };
        assert!(create("root@example.org", "correct horse").status.success());
        let again = create("Root@example.org", "correct horse");
        assert!(text(&again.stderr).contains("exists"), "{}", text(&again.stderr));
        assert!(!create("other@example.org", "short").status.success());
        assert!(!create("no address", "correct horse").status.success());
        let login = json!({"email": "root@example.org", "password": "correct horse"});
        let client = app.client();
        let session = client.send(client.request(reqwest::Method::POST, "/v1/auth/login").json(&login)).await;
        let user =
            crate::harness::User { id: String::new(), token: session.expect(200).text_of("accessToken") };
        assert_eq!(client.get_as(&user, "/v1/auth/me").await.body["role"], "ADMIN");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_users_prints_tokens_that_work_and_verify_agrees() {
    with_app(async |app| {
        let mut command = Program::command(&["load-users", "--count", "30", "--points", "500"]);
        let printed = program_settings(&mut command, &app).output().unwrap();
        assert!(printed.status.success(), "{}", text(&printed.stderr));
        let csv = text(&printed.stdout);
        let mut lines = csv.lines();
        assert_eq!(lines.next(), Some("userId,accessToken"));
        let users: Vec<crate::harness::User> = lines
            .map(|line| line.split_once(',').unwrap())
            .map(|(id, token)| crate::harness::User { id: id.into(), token: token.into() })
            .collect();
        assert_eq!(users.len(), 30);
        for user in &users {
            assert_eq!(app.client().balance(user).await, 500);
        }
        let verify = || {
            let mut command = Program::command(&["verify"]);
            program_settings(&mut command, &app).output().unwrap()
        };
        let agreed = verify();
        assert!(agreed.status.success(), "{}{}", text(&agreed.stdout), text(&agreed.stderr));
        // One point too many in Postgres, and verify says where.
        let spoil = |by: &str| {
            format!("update balances set balance = balance + {by} where user_id = '{}'", users[0].id)
        };
        let pool = &app.inside(0).pool;
        sqlx::query(sqlx::AssertSqlSafe(spoil("1"))).execute(pool).await.unwrap();
        let differs = verify();
        assert_eq!(differs.status.code(), Some(1));
        let told = text(&differs.stdout);
        assert!(told.contains(&users[0].id) && told.contains("\"500\"") && told.contains("501"), "{told}");
        sqlx::query(sqlx::AssertSqlSafe(spoil("-1"))).execute(pool).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_way_out_no_request_is_lost_and_the_journal_is_drained() {
    with_app(async |app| {
        let port = free_port();
        let program = Program::serve(&app, port);
        let client = crate::harness::Client::new(&format!("http://127.0.0.1:{port}"));
        eventually("the program is ready", || async { client.try_get("/readyz").await == Some(200) }).await;
        let users = app.users(8, 0).await;
        let charging: Vec<_> = users
            .iter()
            .cloned()
            .map(|user| {
                let client = client.clone();
                tokio::spawn(async move {
                    let mut told = 0;
                    // Until the listener is closed; what was accepted is answered.
                    while client.try_charge(&user, 1, &key()).await == Some(201) {
                        told += 1;
                    }
                    told
                })
            })
            .collect();
        eventually("charges run", || async { app.count("select count(*) from ledger").await > 200 }).await;
        assert_eq!(program.terminate(), Some(0), "it ends cleanly");
        let mut told = 0;
        for charge in charging {
            told += charge.await.unwrap();
        }
        assert_eq!(app.count("select count(*) from ledger").await, told, "as many as were told, and no more");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heartbeat_of_a_running_instance_is_asked_for() {
    with_app(async |app| {
        let address = app.url(0).trim_start_matches("http://");
        let ask = |address: &str| Program::output(&["healthcheck", "--listen", address]).status.success();
        assert!(ask(address));
        let admin = app.account(onrush::Role::Admin).await;
        app.client().put_as(&admin, "/health", json!({"inRotation": false})).await.expect(200);
        assert!(!ask(address));
        assert!(!ask("127.0.0.1:1"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_lines_of_json_that_name_the_request_and_no_secret() {
    with_app(async |app| {
        let port = free_port();
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Program::command(&["serve", "--log", "onrush=debug"]);
        program_settings(&mut command, &app).env("ONRUSH_LISTEN", format!("127.0.0.1:{port}"));
        command.stderr(log.reopen().unwrap());
        let program = Program::spawn(command);
        let client = crate::harness::Client::new(&format!("http://127.0.0.1:{port}"));
        eventually("the program is ready", || async { client.try_get("/readyz").await == Some(200) }).await;
        let user = app.user(0).await;
        let named = |path: &str| {
            client
                .request(reqwest::Method::GET, path)
                .header("X-Request-Id", "find-me")
                .bearer_auth(&user.token)
        };
        client.send(named("/v1/auth/me")).await.expect(200);
        assert_eq!(program.terminate(), Some(0));
        let text = std::fs::read_to_string(log.path()).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect();
        let found: Vec<_> = lines.iter().filter(|line| line["request_id"] == "find-me").collect();
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!((&found[0]["status"], &found[0]["path"]), (&json!(200), &json!("/v1/auth/me")));
        assert!(found[0]["timestamp"].is_string() && found[0]["level"] == "DEBUG", "{}", found[0]);
        assert!(!text.contains(&user.token), "tokens are never logged");
    })
    .await;
}
