//! Seats: what a client sees, and races with exact counts.

use std::collections::BTreeMap;

use onrush::sabotage::Sabotage;
use serde_json::{Value, json};

use crate::harness::{
    Answer, Build, Client, TestApp, User, at_once, day, eventually, key, with_app, with_apps,
};

/// Users who are in, each with his token.
async fn inside(app: &TestApp, concert: &str, count: usize, points: i64) -> Vec<(User, String)> {
    let users = app.users(count, points).await;
    let client = app.client();
    let enters = users.into_iter().map(|user| {
        let (client, concert) = (client.clone(), concert.to_owned());
        async move {
            let token = client.enter(&user, &concert).await;
            (user, token)
        }
    });
    at_once(enters).await
}

/// Each of the users asks for these seats, all at once.
async fn reserve_all(client: &Client, concert: &str, asks: Vec<(User, String, Vec<u32>)>) -> Vec<Answer> {
    let asks = asks.into_iter().map(|(user, token, seats)| {
        let (client, concert) = (client.clone(), concert.to_owned());
        async move { client.reserve(&user, &token, &concert, &seats).await }
    });
    at_once(asks).await
}

fn count(answers: &[Answer], status: u16, code: &str) -> usize {
    answers.iter().filter(|answer| (answer.status, answer.code()) == (status, code)).count()
}

