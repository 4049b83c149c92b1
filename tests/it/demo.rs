//! `onrush demo`: from nothing to ready, killed in every way, and again on its data.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Client, Program, User, day, eventually, key, within};

/// Starts a demo in a folder and waits until it says that it is ready: its URL.
pub fn start(folder: &Path, more: &[&str]) -> (Program, String) {
    let mut command = Program::command(&["demo", "--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(folder).args(more).stderr(std::process::Stdio::null());
    let (program, line) = Program::until(command, "ready http://");
    (program, line.trim_start_matches("ready ").to_owned())
}

fn demo_file(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("demo.json")).unwrap()).unwrap()
}

/// Process ids of servers that work in the folder; those that only wait to be reaped do not count.
fn servers(folder: &Path) -> BTreeMap<u32, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let of = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let command = String::from_utf8_lossy(&of("cmdline")).replace('\0', " ");
        let cwd = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let here = command.contains(folder.to_str().unwrap()) || cwd.starts_with(folder);
        if here && !command.contains("onrush demo") && !command.contains("onrush\0demo") {
            found.insert(pid, command);
        }
    }
    found
}

/// The main processes of Redis and Postgres, while both are there.
fn main_processes(folder: &Path) -> Option<(u32, u32)> {
    let of = |name: &str| {
        let mut found = servers(folder).into_iter();
        found.find(|(_, command)| command.split(' ').next().is_some_and(|program| program.ends_with(name)))
    };
    Some((of("redis-server")?.0, of("postgres")?.0))
}

