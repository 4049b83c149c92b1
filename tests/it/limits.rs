//! Limits: how often a user and an address may ask, sign-ins that fail, sizes, connections, slow clients.

use std::time::Duration;

use clap::Parser;
use onrush::config::{LimitSettings, Settings};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Answer, Build, Client, TestApp, key, with_apps};

/// The defaults with these settings, as on the command line.
pub fn limits(args: &[&str]) -> Build {
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
async fn an_answer_that_takes_too_long_is_given_up_and_the_key_tells_what_became_of_it() {
    with_apps(limits(&["--request-timeout-seconds", "1"]), async |app| {
        let (client, user) = (app.client(), app.user(0).await);
        let lock = app.hold_up_postgres().await;
        client.charge(&user, 5, "slow").await.refused_later(504, "outcome_unknown");
        drop(lock);
        crate::harness::eventually("the key tells", || async {
            client.charge(&user, 5, "slow").await.status == 201
        })
        .await;
        assert_eq!(client.balance(&user).await, 5);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_three_streams_and_documents_are_counted_too() {
    with_apps(limits(&["--limit-reads", "address=0.001/10"]), async |app| {
        let client = app.client();
        let queue = client.queue(&app.operator().await, json!({"maxActive": 0})).await;
        let ticket = client.join(&app.user(0).await, &queue).await.text_of("token");
        let path = format!("/v1/queues/{queue}/tickets/me/events");
        let open = || client.request(Method::GET, &path).header("Queue-Token", &ticket).send();
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(open().await.unwrap());
            assert_eq!(streams.last().unwrap().status(), 200);
        }
        assert_eq!(open().await.unwrap().status(), 429);
        drop(streams.pop());
        crate::harness::eventually("another stream fits", || async { open().await.unwrap().status() == 200 })
            .await;
        let mut statuses = Vec::new();
        for _ in 0..12 {
            statuses.push(client.try_get("/docs/index.html").await.unwrap());
        }
        assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    })
    .await;
}
