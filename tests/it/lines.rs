//! Polls that cost Redis nothing: positions from a snapshot of the line, exact and never going up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use onrush::sabotage::Sabotage;
use serde_json::json;

use crate::harness::{Build, Client, TestApp, User, at_once, eventually, with_app, with_apps};

/// How many polls were answered from `snapshot` or by `redis`, once the metric is told.
async fn polls(client: &Client, from: &str) -> i64 {
    client.counter(&format!("onrush_queue_polls_total{{from=\"{from}\"}}")).await
}

/// They join in turn; their tickets.
async fn join_all(client: &Client, users: &[User], queue: &str) -> Vec<String> {
    let mut tickets = Vec::new();
    for user in users {
        tickets.push(client.join(user, queue).await.expect(201).text_of("token"));
    }
    tickets
}

/// Waits until a snapshot answers for this ticket.
async fn lined(client: &Client, queue: &str, ticket: &str) {
    let before = polls(client, "snapshot").await;
    eventually("a snapshot answers", || async {
        client.poll(queue, ticket).await.expect(200);
        polls(client, "snapshot").await > before
    })
    .await;
}

async fn place(client: &Client, queue: &str, ticket: &str) -> (i64, i64) {
    let place = client.poll(queue, ticket).await.expect(200);
    (place.int_of("number"), place.int_of("position"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_are_exact_and_redis_is_not_asked() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let tickets = join_all(&client, &app.users(150, 0).await, &queue).await;
        let (mut left, mut waiting) = (Vec::new(), Vec::new());
        for (at, ticket) in tickets.iter().enumerate() {
            if at % 7 == 3 || (60..=70).contains(&at) {
                left.push(ticket)
            } else {
                waiting.push((at, ticket))
            }
        }
        lined(&client, &queue, &tickets[149]).await;
        for ticket in &left {
            client.leave(&queue, ticket).await.expect(204);
            client.poll(&queue, ticket).await.refused(410, "queue_ticket_gone");
        }
        let asked = polls(&client, "redis").await;
        for (position, (at, ticket)) in waiting.iter().enumerate() {
            assert_eq!(place(&client, &queue, ticket).await, (*at as i64 + 1, position as i64 + 1));
        }
        assert_eq!(polls(&client, "redis").await, asked, "Redis was asked");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_moves_back_while_others_leave_join_and_are_let_in() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let queue = client.queue(&operator, json!({"admitPerSecond": 40, "maxActive": 60})).await;
        let tickets = join_all(&client, &app.users(300, 0).await, &queue).await;
        let done = Arc::new(AtomicBool::new(false));
        let watch = |at: usize| {
            let (client, queue, ticket) = (app.client_of(at % 2), queue.clone(), tickets[at].clone());
            let done = done.clone();
            async move {
                let (mut last, mut moves) = (i64::MAX, 0);
                while !done.load(Ordering::Relaxed) {
                    let position = place(&client, &queue, &ticket).await.1;
                    assert!(position <= last, "{at} moved back from {last} to {position}");
                    moves += i64::from(position < last);
                    last = position;
                }
                (last, moves)
            }
        };
        let leave = async {
            for at in (100..250).filter(|at| at % 3 != 0) {
                client.leave(&queue, &tickets[at]).await.expect(204);
            }
            join_all(&client, &app.users(50, 0).await, &queue).await;
            eventually("as many are in as may be", || async {
                client.get(&format!("/v1/queues/{queue}")).await.int_of("active") == 60
            })
            .await;
            done.store(true, Ordering::Relaxed);
        };
        let watched = [99, 252, 255, 270, 290, 299];
        let (seen, ()) = tokio::join!(at_once(watched.map(watch)), leave);
        assert!(seen.iter().any(|(_, moves)| *moves > 1), "nobody saw the line move: {seen:?}");
        // 60 are in, 100 of those from the hundred-first to the two-hundred-fiftieth have left.
        for at in watched {
            let left = (100..250.min(at)).filter(|at| at % 3 != 0).count() as i64;
            for instance in 0..2 {
                eventually("the place is exact", || async {
                    place(&app.client_of(instance), &queue, &tickets[at]).await.1 == at as i64 + 1 - 60 - left
                })
                .await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_let_in_sees_it_on_every_instance() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let tickets = join_all(&client, &app.users(3, 0).await, &queue).await;
        for instance in 0..2 {
            lined(&app.client_of(instance), &queue, &tickets[2]).await;
        }
        let path = format!("/v1/queues/{queue}");
        client.put_as(&operator, &path, json!({"maxActive": 2, "admitPerSecond": 10})).await.expect(200);
        for instance in 0..2 {
            let client = app.client_of(instance);
            for (ticket, status) in tickets.iter().zip(["ACTIVE", "ACTIVE", "WAITING"]) {
                eventually("it is seen", || async {
                    client.poll(&queue, ticket).await.body["status"] == status
                })
                .await;
            }
            assert_eq!(place(&client, &queue, &tickets[2]).await, (3, 1));
        }
        // A closed queue has nobody.
        client.put_as(&operator, &path, json!({"state": "CLOSED"})).await.expect(200);
        for instance in 0..2 {
            eventually("it is gone", || async {
                app.client_of(instance).poll(&queue, &tickets[2]).await.code() == "queue_ticket_gone"
            })
            .await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_of_another_epoch_is_asked_of_redis_and_signed_anew() {
    let (build, clock) = Build::default().with_test_clock(1_800_000_000_000);
    with_apps(build, async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let tickets = join_all(&client, &app.users(70, 0).await, &queue).await;
        client.leave(&queue, &tickets[9]).await.expect(204);
        app.pass_time(&clock, 1, 1).await;
        app.settled().await;
        app.lose_redis().await;
        app.rebuilt(2).await;
        let mut signed = None;
        eventually("the old ticket is told anew", || async {
            client.poll(&queue, &tickets[69]).await.expect(200).body["token"].is_string()
        })
        .await;
        for (at, ticket) in tickets.iter().enumerate().filter(|(at, _)| *at != 9) {
            let polled = client.poll(&queue, ticket).await.expect(200);
            let position = at as i64 + 1 - i64::from(at > 9);
            assert_eq!((polled.int_of("number"), polled.int_of("position")), (at as i64 + 1, position));
            signed = Some(polled.text_of("token"));
        }
        let signed = signed.unwrap();
        lined(&client, &queue, &signed).await;
        let polled = client.poll(&queue, &signed).await.expect(200);
        assert_eq!((polled.int_of("number"), polled.int_of("position")), (70, 69));
        assert!(polled.body.get("token").is_none(), "signed again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_lets_go_of_its_beginning() {
    let (build, clock) = Build::default().with_test_clock(1_800_000_000_000);
    with_apps(build, async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let users = app.users(4, 0).await;
        let early = client.join(&users[0], &queue).await.text_of("token");
        app.redis(&["HSET", &app.key(&queue, "room"), "number", "2999999"]).await;
        let late = join_all(&client, &users[1..3], &queue).await;
        let bytes = || async { app.redis_int(&["STRLEN", &app.key(&queue, "line")]).await };
        app.pass_time(&clock, 200, 100).await;
        assert!(bytes().await > 300_000, "the first still waits");
        assert_eq!(place(&client, &queue, &late[1]).await, (3_000_001, 3));
        client.leave(&queue, &early).await.expect(204);
        app.pass_time(&clock, 200, 100).await;
        assert!(bytes().await < 10);
        let last = client.join(&users[3], &queue).await.text_of("token");
        lined(&client, &queue, &last).await;
        for (at, ticket) in [&late[0], &late[1], &last].into_iter().enumerate() {
            assert_eq!(place(&client, &queue, ticket).await, (3_000_000 + at as i64, at as i64 + 1));
        }
    })
    .await;
}

/// What `verify` says while a bit of the line is wrong, and when it is put right.
async fn said_of_a_wrong_bit(app: &TestApp, queue: &str, number: &str) -> Vec<String> {
    let line = app.key(queue, "line");
    let right = app.redis_int(&["GETBIT", &line, number]).await;
    app.redis(&["SETBIT", &line, number, &(1 - right).to_string()]).await;
    let said = app.inside(0).verify().await;
    app.redis(&["SETBIT", &line, number, &right.to_string()]).await;
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_tells_of_a_line_that_lies() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        join_all(&client, &app.users(5, 0).await, &queue).await;
        app.settled().await;
        assert_eq!(app.inside(0).verify().await, Vec::<String>::new());
        for (number, word) in [("3", "is not in the line"), ("77", "in the line only")] {
            let said = said_of_a_wrong_bit(&app, &queue, number).await;
            assert!(said.len() == 1 && said[0].contains(number) && said[0].contains(word), "{said:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_lies_is_not_believed() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let tickets = join_all(&client, &app.users(3, 0).await, &queue).await;
        lined(&client, &queue, &tickets[2]).await;
        // As a program of before would leave it.
        app.redis(&["SETBIT", &app.key(&queue, "line"), "1", "0"]).await;
        let asked = polls(&client, "redis").await;
        eventually("Redis is asked", || async {
            assert_eq!(place(&client, &queue, &tickets[2]).await.1, 3);
            polls(&client, "redis").await > asked
        })
        .await;
        app.redis(&["SETBIT", &app.key(&queue, "line"), "1", "1"]).await;
        lined(&client, &queue, &tickets[2]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_direct_answer_is_never_followed_by_an_older_one() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (client, other, operator) = (app.client(), app.client_of(1), app.operator().await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let users = app.users(40, 0).await;
        let tickets = join_all(&client, &users, &queue).await;
        lined(&other, &queue, &tickets[39]).await;
        for left in 0..30 {
            client.leave(&queue, &tickets[left]).await.expect(204);
            let position = other.join(&users[39], &queue).await.expect(200).int_of("position");
            assert_eq!(position, 39 - left as i64);
            assert_eq!(place(&other, &queue, &tickets[39]).await, (40, position), "it moved back");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_line_that_keeps_who_left_shows_ghosts() {
    let keeps = Sabotage::default()
        .change_script("queue/leave", "    leave_line({number})\n", "")
        .change_script("queue/line", "redis.call('ZCOUNT', waiting, '(' .. known[3], '+inf')", "3");
    with_apps(Build { sabotage: keeps, ..Build::default() }, async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let tickets = join_all(&client, &app.users(3, 0).await, &queue).await;
        lined(&client, &queue, &tickets[2]).await;
        client.leave(&queue, &tickets[0]).await.expect(204);
        assert_eq!(place(&client, &queue, &tickets[2]).await.1, 3, "a ghost is counted");
        app.redis(&["SETBIT", &app.key(&queue, "line"), "1", "0"]).await;
    })
    .await;
}
