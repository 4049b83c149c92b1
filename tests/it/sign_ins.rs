//! Sign-ins that fail: who waits, for how long, on which instance; and who does not.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Build, Client, TestApp, at_once, with_apps};
use crate::limits::limits;

async fn log_in(client: &Client, email: &str, password: &str, from: &str) -> Answer {
    let request = client.request(Method::POST, "/v1/auth/login").header("X-Forwarded-For", from);
    client.send(request.json(&json!({"email": email, "password": password}))).await
}

async fn right(client: &Client, email: &str, from: &str) -> Answer {
    log_in(client, email, "correct horse", from).await
}

async fn wrong(client: &Client, email: &str, from: &str) -> Answer {
    log_in(client, email, "wrong horse", from).await
}

/// How many passwords this process has hashed.
async fn hashed(client: &Client) -> i64 {
    client.counter("onrush_passwords_hashed_total").await
}

async fn sign_up(app: &TestApp, email: &str) {
    let body = json!({"email": email, "password": "correct horse", "name": "x"});
    app.client().post("/v1/auth/signup", body).await.expect(201);
}

/// Two instances behind a proxy.
fn throttled(args: &[&str]) -> Build {
    let base = ["--trusted-proxies", "127.0.0.1", "--passwords-waiting-max", "400"];
    Build { instances: 2, ..limits(&[&base[..], args].concat()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_failed_waits_on_every_instance_and_is_not_hashed() {
    with_apps(throttled(&["--sign-in-failures", "3"]), async |app| {
        sign_up(&app, "ann@x.test").await;
        for email in ["ann@x.test", "nobody@x.test"] {
            let begun = hashed(&app.client()).await;
            for at in 0..3 {
                wrong(&app.client_of(at % 2), email, "1.1.1.1").await.refused(401, "credentials_invalid");
            }
            let before = hashed(&app.client()).await;
            if std::env::var_os("NEXTEST").is_some() {
                assert_eq!(before - begun, 3, "an unknown address costs what a known one does");
            }
            for at in 0..2 {
                let answer = right(&app.client_of(at), &email.to_uppercase(), "1.1.1.1").await;
                assert_eq!(answer.refused(429, "rate_limited").header("retry-after"), "1");
            }
            // A process is a test's own with nextest alone.
            if std::env::var_os("NEXTEST").is_some() {
                assert_eq!(hashed(&app.client()).await, before, "who is refused is not hashed");
            }
        }
        // Neither the account elsewhere nor the address for another account waits.
        right(&app.client(), "ann@x.test", "2.2.2.2").await.expect(200);
        sign_up(&app, "ben@x.test").await;
        right(&app.client(), "ben@x.test", "1.1.1.1").await.expect(200);
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        right(&app.client(), "ann@x.test", "1.1.1.1").await.expect(200);
        // A success forgets the failures.
        for _ in 0..3 {
            wrong(&app.client(), "ann@x.test", "1.1.1.1").await.expect(401);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_grow_and_a_hundred_tries_at_once_are_a_hundred() {
    with_apps(throttled(&["--sign-in-failures", "5"]), async |app| {
        sign_up(&app, "ann@x.test").await;
        let tries = (0..100).map(|at| {
            let client = app.client_of(at % 2);
            async move { wrong(&client, "ann@x.test", "1.1.1.1").await.status }
        });
        let statuses = at_once(tries).await;
        assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 95);
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        wrong(&app.client(), "ann@x.test", "1.1.1.1").await.expect(401);
        let answer = right(&app.client(), "ann@x.test", "1.1.1.1").await;
        assert_eq!(answer.refused(429, "rate_limited").header("retry-after"), "2");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_many_addresses_guess_at_waits_a_little() {
    with_apps(throttled(&["--sign-in-failures-account", "4"]), async |app| {
        sign_up(&app, "ann@x.test").await;
        for at in 0..4 {
            wrong(&app.client_of(at % 2), "ann@x.test", &format!("1.1.1.{at}")).await.expect(401);
        }
        right(&app.client(), "ann@x.test", "2.2.2.2").await.refused(429, "rate_limited");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_guesses_at_many_accounts_waits_a_little() {
    with_apps(throttled(&["--sign-in-failures-address", "4"]), async |app| {
        sign_up(&app, "ann@x.test").await;
        sign_up(&app, "ben@x.test").await;
        for at in 0..4 {
            let client = app.client_of(at % 2);
            wrong(&client, &format!("{at}@x.test"), "1.1.1.1").await.expect(401);
            // Whoever succeeds from there costs the address nothing.
            if at < 3 {
                right(&client, "ann@x.test", "1.1.1.1").await.expect(200);
            }
        }
        right(&app.client(), "ben@x.test", "1.1.1.1").await.refused(429, "rate_limited");
        // Being refused there was no failure of the account's.
        right(&app.client(), "ben@x.test", "2.2.2.2").await.expect(200);
    })
    .await;
}

/// Nobody can shut another out by failing: who has signed in from an address before is not kept waiting
/// there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_known_at_an_address_is_not_kept_waiting_by_others() {
    let few = ["--sign-in-failures-account", "2", "--sign-in-failures-address", "2"];
    with_apps(throttled(&few), async |app| {
        sign_up(&app, "ann@x.test").await;
        right(&app.client(), "ann@x.test", "1.1.1.1").await.expect(200);
        for at in 0..2 {
            wrong(&app.client(), "ann@x.test", &format!("3.3.3.{at}")).await.expect(401);
            wrong(&app.client(), &format!("{at}@x.test"), "1.1.1.1").await.expect(401);
        }
        right(&app.client(), "ann@x.test", "2.2.2.2").await.refused(429, "rate_limited");
        wrong(&app.client(), "2@x.test", "1.1.1.1").await.refused(429, "rate_limited");
        right(&app.client_of(1), "ann@x.test", "1.1.1.1").await.expect(200);
    })
    .await;
}

/// Whoever goes away before the answer has learnt nothing, and has not failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_that_nobody_waits_for_is_no_failure() {
    with_apps(throttled(&["--sign-in-failures", "2"]), async |app| {
        sign_up(&app, "ann@x.test").await;
        let (client, body) = (app.client(), json!({"email": "ann@x.test", "password": "correct horse"}));
        for at in 0..12 {
            let request = client.request(Method::POST, "/v1/auth/login").json(&body).send();
            drop(tokio::time::timeout(Duration::from_millis(at), request).await);
        }
        let count = "return #redis.call('KEYS', ARGV[1])";
        let pattern = format!("{}:*:failures", app.config.prefix);
        crate::harness::eventually("every try is settled", || async {
            app.redis_everywhere(count, &pattern).await == 0
        })
        .await;
        right(&client, "ann@x.test", "127.0.0.1").await.expect(200);
    })
    .await;
}

/// Spellings that Postgres finds the same account by are one account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_other_letters_is_counted_as_one() {
    with_apps(throttled(&["--sign-in-failures", "2"]), async |app| {
        sign_up(&app, "ilia.\u{3c3}@x.test").await;
        for email in ["\u{130}lia.\u{3a3}@x.test", "Ilia.\u{3a3}@x.test"] {
            wrong(&app.client(), email, "1.1.1.1").await.expect(401);
        }
        right(&app.client(), "ilia.\u{3c3}@x.test", "1.1.1.1").await.refused(429, "rate_limited");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_of_redis_keeps_nobody_from_signing_in() {
    with_apps(throttled(&[]), async |app| {
        sign_up(&app, "ann@x.test").await;
        app.lose_redis().await;
        right(&app.client(), "ann@x.test", "1.1.1.1").await.expect(200);
        app.ready().await;
    })
    .await;
}
