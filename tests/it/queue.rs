//! The waiting room: what a client sees, races with exact counts, and what time does.

use std::collections::{BTreeMap, BTreeSet};

use onrush::sabotage::{Defence, Sabotage};
use serde_json::json;

use crate::harness::{Build, Client, TestApp, User, at_once, eventually, with_app, with_apps};

/// A time that is no test's today.
const START_MS: i64 = 1_800_000_000_000;

/// All users join at once; the numbers that they got.
async fn join_all(client: &Client, users: &[User], queue: &str) -> Vec<i64> {
    let joins = users.iter().cloned().map(|user| {
        let (client, queue) = (client.clone(), queue.to_owned());
        async move { client.join(&user, &queue).await.int_of("number") }
    });
    at_once(joins).await
}

/// Admissions by queue: (milliseconds, ticket numbers), as the journal has them.
async fn admissions(app: &TestApp, queue: &str) -> Vec<(i64, Vec<i64>)> {
    let begin = format!("queue.admitted|{queue}|");
    let facts = app.journal().await.into_iter().filter(|(_, fact)| fact.starts_with(&begin));
    facts
        .map(|(at, fact)| {
            let places = fact.rsplit('|').next().unwrap().split(',');
            (at, places.map(|place| place.split(':').next().unwrap().parse().unwrap()).collect())
        })
        .collect()
}

