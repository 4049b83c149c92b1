//! Limits: how often a user and an address may ask, sign-ins that fail, sizes, connections, slow clients.

use std::time::Duration;

use clap::Parser;
use onrush::config::{LimitSettings, Settings};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Answer, Build, Client, TestApp, at_once, key, with_apps};

/// The defaults with these settings, as on the command line.
fn limits(args: &[&str]) -> Build {
    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }
    let limits: LimitSettings = Cli::parse_from([&["test"], args].concat()).settings.limits;
    Build { limits: Some(limits), ..Build::default() }
}

/// So slow that nothing comes back during a test.
const TWO: &str = "user=0.001/2";

fn limited(answer: Answer, bucket: &str) -> Answer {
    let answer = answer.refused(429, "rate_limited");
    assert!(answer.header("ratelimit").contains(&format!("\"{bucket}\";r=0;t=")), "{answer:?}");
    assert!(answer.header("ratelimit-policy").contains(&format!("\"{bucket}\";q=")), "{answer:?}");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_too_often_is_refused_and_the_others_are_not() {
    let args = ["--limit-polls", TWO, "--limit-joins", TWO, "--limit-writes", TWO, "--limit-reads", TWO];
    with_apps(limits(&args), async |app| {
        let client = app.client();
        let users = app.users(4, 0).await;
        let queue = client.queue(&app.operator().await, json!({})).await;
        let (greedy, patient) = (&users[0], &users[1]);
        let joined = client.join(greedy, &queue).await.expect(201);
        assert_eq!(joined.header("ratelimit-policy"), "\"joins-user\";q=2;w=2000");
        assert!(joined.header("ratelimit").starts_with("\"joins-user\";r=1;t="), "{joined:?}");
        client.join(greedy, &queue).await.expect(200);
        limited(client.join(greedy, &queue).await, "joins-user");
        let (ticket, other) = (joined.text_of("token"), client.join(patient, &queue).await.text_of("token"));
        client.poll(&queue, &ticket).await.expect(200);
        client.poll(&queue, &ticket).await.expect(200);
        limited(client.poll(&queue, &ticket).await, "polls-user");
        client.poll(&queue, &other).await.expect(200);
        for status in [201, 201] {
            client.charge(&users[2], 1, &key()).await.expect(status);
        }
        limited(client.charge(&users[2], 1, &key()).await, "writes-user");
        client.charge(&users[3], 1, &key()).await.expect(201);
        // Classes are counted apart: who may not write may read.
        assert_eq!(client.balance(&users[2]).await, 2);
        assert_eq!(client.balance(&users[2]).await, 2);
        let path = format!("/v1/users/{}/points", users[2].id);
        limited(client.get_as(&users[2], &path).await, "reads-user");
        client.get("/livez").await.expect(200);
        assert_eq!(client.get("/readyz").await.expect(200).body["limits"], "on");
    })
    .await;
}

async fn from(client: &Client, hops: &str) -> Answer {
    client.send(client.request(Method::GET, "/v1/menus").header("X-Forwarded-For", hops)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_what_a_trusted_proxy_says_it_is() {
    let few = ["--limit-reads", "address=0.001/2"];
    with_apps(limits(&few), async |app| {
        let client = app.client();
        // Nobody is trusted: whatever is written there, it is one address.
        from(&client, "1.1.1.1").await.expect(200);
        from(&client, "2.2.2.2").await.expect(200);
        limited(from(&client, "3.3.3.3").await, "reads-address");
    })
    .await;
    with_apps(limits(&[&few[..], &["--trusted-proxies", "127.0.0.0/8"]].concat()), async |app| {
        let client = app.client();
        for hops in ["1.1.1.1", "9.9.9.9, 1.1.1.1"] {
            from(&client, hops).await.expect(200);
        }
        // What the client wrote before his own address does not help him.
        limited(from(&client, "8.8.8.8, 1.1.1.1").await, "reads-address");
        from(&client, "2.2.2.2").await.expect(200);
        // One customer's IPv6 addresses are one client.
        for hops in ["2001:db8::1", "2001:db8::2"] {
            from(&client, hops).await.expect(200);
        }
        limited(from(&client, "2001:db8::3").await, "reads-address");
    })
    .await;
}

async fn log_in(client: &Client, email: &str, password: &str, from: &str) -> Answer {
    let request = client.request(Method::POST, "/v1/auth/login").header("X-Forwarded-For", from);
    client.send(request.json(&json!({"email": email, "password": password}))).await
}

/// How many passwords this process has hashed; tests that ask it run alone with nextest.
async fn hashed(client: &Client) -> u64 {
    let text = client.get("/metrics").await.text;
    let line = text.lines().find(|line| line.starts_with("onrush_passwords_hashed_total ")).unwrap_or("x 0");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

async fn sign_up(app: &TestApp, email: &str) {
    let body = json!({"email": email, "password": "correct horse", "name": "x"});
    app.client().post("/v1/auth/signup", body).await.expect(201);
}

fn throttled(args: &[&str]) -> Build {
    let build = limits(&[&["--trusted-proxies", "127.0.0.1"][..], args].concat());
    Build { instances: 2, ..build }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_sign_ins_of_an_account_wait_on_every_instance_and_are_not_hashed() {
    with_apps(throttled(&["--sign-in-failures-account", "3"]), async |app| {
        sign_up(&app, "ann@x.test").await;
        for email in ["ann@x.test", "nobody@x.test"] {
            let mut waits = Vec::new();
            for at in 0..3 {
                let client = app.client_of(at % 2);
                log_in(&client, email, "wrong horse", &format!("1.1.1.{at}")).await.expect(401);
            }
            let before = hashed(&app.client()).await;
            for at in 0..4 {
                let client = app.client_of(at % 2);
                let email = email.to_uppercase();
                let answer = log_in(&client, &email, "correct horse", "2.2.2.2").await;
                let answer = answer.refused(429, "rate_limited");
                waits.push(answer.header("retry-after").parse::<u64>().unwrap());
            }
            assert!(waits.iter().all(|wait| *wait == 1), "the first wait is a second: {waits:?}");
            if std::env::var_os("NEXTEST").is_some() {
                assert_eq!(hashed(&app.client()).await, before, "who is refused is not hashed");
            }
        }
        // Another account from the same address is not kept waiting; and who waits gets in.
        sign_up(&app, "ben@x.test").await;
        log_in(&app.client(), "ben@x.test", "correct horse", "2.2.2.2").await.expect(200);
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        log_in(&app.client(), "ann@x.test", "correct horse", "2.2.2.2").await.expect(200);
        // A success forgets the failures.
        for _ in 0..3 {
            log_in(&app.client(), "ann@x.test", "wrong horse", "2.2.2.2").await.expect(401);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_grow_and_a_hundred_tries_at_once_are_a_hundred() {
    with_apps(throttled(&["--sign-in-failures-account", "5"]), async |app| {
        sign_up(&app, "ann@x.test").await;
        let tries = (0..100).map(|at| {
            let client = app.client_of(at % 2);
            async move { log_in(&client, "ann@x.test", "wrong horse", &format!("1.1.{at}.1")).await.status }
        });
        let statuses = at_once(tries).await;
        assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 95);
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        log_in(&app.client(), "ann@x.test", "wrong horse", "1.1.1.1").await.expect(401);
        let answer = log_in(&app.client(), "ann@x.test", "correct horse", "1.1.1.1").await;
        assert_eq!(answer.refused(429, "rate_limited").header("retry-after"), "2");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_sign_ins_of_an_address_wait_whatever_the_account() {
    with_apps(throttled(&["--sign-in-failures-address", "4"]), async |app| {
        sign_up(&app, "ann@x.test").await;
        for at in 0..4 {
            let client = app.client_of(at % 2);
            log_in(&client, &format!("{at}@x.test"), "wrong horse", "1.1.1.1").await.expect(401);
            // Whoever succeeds from there costs the address nothing.
            if at < 3 {
                log_in(&client, "ann@x.test", "correct horse", "1.1.1.1").await.expect(200);
            }
        }
        log_in(&app.client(), "ann@x.test", "correct horse", "1.1.1.1").await.refused(429, "rate_limited");
        // What the address may not, the account may from elsewhere: a refusal there was no failure of its.
        for _ in 0..6 {
            log_in(&app.client(), "ann@x.test", "correct horse", "1.1.1.1").await.expect(429);
        }
        log_in(&app.client(), "ann@x.test", "correct horse", "2.2.2.2").await.expect(200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_of_redis_keeps_nobody_from_signing_in() {
    with_apps(throttled(&[]), async |app| {
        sign_up(&app, "ann@x.test").await;
        app.lose_redis().await;
        log_in(&app.client(), "ann@x.test", "correct horse", "1.1.1.1").await.expect(200);
        app.ready().await;
    })
    .await;
}

/// What a connection gets back for these bytes; empty when it is closed without a word.
async fn raw(app: &TestApp, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(app.url(0).trim_start_matches("http://")).await.unwrap();
    // The other side may close before all is written.
    drop(stream.write_all(bytes).await);
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection is held open");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_paths_and_bodies_have_a_limit_in_size_and_time() {
    let args = ["--head-bytes-max", "8192", "--uri-bytes-max", "300", "--head-timeout-seconds", "1"];
    with_apps(limits(&[&args[..], &["--body-timeout-seconds", "1"]].concat()), async |app| {
        let client = app.client();
        let long = "x".repeat(300);
        for path in [format!("/v1/menus?cursor={long}"), format!("/v1/{long}")] {
            client.get(&path).await.refused(400, "invalid_request");
        }
        let huge = format!("GET /v1/menus HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(20_000));
        let answer = raw(&app, huge.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        // A head that never ends, a connection that says nothing, a body that never comes.
        raw(&app, b"GET /v1/menus HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
        raw(&app, b"").await;
        let slow = b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
            Connection: close\r\nContent-Length: 100\r\n\r\n{\"email\":";
        let answer = raw(&app, slow).await;
        assert!(answer.contains("invalid_request") && answer.contains("cut off"), "{answer}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_cannot_take_every_connection() {
    let args = ["--connections-address-max", "3", "--head-timeout-seconds", "30"];
    with_apps(limits(&args), async |app| {
        let address = app.url(0).trim_start_matches("http://").to_owned();
        let mut open = Vec::new();
        // The harness's own client may hold one or two.
        for _ in 0..10 {
            open.push(TcpStream::connect(&address).await.unwrap());
        }
        let mut closed = 0;
        for stream in &mut open {
            let read = tokio::time::timeout(Duration::from_millis(300), stream.read_u8()).await;
            closed += usize::from(matches!(read, Ok(Err(_))));
        }
        assert!((7..10).contains(&closed), "{closed} of ten were closed");
        drop(open);
        crate::harness::eventually("there is room again", || async {
            app.client().try_get("/livez").await == Some(200)
        })
        .await;
    })
    .await;
}
