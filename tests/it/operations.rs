//! What operators, load balancers and Prometheus ask.

use onrush::Role;
use serde_json::json;

use crate::harness::{eventually, key, with_app};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_tells_that_it_lives_and_is_ready() {
    with_app(async |app| {
        let client = app.client();
        assert_eq!(client.get("/livez").await.expect(200).text, "ok");
        let ready = client.get("/readyz").await.expect(200).body;
        assert_eq!(
            (&ready["ready"], &ready["shardsLive"], &ready["shards"]),
            (&json!(true), &json!(4), &json!(4))
        );
        assert_eq!(ready["limits"], "off");
        assert_eq!(ready["shardStates"]["s03"], "live");
        assert!(ready["lagMs"].as_u64().unwrap() <= 3_000);
        assert_eq!(client.get("/health").await.expect(200).body, json!({"inRotation": true}));
        let keys = client.get("/.well-known/jwks.json").await.expect(200).body["keys"].clone();
        assert_eq!((keys.as_array().unwrap().len(), &keys[0]["crv"]), (1, &json!("Ed25519")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_takes_an_instance_out_of_rotation() {
    with_app(async |app| {
        let (client, admin, operator) = (app.client(), app.account(Role::Admin).await, app.operator().await);
        client.put_as(&operator, "/health", json!({"inRotation": false})).await.refused(403, "forbidden");
        client.put_as(&admin, "/health", json!({"inRotation": false})).await.expect(200);
        client.get("/health").await.expect(503);
        client.get("/livez").await.expect(200);
        client.put_as(&admin, "/health", json!({"inRotation": true})).await.expect(200);
        client.get("/health").await.expect(200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_tell_of_the_main_job() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(1_000).await);
        let concert = client.concert(&operator, 5, 100, json!({})).await;
        let token = client.enter(&user, &concert).await;
        let held = client.reserve(&user, &token, &concert, &[1]).await.expect(201).text_of("reservationId");
        client.pay(&user, &token, &held, &key()).await.expect(201);
        let wanted = [
            "onrush_http_request_seconds_bucket{route=\"/v1/payments\",method=\"POST\",status=\"201\",le=\"1\"}",
            "onrush_script_seconds_count{script=\"seats/hold\",outcome=\"done\"}",
            "onrush_ack_wait_seconds_sum",
            "onrush_journal_batch_entries_bucket",
            "onrush_journal_batch_seconds_count",
            "onrush_journal_lag_entries{shard=\"s00\"}",
            "onrush_journal_lag_seconds{shard=\"s00\"}",
            "onrush_shard_live{shard=\"s03\"} 1",
            "onrush_queue_joined_total 1",
            "onrush_queue_admitted_total 1",
            "onrush_queue_waiting",
            "onrush_queue_active",
            "onrush_seat_holds_total 1",
            "onrush_seat_sales_total 1",
            "onrush_server_up{server=\"redis\"} 1",
            "onrush_server_up{server=\"postgres\"} 1",
        ];
        for line in wanted {
            eventually(line, || async { client.get("/metrics").await.text.contains(line) }).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_code_has_its_page() {
    with_app(async |app| {
        let client = app.client();
        for code in onrush::error::Code::ALL {
            let page = client.get(&format!("/problems/{code}")).await.expect(200).body;
            assert_eq!((&page["code"], &page["status"]), (&json!(code.word()), &json!(code.status())));
            assert!(page["meaning"].as_str().is_some_and(|meaning| meaning.len() > 10));
        }
        client.get("/problems/nonsense").await.refused(404, "not_found");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documentation_comes_from_the_binary_itself() {
    with_app(async |app| {
        let client = app.client();
        let index = client.get("/docs").await.expect(200);
        assert!(index.header("content-type").starts_with("text/html"));
        for (file, kind) in [("swagger-ui.css", "text/css"), ("swagger-ui-bundle.js", "text/javascript")] {
            assert!(index.text.contains(file), "{file}");
            assert_eq!(client.get(&format!("/docs/{file}")).await.expect(200).header("content-type"), kind);
        }
        let start = client.get("/docs/swagger-initializer.js").await.expect(200).text;
        assert!(start.contains("/openapi.json"));
        for text in [&index.text, &start] {
            assert!(!text.contains("https://"), "nothing is loaded from elsewhere: {text}");
        }
        assert_eq!(client.get("/openapi.json").await.expect(200).body["openapi"], "3.1.0");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sane_request_id_is_kept_and_another_is_replaced() {
    with_app(async |app| {
        let client = app.client();
        let with =
            |id: &str| client.send(client.request(reqwest::Method::GET, "/nope").header("X-Request-Id", id));
        assert_eq!(with("abc-123").await.header("x-request-id"), "abc-123");
        for insane in ["a b", "<script>", &"x".repeat(200)] {
            let answer = with(insane).await;
            assert_ne!(answer.header("x-request-id"), insane);
            assert_eq!(answer.header("x-request-id").len(), 36);
        }
    })
    .await;
}