fn nobody_is_left(folder: &Path) {
    let until = Instant::now() + Duration::from_secs(10);
    while !servers(folder).is_empty() {
        assert!(Instant::now() < until, "orphans: {:?}", servers(folder));
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn sign_in(client: &Client, demo: &Value, role: &str) -> User {
    let account = demo["users"].as_array().unwrap().iter().find(|user| user["role"] == role).unwrap();
    let body = json!({"email": account["email"], "password": account["password"]});
    let session = client.send(client.request(reqwest::Method::POST, "/v1/auth/login").json(&body)).await;
    User { id: account["userId"].as_str().unwrap().into(), token: session.expect(200).text_of("accessToken") }
}

/// The main job, as a new user would try it: the seat that was bought.
async fn buy(client: &Client, user: &User, seat: u32) -> String {
    let concerts = client.get("/v1/concerts").await.expect(200);
    let concert = concerts.body["items"][0]["concertId"].as_str().unwrap().to_owned();
    let token = client.enter(user, &concert).await;
    let dates = client.get_inside(user, &token, &format!("/v1/concerts/{concert}/dates")).await.expect(200);
    assert_eq!(dates.body["dates"], json!([day(7), day(8)]));
    let body = json!({"concertId": concert, "date": day(7), "seatNumber": seat});
    let held = client.post_inside(user, &token, "/v1/reservations", body, &key()).await.expect(201);
    client.pay(user, &token, &held.text_of("reservationId"), &key()).await.expect(201).text_of("paymentId")
}

async fn ready(client: &Client) {
    eventually("the demo is ready", || async { client.try_get("/readyz").await == Some(200) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_survives_every_kill_and_leaves_no_orphan() {
    let folder = tempfile::Builder::new().prefix("onrush-demo-").tempdir_in("/tmp").unwrap();
    let folder = folder.path();
    let (program, url) = start(folder, &[]);
    let client = Client::new(&url);
    let file = demo_file(folder);
    assert_eq!(file["url"], url);
    let mode = std::fs::metadata(folder.join("demo.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else reads the passwords");
    let roles: Vec<&str> =
        file["users"].as_array().unwrap().iter().map(|u| u["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["ADMIN", "OPERATOR", "AUDITOR", "USER", "USER", "USER"]);
    assert_eq!(client.get("/v1/concerts").await.body["items"].as_array().unwrap().len(), 2);
    assert!(client.get("/v1/menus").await.body["items"].as_array().unwrap().len() >= 3);
    let user = sign_in(&client, &file, "USER").await;
    let first = buy(&client, &user, 7).await;
    let second = demo_is_locked(folder);
    assert!(second.contains("in use"), "{second}");

    // Redis is killed, then Postgres: each comes back on its data, and what was told is there.
    let (redis, postgres) = main_processes(folder).unwrap();
    onrush::servers::signal(redis, "KILL");
    eventually("redis is another", || async { main_processes(folder).is_some_and(|now| now.0 != redis) })
        .await;
    ready(&client).await;
    client.get_as(&user, &format!("/v1/payments/{first}")).await.expect(200);
    onrush::servers::signal(postgres, "KILL");
    eventually("postgres is another", || async {
        main_processes(folder).is_some_and(|now| now.1 != postgres)
    })
    .await;
    ready(&client).await;
    eventually("the books agree", || async { verify(folder) }).await;

    // The demo itself is killed: its servers go with it, and the next start goes on where it was.
    program.kill();
    nobody_is_left(folder);
    let (program, url) = start(folder, &[]);
    let client = Client::new(&url);
    assert_eq!(demo_file(folder)["users"], file["users"], "accounts are not made twice");
    client.get_as(&user, &format!("/v1/payments/{first}")).await.expect(200);
    assert_eq!(client.get("/v1/concerts").await.body["items"].as_array().unwrap().len(), 2);
    assert!(verify(folder));

    // A clean end, and a start on what it left: nobody waits for what was lost, since nothing was.
    assert_eq!(program.terminate(), Some(0));
    nobody_is_left(folder);
    let (program, url) = start(folder, &[]);
    let client = Client::new(&url);
    let other = sign_in(&client, &file, "USER").await;
    buy(&client, &other, 8).await;
    assert!(verify(folder));

    // All processes at once, and a fresh one that forgets.
    for pid in servers(folder).into_keys().chain([program.pid()]) {
        onrush::servers::signal(pid, "KILL");
    }
    drop(program);
    nobody_is_left(folder);
    let (program, url) = start(folder, &["--fresh"]);
    assert_ne!(demo_file(folder)["users"], file["users"]);
    let client = Client::new(&url);
    let user = sign_in(&client, &demo_file(folder), "USER").await;
    assert_eq!(client.get_as(&user, "/v1/payments").await.expect(200).body["items"], json!([]));
    assert_eq!(program.interrupt(), Some(0));
    nobody_is_left(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_that_nobody_reads_goes_on() {
    let folder = tempfile::Builder::new().prefix("onrush-demo-").tempdir_in("/tmp").unwrap();
    let mut command = Program::command(&["demo", "--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(folder.path()).stderr(std::process::Stdio::null());
    let (program, mut output) = Program::unread(command);
    let line = output.by_ref().find(|line| line.starts_with("ready ")).expect("it is ready");
    let client = Client::new(line.trim_start_matches("ready "));
    let user = sign_in(&client, &demo_file(folder.path()), "USER").await;
    let menus = client.get("/v1/menus").await.expect(200).body;
    // More than a pipe holds; nothing is read any more.
    for _ in 0..300 {
        let body = json!({"items": [{"menuId": menus["items"][0]["menuId"], "quantity": 1}]});
        client.post_as(&user, "/v1/orders", body).await.expect(201);
    }
    let received = || async {
        let text = client.get("/metrics").await.text;
        let lines = text.lines().filter(|line| line.contains("outcome=\"delivered\"}"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>() >= 300
    };
    within(Duration::from_secs(60), "all is received", received).await;
    // What a pipe holds is still in it, and who ends is not kept by it.
    let shown = std::thread::spawn(|| output.filter(|line| line.starts_with("received order")).count());
    assert_eq!(program.terminate(), Some(0));
    assert!(shown.join().unwrap() > 0);
    nobody_is_left(folder.path());
}

fn demo_is_locked(folder: &Path) -> String {
    let mut command = Program::command(&["demo", "--listen", "127.0.0.1:0", "--data-dir"]);
    String::from_utf8_lossy(&command.arg(folder).output().unwrap().stderr).into_owned()
}

fn verify(folder: &Path) -> bool {
    let mut command = Program::command(&["verify", "--data-dir"]);
    command.arg(folder).output().unwrap().status.success()
}
