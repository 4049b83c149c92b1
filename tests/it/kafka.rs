//! Delivery to a Kafka topic, on librdkafka's own mock cluster: `cargo test --features kafka kafka::`.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use serde_json::{Value, json};

use crate::harness::{Build, TestApp, eventually};

const TOPIC: &str = "orders";

/// All that the topic holds, in the order of its partitions: (key, id, body).
async fn read(brokers: &str, count: usize) -> Vec<(String, String, Value)> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", uuid::Uuid::new_v4().to_string())
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    let mut found = Vec::new();
    while let Ok(record) = tokio::time::timeout(Duration::from_secs(5), consumer.recv()).await {
        let record = record.unwrap();
        let header = record.headers().unwrap().iter().find(|header| header.key == "webhook-id").unwrap();
        found.push((
            String::from_utf8(record.key().unwrap().to_vec()).unwrap(),
            String::from_utf8(header.value.unwrap().to_vec()).unwrap(),
            serde_json::from_slice(record.payload().unwrap()).unwrap(),
        ));
        let ids: std::collections::BTreeSet<&String> = found.iter().map(|(_, id, _)| id).collect();
        if ids.len() >= count {
            break;
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_is_in_the_topic_in_its_users_order_though_brokers_go_away() {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic(TOPIC, 4, 3).unwrap();
    let brokers = cluster.bootstrap_servers();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("delivery.json");
    let kafka = json!({"brokers": brokers, "topic": TOPIC});
    let endpoint = json!({"name": "topic", "kinds": ["order.placed"], "to": {"kafka": kafka}});
    let settings = json!({
        "endpoints": [endpoint], "retrySeconds": vec![0.1; 100], "timeoutMs": 1_000, "breakerSeconds": 0.1,
    });
    std::fs::write(&file, settings.to_string()).unwrap();
    let app = TestApp::start(Build { delivery: Some(file), ..Build::default() }).await;
    let (client, operator, users) = (app.client(), app.operator().await, app.users(6, 10_000).await);
    let menu = client.menu(&operator, "Coffee", 1).await;
    let mut placed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for round in 0..20 {
        // Each broker goes away for a while, then all of them do.
        let broker = round / 4 + 1;
        if round % 4 == 1 && broker <= 3 {
            cluster.broker_down(broker).unwrap();
        } else if round % 4 == 3 && broker <= 3 {
            cluster.broker_up(broker).unwrap();
        }
        (1..=3).filter(|_| round == 14).for_each(|broker| cluster.broker_down(broker).unwrap());
        if round == 17 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            (1..=3).for_each(|broker| cluster.broker_up(broker).unwrap());
        }
        for user in &users {
            let body = json!({"items": [{"menuId": menu, "quantity": 1}]});
            let order = client.post_as(user, "/v1/orders", body).await.expect(201).text_of("orderId");
            placed.entry(user.id.clone()).or_default().push(order);
        }
    }
    for _ in 0..6 {
        if app.count("select count(*) from deliveries where state <> 'DELIVERED'").await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    eventually("all is delivered", || async {
        app.count("select count(*) from deliveries where state <> 'DELIVERED'").await == 0
    })
    .await;
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (user, _, body) in read(&brokers, 120).await {
        assert_eq!(body["userId"], user, "the key is the user's");
        let order = body["orderId"].as_str().unwrap().to_owned();
        let known = told.entry(user).or_default();
        if !known.contains(&order) {
            known.push(order);
        }
    }
    assert_eq!(told, placed);
    app.finish().await;
}