/// The numbers of free seats, as one who is in sees them.
async fn free_seats(client: &Client, user: &User, token: &str, concert: &str) -> Vec<u64> {
    let path = format!("/v1/concerts/{concert}/seats?date={}", day(1));
    let seats = client.get_inside(user, token, &path).await.expect(200);
    seats.body["availableSeats"].as_array().unwrap().iter().map(|seat| seat.as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_users_on_one_seat_make_one_owner() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let concert = client.concert(&operator, 50, 100, json!({})).await;
        let users = inside(&app, &concert, 1_000, 0).await;
        let asks = users.into_iter().map(|(user, token)| (user, token, vec![7])).collect();
        let answers = reserve_all(&client, &concert, asks).await;
        assert_eq!(count(&answers, 201, ""), 1);
        assert_eq!(count(&answers, 409, "seat_taken"), 999);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_without_the_check_one_seat_has_many_owners() {
    let blind = Sabotage::default().change_script("seats/hold", "if owner then", "if false then");
    let app = TestApp::start(Build { sabotage: blind, ..Build::default() }).await;
    let (client, operator) = (app.client(), app.operator().await);
    let concert = client.concert(&operator, 50, 100, json!({})).await;
    let users = inside(&app, &concert, 20, 0).await;
    let asks = users.into_iter().map(|(user, token)| (user, token, vec![7])).collect();
    assert!(count(&reserve_all(&client, &concert, asks).await, 201, "") > 1);
    assert!(!app.inside(0).verify().await.is_empty(), "verify sees a seat with two owners");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_pairs_are_held_all_or_nothing() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let concert = client.concert(&operator, 25, 100, json!({"maxSeatsPerUser": 2})).await;
        let users = inside(&app, &concert, 301, 0).await;
        let (watcher, rest) = users.split_first().unwrap();
        let mut pairs = (1..=25).flat_map(|a| (a + 1..=25).map(move |b| vec![a, b]));
        let asks =
            rest.iter().map(|(user, token)| (user.clone(), token.clone(), pairs.next().unwrap())).collect();
        let answers = reserve_all(&client, &concert, asks).await;
        let mut owners: BTreeMap<u64, String> = BTreeMap::new();
        for answer in answers.iter().filter(|answer| answer.status == 201) {
            let seats = answer.body["seatNumbers"].as_array().unwrap();
            assert_eq!(seats.len(), 2);
            for seat in seats {
                let before = owners.insert(seat.as_u64().unwrap(), answer.text_of("reservationId"));
                assert!(before.is_none(), "seat {seat} is held twice");
            }
        }
        assert_eq!(count(&answers, 201, "") + count(&answers, 409, "seat_taken"), 300);
        assert!(owners.len() >= 22, "at most one seat is left without a partner's pair: {owners:?}");
        let free = free_seats(&client, &watcher.0, &watcher.1, &concert).await;
        let expected: Vec<u64> = (1..=25).filter(|seat| !owners.contains_key(seat)).collect();
        assert_eq!(free, expected, "what was refused took nothing");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_never_has_more_seats_than_he_may() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let concert = client.concert(&operator, 2_000, 100, json!({"maxSeatsPerUser": 5})).await;
        let (user, token) = inside(&app, &concert, 1, 0).await.remove(0);
        let asks = (0..500).map(|n| (user.clone(), token.clone(), vec![2 * n + 1, 2 * n + 2])).collect();
        let answers = reserve_all(&client, &concert, asks).await;
        assert_eq!(count(&answers, 201, ""), 2, "two pairs fit into five");
        assert_eq!(count(&answers, 409, "seat_limit"), 498);
        client.reserve(&user, &token, &concert, &[1_999]).await.expect(201);
        client.reserve(&user, &token, &concert, &[2_000]).await.refused(409, "seat_limit");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_is_told_listed_and_given_up() {
    with_app(async |app| {
        let (client, operator, stranger) = (app.client(), app.operator().await, app.user(0).await);
        let concert =
            client.concert(&operator, 10, 300, json!({"maxSeatsPerUser": 3, "holdSeconds": 120})).await;
        let (user, token) = inside(&app, &concert, 1, 0).await.remove(0);
        let held = client.reserve(&user, &token, &concert, &[4, 2]).await.expect(201);
        assert_eq!(held.header("onrush-durability"), "postgres");
        assert_eq!(held.body["status"], "RESERVED");
        assert_eq!(held.body["seatNumbers"], json!([2, 4]));
        assert_eq!((held.int_of("amount"), held.text_of("date")), (600, day(1)));
        let path = format!("/v1/reservations/{}", held.text_of("reservationId"));
        for who in [&user, &operator] {
            assert_eq!(client.get_as(who, &path).await.expect(200).body, held.body);
            let list = client.get_as(who, "/v1/reservations").await.expect(200);
            assert_eq!(list.body["items"][0], held.body);
        }
        client.get_as(&stranger, &path).await.refused(404, "reservation_not_found");
        client.delete_as(&stranger, &path).await.refused(404, "reservation_not_found");
        client.delete_as(&operator, &path).await.refused(404, "reservation_not_found");
        assert_eq!(client.get_as(&stranger, "/v1/reservations").await.expect(200).body["items"], json!([]));
        assert_eq!(free_seats(&client, &user, &token, &concert).await, [1, 3, 5, 6, 7, 8, 9, 10]);
        client.delete_as(&user, &path).await.expect(204);
        assert_eq!(client.get_as(&user, &path).await.body["status"], "CANCELLED");
        assert_eq!(free_seats(&client, &user, &token, &concert).await.len(), 10);
        client.delete_as(&user, &path).await.refused(409, "reservation_closed");
        client.reserve(&user, &token, &concert, &[2]).await.expect(201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_is_not_paid_in_time_ends_and_its_seats_are_free() {
    let (build, clock) = Build::default().with_test_clock(chrono::Utc::now().timestamp_millis());
    with_apps(build, async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let concert = client.concert(&operator, 5, 100, json!({"holdSeconds": 20})).await;
        let mut users = inside(&app, &concert, 2, 1_000).await;
        let ((user, token), (other, others)) = (users.remove(0), users.remove(0));
        let held = client.reserve(&user, &token, &concert, &[1]).await.expect(201);
        client.reserve(&other, &others, &concert, &[1]).await.refused(409, "seat_taken");
        app.pass_time(&clock, 20_000, 5_000).await;
        let path = format!("/v1/reservations/{}", held.text_of("reservationId"));
        eventually("the hold has expired", || async {
            client.get_as(&user, &path).await.body["status"] == "EXPIRED"
        })
        .await;
        client.delete_as(&user, &path).await.refused(410, "hold_expired");
        client.pay(&user, &token, &held.text_of("reservationId"), &key()).await.refused(410, "hold_expired");
        client.reserve(&other, &others, &concert, &[1]).await.expect(201);
        client.reserve(&user, &token, &concert, &[2]).await.expect(201);
        assert_eq!(client.balance(&user).await, 1_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lapsed_hold_is_taken_over_before_any_sweep() {
    let (build, clock) = Build::default().with_test_clock(chrono::Utc::now().timestamp_millis());
    // The sweeper sees nothing: what frees the seat is the next hold itself.
    let sabotage = Sabotage::default().change_script("seats/due", "'-inf', int(now)", "'-inf', '0'");
    with_apps(Build { sabotage, ..build }, async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let concert =
            client.concert(&operator, 5, 100, json!({"holdSeconds": 20, "maxSeatsPerUser": 2})).await;
        let mut users = inside(&app, &concert, 3, 0).await;
        let ((user, token), (other, others)) = (users.remove(0), users.remove(0));
        let (third, thirds) = users.remove(0);
        client.reserve(&third, &thirds, &concert, &[4, 5]).await.expect(201);
        let first =
            client.reserve(&user, &token, &concert, &[1, 2]).await.expect(201).text_of("reservationId");
        app.pass_time(&clock, 19_999, 9_999).await;
        client.reserve(&other, &others, &concert, &[2]).await.refused(409, "seat_taken");
        client.reserve(&third, &thirds, &concert, &[3]).await.refused(409, "seat_limit");
        app.pass_time(&clock, 1, 1).await;
        client.reserve(&other, &others, &concert, &[2]).await.expect(201);
        // What one let lapse counts no more against his own limit either.
        client.reserve(&third, &thirds, &concert, &[3]).await.expect(201);
        let path = format!("/v1/reservations/{first}");
        assert_eq!(client.get_as(&user, &path).await.body["status"], "EXPIRED");
        assert_eq!(
            free_seats(&client, &other, &others, &concert).await,
            [1, 4, 5],
            "all of its seats are free"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dates_and_seats_show_what_can_be_had_now() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let concert = client.concert(&operator, 2, 100, json!({"maxSeatsPerUser": 2})).await;
        let shows = format!("/v1/concerts/{concert}/shows");
        let at = |hours: i64| (chrono::Utc::now() + chrono::Duration::hours(hours)).to_rfc3339();
        for (ahead, over) in [
            (2, json!({})),
            (3, json!({"opensAt": at(1)})),
            (4, json!({"closesAt": at(-1)})),
            (5, json!({"opensAt": at(-1), "closesAt": at(1)})),
        ] {
            let mut show = json!({"date": day(ahead), "price": 1});
            show.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
            client.post_as(&operator, &shows, show).await.expect(201);
        }
        let past = json!({"date": "2020-01-01", "price": 1});
        client.post_as(&operator, &shows, past).await.expect(201);
        let again = client.post_as(&operator, &shows, json!({"date": day(2), "price": 1})).await;
        again.refused(409, "show_exists");
        let (user, token) = inside(&app, &concert, 1, 0).await.remove(0);
        let dates = format!("/v1/concerts/{concert}/dates");
        let on_sale = client.get_inside(&user, &token, &dates).await.expect(200);
        assert_eq!(on_sale.body["dates"], json!([day(1), day(2), day(5)]));
        client.reserve(&user, &token, &concert, &[1, 2]).await.expect(201);
        let on_sale = client.get_inside(&user, &token, &dates).await.expect(200);
        assert_eq!(on_sale.body["dates"], json!([day(2), day(5)]), "a full show is no choice");
        for (date, status, code) in [
            (day(3), 409, "show_not_open"),
            (day(4), 409, "show_not_open"),
            ("2020-01-01".into(), 409, "show_not_open"),
            (day(9), 404, "show_not_found"),
        ] {
            let body = json!({"concertId": concert, "date": date, "seatNumber": 1});
            client.post_inside(&user, &token, "/v1/reservations", body, &key()).await.refused(status, code);
        }
        let body = json!({"concertId": concert, "date": day(1), "seatNumber": 3});
        client
            .post_inside(&user, &token, "/v1/reservations", body, &key())
            .await
            .refused(404, "seat_not_found");
        let missing = format!("/v1/concerts/{concert}/seats?date={}", day(9));
        client.get_inside(&user, &token, &missing).await.refused(404, "show_not_found");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seats_carry_an_etag_that_changes_with_them() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let concert = client.concert(&operator, 5, 100, json!({})).await;
        let (user, token) = inside(&app, &concert, 1, 0).await.remove(0);
        let path = format!("/v1/concerts/{concert}/seats?date={}", day(1));
        let seats = client.get_inside(&user, &token, &path).await.expect(200);
        assert_eq!(seats.body["totalSeats"], 5);
        let tag = seats.header("etag").to_owned();
        let again = || {
            let request = client.request(reqwest::Method::GET, &path).bearer_auth(&user.token);
            client.send(request.header("Queue-Token", &token).header("If-None-Match", &tag))
        };
        assert!(again().await.expect(304).text.is_empty());
        client.reserve(&user, &token, &concert, &[1]).await.expect(201);
        assert_ne!(again().await.expect(200).header("etag"), tag);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_the_queue_a_ticket_must_be_ones_own_and_in() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let closed_door = json!({"queue": {"admitPerSecond": 0, "maxActive": 1, "activeSeconds": 60}});
        let concert = client.concert(&operator, 5, 100, closed_door).await;
        let other = client.concert(&operator, 5, 100, json!({})).await;
        let (user, stranger) = (app.user(0).await, app.user(0).await);
        let waiting = client.join(&user, &concert).await.text_of("token");
        let elsewhere = client.enter(&user, &other).await;
        let body = json!({"concertId": concert, "date": day(1), "seatNumber": 1});
        let dates = format!("/v1/concerts/{concert}/dates");
        let seats = format!("/v1/concerts/{concert}/seats?date={}", day(1));
        let ask = async |user: &User, token: &str| {
            let mut answers = Vec::new();
            for path in [&dates, &seats] {
                answers.push(client.get_inside(user, token, path).await);
            }
            answers.push(client.post_inside(user, token, "/v1/reservations", body.clone(), &key()).await);
            answers
        };
        for answer in ask(&user, "").await.into_iter().chain(ask(&user, &elsewhere).await) {
            answer.refused(401, "queue_token_invalid");
        }
        for answer in ask(&stranger, &waiting).await {
            answer.refused(403, "forbidden");
        }
        for answer in ask(&user, &waiting).await {
            let answer = answer.refused(429, "queue_not_admitted");
            assert_eq!(answer.int_of("position"), 1);
            assert!(answer.int_of("pollAfterMs") > 0);
        }
        client.leave(&concert, &waiting).await.expect(204);
        for answer in ask(&user, &waiting).await {
            answer.refused(410, "queue_ticket_gone");
        }
        let unknown = format!("/v1/concerts/{}/dates", uuid::Uuid::new_v4());
        client.get_inside(&user, &elsewhere, &unknown).await.refused(401, "queue_token_invalid");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_together_with_others_is_answered_for_himself() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let room_for_20 = json!({"queue": {"admitPerSecond": 1000, "maxActive": 20, "activeSeconds": 60}});
        let concert = client.concert(&operator, 5, 100, room_for_20).await;
        let mut people = Vec::new();
        for user in app.users(60, 0).await {
            let token = client.join(&user, &concert).await.expect(201).text_of("token");
            people.push((user, token));
        }
        eventually("twenty are in", || async {
            client.poll(&concert, &people[19].1).await.body["status"] == "ACTIVE"
        })
        .await;
        client.leave(&concert, &people[59].1).await.expect(204);
        let path = format!("/v1/concerts/{concert}/dates");
        let asked = people.clone().into_iter().map(|(user, token)| {
            let (client, path) = (app.client(), path.clone());
            async move { client.get_inside(&user, &token, &path).await }
        });
        for (at, answer) in at_once(asked).await.into_iter().enumerate() {
            match at {
                0..20 => assert_eq!(answer.expect(200).body["dates"], json!([day(1)])),
                59 => drop(answer.refused(410, "queue_ticket_gone")),
                _ => {
                    let position = answer.refused(429, "queue_not_admitted").int_of("position");
                    assert_eq!(position, at as i64 - 19);
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_concert_is_told_as_it_was_made() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let body = json!({
            "title": "Größe | 콘서트, live: 100 %",
            "queue": {"admitPerSecond": 2.5, "maxActive": 7, "activeSeconds": 60, "maxWaiting": 9},
        });
        client.post_as(&user, "/v1/concerts", body.clone()).await.refused(403, "forbidden");
        let made = client.post_as(&operator, "/v1/concerts", body.clone()).await.expect(201).body;
        assert_eq!(made["title"], body["title"]);
        assert_eq!(made["queue"], body["queue"]);
        assert_eq!((made["maxSeatsPerUser"].as_i64(), made["holdSeconds"].as_i64()), (Some(1), Some(300)));
        let path = format!("/v1/concerts/{}", made["concertId"].as_str().unwrap());
        let show = json!({"date": day(3), "price": 10});
        let show = client.post_as(&operator, &format!("{path}/shows"), show).await.expect(201).body;
        assert_eq!(show["seatCount"], 50);
        let mut told = client.get(&path).await.expect(200).body;
        assert_eq!(told["shows"], json!([show]));
        told.as_object_mut().unwrap().remove("shows");
        assert_eq!(told, made);
        assert_eq!(client.get("/v1/concerts").await.expect(200).body["items"], json!([made]));
        for unknown in [uuid::Uuid::new_v4().to_string(), "x".into()] {
            client.get(&format!("/v1/concerts/{unknown}")).await.refused(404, "concert_not_found");
            let shows = format!("/v1/concerts/{unknown}/shows");
            let show: Value = json!({"date": day(3), "price": 10});
            client.post_as(&operator, &shows, show).await.refused(404, "concert_not_found");
        }
    })
    .await;
}
