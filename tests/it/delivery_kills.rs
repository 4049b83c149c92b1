//! Delivery while everything dies: the receiver in every way, and the service with its relay twenty times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::receiver::{Behaviour, Receiver};
use crate::harness::{Build, Client, Program, TestApp, User, eventually, free_port, key};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_a_hostile_receiver_and_twenty_kills_every_order_arrives() {
    let over = json!({"retrySeconds": vec![0.05; 200], "timeoutMs": 300});
    let mut receiver = Receiver::start(&["order.placed"], over).await;
    let app = TestApp::start(Build { delivery: receiver.file(), ..Build::default() }).await;
    let (operator, users) = (app.operator().await, app.users(12, 1_000_000).await);
    let menu = app.client().menu(&operator, "Coffee", 1).await;
    let app = app.stop_instances().await;
    let turn = AtomicU64::new(0);
    receiver.behave(move |_| match turn.fetch_add(1, Ordering::Relaxed) % 13 {
        3 => Behaviour::Answer(500),
        5 => Behaviour::Reset,
        6 => Behaviour::Answer(410),
        8 => Behaviour::Die,
        10 => Behaviour::Answer(400),
        12 => Behaviour::Hang,
        _ => Behaviour::Answer(200),
    });
    let port = free_port();
    let client = Client::new(&format!("http://127.0.0.1:{port}"));
    let mut program = Program::serve(&app, port);
    let stop = Arc::new(AtomicU64::new(0));
    let ordering: Vec<_> = users
        .iter()
        .cloned()
        .map(|user| {
            let (client, menu, stop) = (client.clone(), menu.clone(), stop.clone());
            tokio::spawn(async move { order_until(&client, &user, &menu, &stop).await })
        })
        .collect();
    for kill in 0..20 {
        let before = receiver.arrivals().len();
        eventually("something is told again", || async { receiver.arrivals().len() > before + 5 }).await;
        program.kill();
        // Down for a while, twice.
        if kill % 8 == 4 {
            receiver.go_down().await;
            program = Program::serve(&app, port);
            tokio::time::sleep(Duration::from_secs(2)).await;
            receiver.come_back().await;
        } else {
            program = Program::serve(&app, port);
        }
    }
    stop.store(1, Ordering::Relaxed);
    let mut placed = Vec::new();
    for (user, ordering) in users.iter().zip(ordering) {
        placed.push((user.id.clone(), ordering.await.unwrap()));
    }
    receiver.behave(|_| Behaviour::Answer(200));
    delivered_within(&app, Duration::from_secs(60)).await;
    assert_eq!(program.terminate(), Some(0));
    let told = receiver.by_aggregate();
    for (user, orders) in &placed {
        let ids: Vec<String> =
            told[user].iter().map(|one| one.body["orderId"].as_str().unwrap().to_owned()).collect();
        assert_eq!(&ids, orders, "the orders of {user}");
        assert!(told[user].iter().all(|one| one.accepted));
    }
    let (count, arrivals) =
        (placed.iter().map(|(_, orders)| orders.len()).sum::<usize>(), receiver.arrivals());
    assert!(count > 200, "{count} orders were too few");
    assert!(arrivals.len() > count, "nothing came twice: the receiver was not hostile");
    println!("{count} orders, {} arrivals", arrivals.len());
    let app = app.start_instances().await;
    assert_eq!(app.count("select count(*) from deliveries where state <> 'DELIVERED'").await, 0);
    app.finish().await;
}

/// Orders one after the other, each with its key until it is told; the orders.
async fn order_until(client: &Client, user: &User, menu: &str, stop: &AtomicU64) -> Vec<String> {
    let mut placed = Vec::new();
    while stop.load(Ordering::Relaxed) == 0 {
        let (key, body) = (key(), json!({"items": [{"menuId": menu, "quantity": 1}]}));
        let text = loop {
            match client.try_post(user, "", "/v1/orders", body.clone(), &key).await {
                Some((201, text)) => break text,
                Some((status, text)) if status < 500 && !text.contains("idempotency_in_progress") => {
                    panic!("{status}: {text}")
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let order: Value = serde_json::from_str(&text).unwrap();
        placed.push(order["orderId"].as_str().unwrap().to_owned());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    placed
}

async fn delivered_within(app: &TestApp, most: Duration) {
    let pool = sqlx::PgPool::connect(&app.config.database_url).await.unwrap();
    let until = std::time::Instant::now() + most;
    loop {
        let left: i64 = sqlx::query_scalar("select count(*) from deliveries where state <> 'DELIVERED'")
            .fetch_one(&pool)
            .await
            .unwrap();
        if left == 0 {
            break;
        }
        assert!(std::time::Instant::now() < until, "{left} are not delivered");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    pool.close().await;
}