/// The most that any window of so many milliseconds let in.
fn busiest_window(admissions: &[(i64, Vec<i64>)], window_ms: i64) -> usize {
    let ends = admissions.iter().map(|(end, _)| {
        let within = admissions.iter().filter(|(at, _)| *at <= *end && *at > end - window_ms);
        within.map(|(_, numbers)| numbers.len()).sum()
    });
    ends.max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_joins_at_once_get_each_number_once() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let queue = client.queue(&operator, json!({"admitPerSecond": 0})).await;
        let users = app.users(1_000, 0).await;
        let numbers: BTreeSet<i64> = join_all(&client, &users, &queue).await.into_iter().collect();
        assert_eq!(numbers, (1..=1_000).collect());
        let stats = client.get(&format!("/v1/queues/{queue}")).await.expect(200);
        assert_eq!((stats.int_of("waiting"), stats.int_of("active")), (1_000, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_counter_that_is_read_and_written_apart_gives_numbers_twice() {
    let read_then_write = "local first = tonumber(redis.call('HGET', room, 'number')) + 1";
    let sabotage = Sabotage::default().change_script(
        "queue/join",
        "local first = tonumber(redis.call('HINCRBY', room, 'number', #new)) - #new + 1",
        read_then_write,
    );
    let app = TestApp::start(Build { sabotage, ..Build::default() }).await;
    let (client, operator) = (app.client(), app.operator().await);
    let queue = client.queue(&operator, json!({"admitPerSecond": 0})).await;
    let users = app.users(50, 0).await;
    let numbers: BTreeSet<i64> = join_all(&client, &users, &queue).await.into_iter().collect();
    assert!(numbers.len() < 50, "the race would not have shown a counter that does not count");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_devices_of_one_user_share_one_place() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let queue = client.queue(&operator, json!({"admitPerSecond": 0})).await;
        let joins = (0..20).map(|_| {
            let (client, user, queue) = (client.clone(), user.clone(), queue.clone());
            async move { client.join(&user, &queue).await }
        });
        let answers = at_once(joins).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 19);
        for answer in &answers {
            assert_eq!(answer.int_of("number"), 1);
            let place = client.poll(&queue, &answer.text_of("token")).await.expect(200);
            assert_eq!((place.int_of("position"), place.int_of("ahead")), (1, 0));
        }
        assert_eq!(client.get(&format!("/v1/queues/{queue}")).await.int_of("waiting"), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_instances_that_tick_never_let_eleven_in_and_keep_the_order() {
    let build = Build {
        instances: 3,
        sabotage: Sabotage::default().without(Defence::TickLeases),
        ..Build::default()
    };
    with_apps(build, async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let queue = client.queue(&operator, json!({"admitPerSecond": 10000, "maxActive": 10})).await;
        let users = app.users(60, 0).await;
        let mut tokens = BTreeMap::new();
        for (at, user) in users.iter().enumerate() {
            let place = app.client_of(at % 3).join(user, &queue).await;
            tokens.insert(place.int_of("number"), place.text_of("token"));
        }
        let mut seen_most = 0;
        for number in 1..=60 {
            let at = client.clone();
            eventually("the turn of the next number", || async {
                at.poll(&queue, &tokens[&number]).await.body["status"] == "ACTIVE"
            })
            .await;
            for instance in 0..3 {
                let stats = app.client_of(instance).get(&format!("/v1/queues/{queue}")).await;
                seen_most = seen_most.max(stats.int_of("active"));
            }
            app.client_of(number as usize % 3).leave(&queue, &tokens[&number]).await.expect(204);
        }
        assert!(seen_most <= 10, "{seen_most} were in at once");
        app.settled().await;
        let order: Vec<i64> =
            admissions(&app, &queue).await.into_iter().flat_map(|(_, numbers)| numbers).collect();
        assert_eq!(order, (1..=60).collect::<Vec<i64>>(), "admission follows ticket numbers");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_without_the_cap_more_than_ten_are_in() {
    let uncapped =
        Sabotage::default().change_script("queue/tick", "tonumber(q[3]), unused", "1000000, unused");
    let app = TestApp::start(Build { sabotage: uncapped, ..Build::default() }).await;
    let (client, operator) = (app.client(), app.operator().await);
    let queue = client.queue(&operator, json!({"admitPerSecond": 10000, "maxActive": 10})).await;
    let users = app.users(30, 0).await;
    join_all(&client, &users, &queue).await;
    eventually("more are in than may be", || async {
        client.get(&format!("/v1/queues/{queue}")).await.int_of("active") > 10
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_window_of_a_second_admits_more_than_the_rate() {
    let build = Build {
        instances: 3,
        sabotage: Sabotage::default().without(Defence::TickLeases),
        ..Build::default()
    };
    with_apps(build, async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let queue = client.queue(&operator, json!({"admitPerSecond": 50})).await;
        let users = app.users(200, 0).await;
        join_all(&client, &users, &queue).await;
        eventually("all are in", || async {
            client.get(&format!("/v1/queues/{queue}")).await.int_of("active") == 200
        })
        .await;
        app.settled().await;
        let admissions = admissions(&app, &queue).await;
        let busiest = busiest_window(&admissions, 1_000);
        assert!((45..=50).contains(&busiest), "a window of a second let {busiest} in: {admissions:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_without_the_log_a_second_admits_more() {
    let forgetful =
        Sabotage::default().change_script("queue/tick", "redis.call('RPUSH', log,", "tostring(log,");
    let app = TestApp::start(Build { sabotage: forgetful, ..Build::default() }).await;
    let (client, operator) = (app.client(), app.operator().await);
    let queue = client.queue(&operator, json!({"admitPerSecond": 50})).await;
    let users = app.users(200, 0).await;
    join_all(&client, &users, &queue).await;
    eventually("all are in", || async {
        client.get(&format!("/v1/queues/{queue}")).await.int_of("active") == 200
    })
    .await;
    app.settled().await;
    assert!(busiest_window(&admissions(&app, &queue).await, 1_000) > 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_rate_carries_its_fractions_exactly() {
    let (build, clock) = Build::default().with_test_clock(START_MS);
    with_apps(build, async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let queue = client.queue(&operator, json!({"admitPerSecond": 2.5})).await;
        let users = app.users(120, 0).await;
        join_all(&client, &users, &queue).await;
        app.pass_time(&clock, 40_000, 100).await;
        app.settled().await;
        let admissions = admissions(&app, &queue).await;
        let all: usize = admissions.iter().map(|(_, numbers)| numbers.len()).sum();
        assert!((95..=105).contains(&all), "forty seconds at 2.5 let {all} in");
        assert!(busiest_window(&admissions, 1_000) <= 3);
        assert!(busiest_window(&admissions, 10_000) <= 25);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_told_with_position_estimate_and_when_to_ask_again() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let queue = client.queue(&operator, json!({"admitPerSecond": 2, "maxActive": 0})).await;
        let users = app.users(10, 0).await;
        let mut last = None;
        for user in &users {
            last = Some(client.join(user, &queue).await.expect(201));
        }
        let place = last.unwrap();
        assert_eq!(place.header("onrush-durability"), "redis");
        assert_eq!((place.int_of("number"), place.int_of("position"), place.int_of("ahead")), (10, 10, 9));
        assert_eq!(place.body["status"], "WAITING");
        // Ten places at two a second; each tick that let nobody in has measured a little less.
        assert!((5..=6).contains(&place.int_of("estimatedWaitSeconds")), "{}", place.text);
        // A second at the head, 5 ms more for each place, and 15 % either way.
        assert!((892..=1_208).contains(&place.int_of("pollAfterMs")));
        assert!(place.body["expiresAt"].is_null());
        let token = place.text_of("token");
        let polled = client.poll(&queue, &token).await.expect(200);
        assert_eq!(polled.int_of("position"), 10);
        assert!(polled.body.get("token").is_none(), "a token is only sent when it was signed anew");
        client.leave(&queue, &token).await.expect(204);
        client.poll(&queue, &token).await.refused(410, "queue_ticket_gone");
        client.leave(&queue, &token).await.refused(410, "queue_ticket_gone");
        assert_eq!(client.join(users.last().unwrap(), &queue).await.expect(201).int_of("number"), 11);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_ours_or_of_another_queue_is_refused() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let queue = client.queue(&operator, json!({"admitPerSecond": 0})).await;
        let other = client.queue(&operator, json!({})).await;
        let token = client.join(&user, &queue).await.text_of("token");
        client.poll(&other, &token).await.refused(401, "queue_token_invalid");
        let last = if token.ends_with('A') { "B" } else { "A" };
        let forged = format!("{}{last}", &token[..token.len() - 1]);
        for wrong in ["", "x", &forged, &format!("{token}{token}")] {
            client.poll(&queue, wrong).await.refused(401, "queue_token_invalid");
            client.leave(&queue, wrong).await.refused(401, "queue_token_invalid");
        }
        let bare = client
            .send(client.request(reqwest::Method::GET, &format!("/v1/queues/{queue}/tickets/me")))
            .await;
        bare.refused(401, "queue_token_invalid");
        client.poll(&queue, &token).await.expect(200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_pauses_fills_closes_and_opens_a_queue() {
    with_app(async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(4, 0).await);
        let queue = client.queue(&operator, json!({"maxWaiting": 2})).await;
        let path = format!("/v1/queues/{queue}");
        assert_eq!(
            client.put_as(&operator, &path, json!({"state": "PAUSED"})).await.expect(200).body["state"],
            "PAUSED"
        );
        let first = client.join(&users[0], &queue).await.expect(201).text_of("token");
        client.join(&users[1], &queue).await.expect(201);
        let full = client.join(&users[2], &queue).await.refused(429, "queue_full");
        assert_eq!(full.header("retry-after"), "5");
        client.join(&users[0], &queue).await.expect(200);
        assert_eq!(client.poll(&queue, &first).await.body["status"], "WAITING");
        client.put_as(&operator, &path, json!({"maxWaiting": null})).await.expect(200);
        let third = client.join(&users[2], &queue).await.expect(201).text_of("token");
        client.put_as(&operator, &path, json!({"state": "CLOSED"})).await.expect(200);
        client.join(&users[3], &queue).await.refused(409, "queue_closed");
        client.poll(&queue, &first).await.refused(410, "queue_ticket_gone");
        client
            .put_as(&operator, &path, json!({"state": "OPEN", "admitPerSecond": 7, "maxActive": 1}))
            .await
            .expect(200);
        client.poll(&queue, &third).await.refused(410, "queue_ticket_gone");
        let stats = client.get(&path).await.expect(200);
        assert_eq!((stats.body["admitPerSecond"].as_f64(), stats.int_of("maxActive")), (Some(7.0), 1));
        let again = client.join(&users[0], &queue).await.expect(201);
        assert!(again.int_of("number") > 3, "a place that closing ended does not come back");
    })
    .await;
}
