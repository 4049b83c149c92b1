//! Clocks that jump: by a test's clock, which stands for Redis' and for Postgres'.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::harness::{Build, eventually, key, with_apps};

const MINUTE_MS: i64 = 60_000;

/// More than a minute at once is looked at first: no script runs before the clocks have been compared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_ahead_ends_what_is_over_and_nothing_else() {
    let start_ms = chrono::Utc::now().timestamp_millis();
    let (build, clock) = Build::default().with_test_clock(start_ms);
    with_apps(build, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(2, 1_000).await);
        let over = json!({"holdSeconds": 600, "maxSeatsPerUser": 2, "queue":
            {"admitPerSecond": 1_000, "maxActive": 1_000, "activeSeconds": 3_600}});
        let concert = client.concert(&operator, 10, 100, over).await;
        let tokens = [client.enter(&users[0], &concert).await, client.enter(&users[1], &concert).await];
        let paid = client.reserve(&users[0], &tokens[0], &concert, &[1]).await.text_of("reservationId");
        client.reserve(&users[1], &tokens[1], &concert, &[2]).await.expect(201);
        clock.fetch_add(9 * MINUTE_MS, Ordering::SeqCst);
        eventually("the shards accept that nine minutes have passed", || async {
            client.try_charge(&users[0], 1, &key()).await == Some(201)
                && client.try_charge(&users[1], 1, &key()).await == Some(201)
        })
        .await;
        eventually("the hold is in its last minute, and is paid", || async {
            let answer = client.pay(&users[0], &tokens[0], &paid, &key()).await;
            assert!([201, 503].contains(&answer.status), "{} {}", answer.status, answer.body);
            answer.status == 201
        })
        .await;
        clock.fetch_add(2 * MINUTE_MS, Ordering::SeqCst);
        eventually("the other is over, and its seat is free", || async {
            let answer = client.reserve(&users[1], &tokens[1], &concert, &[2]).await;
            assert!([201, 503].contains(&answer.status), "{} {}", answer.status, answer.body);
            answer.status == 201
        })
        .await;
    })
    .await;
}

/// A shard's time stands still until the clock has caught up: nothing happens twice, nothing gets longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_goes_back_takes_no_time_back() {
    let start_ms = chrono::Utc::now().timestamp_millis();
    let (build, clock) = Build::default().with_test_clock(start_ms);
    with_apps(build, async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(1_000).await);
        let concert = client.concert(&operator, 10, 100, json!({"holdSeconds": 60})).await;
        let token = client.enter(&user, &concert).await;
        let held = client.reserve(&user, &token, &concert, &[1]).await.expect(201);
        clock.fetch_sub(60 * MINUTE_MS, Ordering::SeqCst);
        client.charge(&user, 5, &key()).await.expect(201);
        app.pass_time(&clock, 59 * MINUTE_MS, 30_000).await;
        let path = format!("/v1/reservations/{}", held.body["reservationId"].as_str().unwrap());
        assert_eq!(client.get_as(&user, &path).await.expect(200).body["status"], "RESERVED");
        app.pass_time(&clock, 3 * MINUTE_MS, 30_000).await;
        eventually("the hold is over when its minute has passed", || async {
            client.get_as(&user, &path).await.expect(200).body["status"] == "EXPIRED"
        })
        .await;
        let times: Vec<i64> = app.journal().await.into_iter().map(|(at, _)| at).collect();
        assert!(times.iter().all(|at| *at >= start_ms), "no entry is of a time that was taken back");
    })
    .await;
}
