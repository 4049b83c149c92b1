//! Claims while the service dies: never more than there are, and no winner without a coupon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Row;

use crate::harness::{Build, Client, Program, TestApp, User, free_port, key, within};

const QUANTITY: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_ten_times_a_campaign_gives_out_exactly_its_quantity() {
    let app = TestApp::start(Build::default()).await;
    let (operator, users) = (app.operator().await, app.users(3_000, 0).await);
    let campaign = app.client().campaign(&operator, QUANTITY as i64, json!({})).await;
    let app = app.stop_instances().await;
    let port = free_port();
    let client = Client::new(&format!("http://127.0.0.1:{port}"));
    let mut program = Program::serve(&app, port);
    let told = Arc::new(AtomicUsize::new(0));
    let next = Arc::new(AtomicUsize::new(0));
    let claiming: Vec<_> = (0..16)
        .map(|_| {
            let (client, users, campaign) = (client.clone(), users.clone(), campaign.clone());
            let (told, next) = (told.clone(), next.clone());
            tokio::spawn(async move {
                let mut won = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(user) = users.get(at) else { break won };
                    if let Some(coupon) = claim_until_told(&client, user, &campaign).await {
                        won.push((user.id.clone(), coupon));
                        told.fetch_add(1, Ordering::Relaxed);
                    }
                    // Slow enough that ten deaths fit in between.
                    tokio::time::sleep(Duration::from_millis(40)).await;
                }
            })
        })
        .collect();
    for kill in 1..=10 {
        let enough = kill * QUANTITY / 12;
        within(Duration::from_secs(60), "more have won", || async { told.load(Ordering::Relaxed) >= enough })
            .await;
        program.kill();
        program = Program::serve(&app, port);
    }
    let mut won = BTreeMap::new();
    for claiming in claiming {
        won.extend(claiming.await.unwrap());
    }
    assert_eq!(program.terminate(), Some(0));
    assert_eq!(won.len(), QUANTITY, "so many were told that they won");
    let ranks: BTreeSet<i64> = won.values().map(|coupon| coupon["rank"].as_i64().unwrap()).collect();
    assert_eq!((ranks.len(), ranks.first(), ranks.last()), (QUANTITY, Some(&1), Some(&(QUANTITY as i64))));
    let app = app.start_instances().await;
    let rows = sqlx::query("select user_id::text, code, number from coupons").fetch_all(&app.inside(0).pool);
    for row in rows.await.unwrap() {
        let (user, code, number): (String, String, i64) = (row.get(0), row.get(1), row.get(2));
        let told = won.remove(&user).unwrap_or_else(|| panic!("{user} has a coupon and was told of none"));
        assert_eq!(
            (told["code"].as_str().unwrap().replace('-', ""), told["rank"].as_i64()),
            (code, Some(number))
        );
    }
    assert!(won.is_empty(), "winners without a coupon: {won:?}");
    app.finish().await;
}

/// With one key until he is told: his coupon, or that all are gone.
async fn claim_until_told(client: &Client, user: &User, campaign: &str) -> Option<Value> {
    let (key, path) = (key(), format!("/v1/coupon-campaigns/{campaign}/claims"));
    loop {
        match client.try_post(user, "", &path, Value::Null, &key).await {
            Some((201, text)) => return Some(serde_json::from_str(&text).unwrap()),
            Some((410, _)) => return None,
            Some((status, text)) if status < 500 && !text.contains("idempotency_in_progress") => {
                panic!("{status}: {text}")
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
