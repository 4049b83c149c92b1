//! The waiting room: what time does, and a place as a stream of events.

use serde_json::json;

use crate::harness::{Build, eventually, with_app, with_apps};

/// A time that is no test's today.
const START_MS: i64 = 1_800_000_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_ends_with_its_time_and_frees_its_room() {
    let (build, clock) = Build::default().with_test_clock(START_MS);
    with_apps(build, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(2, 0).await);
        let queue = client.queue(&operator, json!({"maxActive": 1, "activeSeconds": 30})).await;
        let first = client.enter(&users[0], &queue).await;
        let second = client.join(&users[1], &queue).await.text_of("token");
        let pass = client.poll(&queue, &first).await.expect(200);
        assert_eq!((pass.int_of("position"), pass.int_of("ahead")), (0, 0));
        assert!(pass.body["expiresAt"].is_string());
        app.pass_time(&clock, 29_000, 9_000).await;
        assert_eq!(client.poll(&queue, &first).await.body["status"], "ACTIVE");
        assert_eq!(client.poll(&queue, &second).await.body["status"], "WAITING");
        app.pass_time(&clock, 2_000, 1_000).await;
        client.poll(&queue, &first).await.refused(410, "queue_ticket_gone");
        eventually("the next is in", || async {
            client.poll(&queue, &second).await.body["status"] == "ACTIVE"
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_that_nobody_uses_ends_after_a_minute() {
    let (build, clock) = Build::default().with_test_clock(START_MS);
    with_apps(build, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(2, 0).await);
        let queue = client.queue(&operator, json!({"maxActive": 2})).await;
        let ghost = client.join(&users[0], &queue).await.text_of("token");
        let guest = client.enter(&users[1], &queue).await;
        // The guest's polls are carried to Redis within a quarter of a second.
        eventually("the guest is marked", || async {
            let _ = client.poll(&queue, &guest).await;
            app.pass_time(&clock, 1, 1).await;
            let left: i64 = app.redis_int(&["ZCARD", &app.key(&queue, "fresh")]).await;
            left <= 1
        })
        .await;
        app.pass_time(&clock, 63_000, 9_000).await;
        client.poll(&queue, &ghost).await.refused(410, "queue_ticket_gone");
        assert_eq!(client.poll(&queue, &guest).await.body["status"], "ACTIVE");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_polling_lapses_after_three_minutes_that_the_queue_was_served() {
    let (build, clock) = Build::default().with_test_clock(START_MS);
    with_apps(build, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(2, 0).await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let silent = client.join(&users[0], &queue).await.text_of("token");
        let polling = client.join(&users[1], &queue).await.text_of("token");
        for _ in 0..25 {
            app.pass_time(&clock, 9_000, 9_000).await;
            client.poll(&queue, &polling).await.expect(200);
            app.carry_marks().await;
        }
        client.poll(&queue, &silent).await.refused(410, "queue_ticket_gone");
        let place = client.poll(&queue, &polling).await.expect(200);
        assert_eq!(place.int_of("position"), 1, "who went is no longer counted");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_counts_from_the_last_poll_however_long_the_sale_goes_on() {
    let (build, clock) = Build::default().with_test_clock(START_MS);
    with_apps(build, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(2, 0).await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let early = client.join(&users[0], &queue).await.text_of("token");
        let late = client.join(&users[1], &queue).await.text_of("token");
        let mut waiting = Vec::new();
        // The first stops after 357 s, the second after 714: the ring of marks goes round in 192.
        for second in (7..=1_001).step_by(7) {
            app.pass_time(&clock, 7_000, 7_000).await;
            for (ticket, until) in [(&early, 357), (&late, 714)] {
                if second <= until {
                    client.poll(&queue, ticket).await.expect(200);
                }
            }
            app.carry_marks().await;
            let path = format!("/v1/queues/{queue}");
            waiting.push((second, client.get(&path).await.expect(200).int_of("waiting")));
        }
        let ended = |left: i64| waiting.iter().find(|(_, waiting)| *waiting == left).unwrap().0;
        assert!((357 + 180..=357 + 204).contains(&ended(1)), "{waiting:?}");
        assert!((714 + 180..=714 + 204).contains(&ended(0)), "{waiting:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_crowd_only_the_silent_lapse() {
    let (build, clock) = Build::default().with_test_clock(START_MS);
    with_apps(build, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(350, 0).await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let mut tickets = Vec::new();
        for user in &users {
            tickets.push(client.join(user, &queue).await.text_of("token"));
        }
        // Three hundred are silent: more than one call of the tick ends.
        for _ in 0..25 {
            app.pass_time(&clock, 9_000, 9_000).await;
            for ticket in tickets.iter().step_by(7) {
                client.poll(&queue, ticket).await.expect(200);
            }
            app.carry_marks().await;
        }
        for (at, ticket) in tickets.iter().enumerate() {
            let told = client.poll(&queue, ticket).await;
            match at % 7 {
                0 => assert_eq!(told.expect(200).int_of("position"), at as i64 / 7 + 1),
                _ => drop(told.refused(410, "queue_ticket_gone")),
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_polls_while_the_silent_are_told_stays() {
    let (build, clock) = Build::default().with_test_clock(START_MS);
    with_apps(build, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(2, 0).await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let polling = client.join(&users[0], &queue).await.text_of("token");
        let quiet = client.join(&users[1], &queue).await.text_of("token");
        // Long enough that silence counts; a step of eight seconds begins a part of the ring.
        for _ in 0..24 {
            client.poll(&queue, &quiet).await.expect(200);
            client.poll(&queue, &polling).await.expect(200);
            app.carry_marks().await;
            app.pass_time(&clock, 8_000, 8_000).await;
        }
        // The tick was about to end both when one of them polled.
        client.poll(&queue, &polling).await.expect(200);
        app.carry_marks().await;
        for number in ["1", "2"] {
            app.redis_int(&["SETBIT", &app.key(&queue, "silent"), number, "1"]).await;
        }
        app.pass_time(&clock, 1, 1).await;
        client.poll(&queue, &quiet).await.refused(410, "queue_ticket_gone");
        assert_eq!(client.poll(&queue, &polling).await.expect(200).int_of("position"), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_lets_go_of_a_million_who_went_and_forgets_nobody_who_waits() {
    let (build, clock) = Build::default().with_test_clock(START_MS);
    with_apps(build, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(3, 0).await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let first = client.join(&users[0], &queue).await.text_of("token");
        // As if a million had come and gone.
        let room = app.key(&queue, "room");
        app.redis_int(&["HINCRBY", &room, "number", "1100000"]).await;
        let polling = client.join(&users[1], &queue).await.text_of("token");
        let silent = client.join(&users[2], &queue).await.text_of("token");
        client.leave(&queue, &first).await.expect(204);
        app.pass_time(&clock, 1, 1).await;
        assert_eq!(app.redis_int(&["HINCRBY", &room, "line_from", "0"]).await, 1_100_000);
        for second in (9..=207).step_by(9) {
            app.pass_time(&clock, 9_000, 9_000).await;
            let place = client.poll(&queue, &polling).await.expect(200);
            assert_eq!((place.int_of("number"), place.int_of("position")), (1_100_002, 1));
            app.carry_marks().await;
            if second == 171 {
                let waiting = client.get(&format!("/v1/queues/{queue}")).await.int_of("waiting");
                assert_eq!(waiting, 2, "before three minutes nobody lapses");
            }
        }
        client.poll(&queue, &silent).await.refused(410, "queue_ticket_gone");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_lapses_for_a_time_that_the_queue_was_not_served() {
    let (build, clock) = Build::default().with_test_clock(START_MS);
    with_apps(build, async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let token = client.join(&user, &queue).await.text_of("token");
        // Steps of fifty seconds are gaps in the service.
        app.pass_time(&clock, 1_000_000, 50_000).await;
        assert_eq!(client.poll(&queue, &token).await.expect(200).int_of("position"), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_lives_for_a_day() {
    let (build, clock) = Build::default().with_test_clock(START_MS);
    with_apps(build, async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let queue = client.queue(&operator, json!({"maxActive": 0})).await;
        let token = client.join(&user, &queue).await.text_of("token");
        app.pass_time(&clock, 86_400_000 - 60_000, 3_600_000).await;
        client.poll(&queue, &token).await.expect(200);
        app.pass_time(&clock, 60_000, 50_000).await;
        client.poll(&queue, &token).await.refused(410, "queue_ticket_gone");
        client.leave(&queue, &token).await.refused(410, "queue_ticket_gone");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_stream_tells_the_position_and_ends_with_the_turn() {
    with_app(async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(2, 0).await);
        let queue = client.queue(&operator, json!({"state": "PAUSED", "maxActive": 0})).await;
        let first = client.join(&users[0], &queue).await.text_of("token");
        let second = client.join(&users[1], &queue).await.text_of("token");
        let mut stream = app.events(&queue, &second).await;
        let position = stream.next().await;
        assert_eq!((position.0.as_str(), position.1["position"].as_i64()), ("position", Some(2)));
        client.leave(&queue, &first).await.expect(204);
        let position = stream.next().await;
        assert_eq!((position.0.as_str(), position.1["position"].as_i64()), ("position", Some(1)));
        client.put_as(&operator, &format!("/v1/queues/{queue}"), json!({"maxActive": 1})).await.expect(200);
        let last = stream.next().await;
        assert_eq!((last.0.as_str(), last.1["status"].as_str()), ("active", Some("ACTIVE")));
        assert!(stream.ended().await, "after the turn the stream ends");
        client.leave(&queue, &second).await.expect(204);
        let mut gone = app.events(&queue, &second).await;
        assert_eq!(gone.next().await.0, "gone");
        assert!(gone.ended().await);
    })
    .await;
}
