//! Paying: what a client sees, races with exact counts, and what recovery finishes.

use std::time::Duration;

use onrush::sabotage::Sabotage;
use serde_json::json;

use crate::harness::{Answer, Build, Client, TestApp, User, at_once, eventually, key, with_app, with_apps};

/// A user who is in and holds a seat.
struct Buyer {
    user: User,
    token: String,
    reservation: String,
    expires_at: chrono::DateTime<chrono::Utc>,
}

async fn buyer(client: &Client, concert: &str, user: User, seat: u32) -> Buyer {
    let token = client.enter(&user, concert).await;
    let held = client.reserve(&user, &token, concert, &[seat]).await.expect(201);
    Buyer {
        user,
        token,
        reservation: held.text_of("reservationId"),
        expires_at: held.text_of("expiresAt").parse().unwrap(),
    }
}

async fn pay(client: &Client, buyer: &Buyer, key: &str) -> Answer {
    client.pay(&buyer.user, &buyer.token, &buyer.reservation, key).await
}

async fn status_of(client: &Client, buyer: &Buyer) -> String {
    client
        .get_as(&buyer.user, &format!("/v1/reservations/{}", buyer.reservation))
        .await
        .expect(200)
        .text_of("status")
}

fn paid(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 201).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_takes_the_points_and_gives_the_seat() {
    with_app(async |app| {
        let (client, operator, stranger) = (app.client(), app.operator().await, app.user(0).await);
        let concert = client.concert(&operator, 5, 300, json!({})).await;
        let buyer = buyer(&client, &concert, app.user(1_000).await, 3).await;
        let payment = pay(&client, &buyer, &key()).await.expect(201);
        assert_eq!(payment.header("onrush-durability"), "postgres");
        assert_eq!(payment.body["status"], "PAID");
        assert_eq!((payment.int_of("amount"), payment.int_of("balance")), (300, 700));
        assert_eq!(client.balance(&buyer.user).await, 700);
        assert_eq!(status_of(&client, &buyer).await, "CONFIRMED");
        let path = format!("/v1/payments/{}", payment.text_of("paymentId"));
        for who in [&buyer.user, &operator] {
            assert_eq!(client.get_as(who, &path).await.expect(200).body, payment.body);
            assert_eq!(
                client.get_as(who, "/v1/payments").await.expect(200).body["items"],
                json!([payment.body])
            );
        }
        client.get_as(&stranger, &path).await.refused(404, "payment_not_found");
        assert_eq!(client.get_as(&stranger, "/v1/payments").await.expect(200).body["items"], json!([]));
        // The pass is spent.
        client.poll(&concert, &buyer.token).await.refused(410, "queue_ticket_gone");
        pay(&client, &buyer, &key()).await.refused(410, "queue_ticket_gone");
        // A sold seat stays sold.
        let next = client.enter(&stranger, &concert).await;
        client.reserve(&stranger, &next, &concert, &[3]).await.refused(409, "seat_taken");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_reservation_paid_a_hundred_times_at_once_is_paid_once() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let concert = client.concert(&operator, 5, 300, json!({})).await;
        let buyer = std::sync::Arc::new(buyer(&client, &concert, app.user(100_000).await, 3).await);
        let payments = (0..100).map(|_| {
            let (client, buyer) = (client.clone(), buyer.clone());
            async move { pay(&client, &buyer, &key()).await }
        });
        let answers = at_once(payments).await;
        assert_eq!(paid(&answers), 1);
        let known = ["reservation_closed", "queue_ticket_gone", "payment_aborted", ""];
        assert!(answers.iter().all(|answer| known.contains(&answer.code())), "{answers:?}");
        assert_eq!(client.balance(&buyer.user).await, 99_700, "debited once");
        assert_eq!(app.count("select count(*) from payments").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_without_idempotent_decisions_a_seat_is_sold_again() {
    // The seats' shard says yes to whoever asks, also when the hold is sold.
    let yes = Sabotage::default()
        .change_script("payments/decide", "local refused = why_not()", "local refused = nil")
        .change_script(
            "payments/decide",
            "local hold = read_hold(reservation)",
            "local hold = read_hold(reservation) or {reservation = reservation, user = user, show = show, \
             seats = seats, count = 1, amount = amount, deadline = 0}",
        );
    let app = TestApp::start(Build { sabotage: yes, ack_timeout_ms: 1_500, ..Build::default() }).await;
    let (client, operator) = (app.client(), app.operator().await);
    let concert = client.concert(&operator, 5, 300, json!({})).await;
    let buyer = std::sync::Arc::new(buyer(&client, &concert, app.user(100_000).await, 3).await);
    let payments = (0..10).map(|_| {
        let (client, buyer) = (client.clone(), buyer.clone());
        async move { pay(&client, &buyer, &key()).await }
    });
    let answers = at_once(payments).await;
    // The last wall holds: Postgres refuses the second sale, its shard is fenced, and nobody is told yes
    // twice.
    assert!(paid(&answers) <= 1, "{answers:?}");
    assert!(app.count("select count(*) from quarantine").await > 0, "postgres refused nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_reservations_of_one_user_paid_at_once_are_all_paid() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(10_000).await);
        let concert = client.concert(&operator, 20, 300, json!({"maxSeatsPerUser": 10})).await;
        let mut buyers = Vec::new();
        for seat in 1..=10 {
            buyers.push(buyer(&client, &concert, user.clone(), seat).await);
        }
        let payments = buyers.into_iter().map(|buyer| {
            let client = client.clone();
            async move { pay(&client, &buyer, &key()).await }
        });
        let answers = at_once(payments).await;
        assert_eq!(paid(&answers), 10, "{answers:?}");
        assert_eq!(client.balance(&user).await, 7_000);
        let balances = answers.iter().map(|answer| answer.int_of("balance"));
        let mut balances: Vec<i64> = balances.collect();
        balances.sort_unstable();
        assert_eq!(balances, (0..10).map(|n| 7_000 + n * 300).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_that_covers_one_of_three_pays_exactly_one() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(450).await);
        let concert = client.concert(&operator, 20, 300, json!({"maxSeatsPerUser": 10})).await;
        let mut buyers = Vec::new();
        for seat in 1..=3 {
            buyers.push(buyer(&client, &concert, user.clone(), seat).await);
        }
        let payments = buyers.into_iter().map(|buyer| {
            let client = client.clone();
            async move { pay(&client, &buyer, &key()).await }
        });
        let answers = at_once(payments).await;
        assert_eq!(paid(&answers), 1);
        let short = answers.iter().filter(|answer| answer.code() == "balance_insufficient").count();
        assert_eq!(short, 2, "{answers:?}");
        assert_eq!(client.balance(&user).await, 150);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_a_moment_can_change_is_not_remembered() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(100).await);
        let concert = client.concert(&operator, 5, 300, json!({})).await;
        let buyer = buyer(&client, &concert, user, 1).await;
        let key = key();
        pay(&client, &buyer, &key).await.refused(409, "balance_insufficient");
        client.charge(&buyer.user, 200, &crate::harness::key()).await.expect(201);
        let payment = pay(&client, &buyer, &key).await.expect(201);
        assert!(payment.header("idempotency-replayed").is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_against_its_deadline_wins_or_loses_whole() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let over = json!({"holdSeconds": 2, "maxSeatsPerUser": 1});
        let concert = client.concert(&operator, 100, 300, over).await;
        let users = app.users(40, 300).await;
        let races = users.into_iter().enumerate().map(|(at, user)| {
            let (client, concert) = (client.clone(), concert.clone());
            async move {
                let buyer = buyer(&client, &concert, user, at as u32 + 1).await;
                // From most of a second before the deadline, also where the machine is slow, to twenty
                // milliseconds after it.
                let start = buyer.expires_at - chrono::Duration::milliseconds(800 - 21 * at as i64);
                let wait = (start - chrono::Utc::now()).to_std().unwrap_or(Duration::ZERO);
                tokio::time::sleep(wait).await;
                let answer = pay(&client, &buyer, &key()).await;
                (buyer, answer)
            }
        });
        let (mut won, mut lost) = (0, 0);
        for (buyer, answer) in at_once(races).await {
            if answer.status == 201 {
                won += 1;
                assert_eq!(client.balance(&buyer.user).await, 0);
                assert_eq!(status_of(&client, &buyer).await, "CONFIRMED");
            } else {
                lost += 1;
                // The pass ends with the hold that extended it, or the hold was found expired.
                assert!(["hold_expired", "queue_ticket_gone"].contains(&answer.code()), "{}", answer.text);
                assert_eq!(client.balance(&buyer.user).await, 300);
                eventually("the hold has expired", || async {
                    status_of(&client, &buyer).await == "EXPIRED"
                })
                .await;
            }
        }
        assert!(won > 0 && lost > 0, "{won} won and {lost} lost: that was no race");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_lost_is_told_again_after_the_pass_was_spent() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(1_000).await);
        let concert = client.concert(&operator, 5, 300, json!({})).await;
        let buyer = buyer(&client, &concert, user, 2).await;
        let key = key();
        app.cut_off(
            "/v1/payments",
            &buyer.user,
            &buyer.token,
            &key,
            json!({"reservationId": buyer.reservation}),
        )
        .await;
        eventually("the payment went on without its client", || async {
            status_of(&client, &buyer).await == "CONFIRMED"
        })
        .await;
        client.poll(&concert, &buyer.token).await.refused(410, "queue_ticket_gone");
        let again = pay(&client, &buyer, &key).await.expect(201);
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!((again.int_of("balance"), client.balance(&buyer.user).await), (700, 700));
        assert_eq!(pay(&client, &buyer, &key).await.expect(201).body, again.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_refused_at_its_decision_is_remembered_and_its_points_are_back() {
    // The plain read before the payment sees nothing wrong; the seats' shard does.
    let refuses = Sabotage::default().change_script(
        "payments/decide",
        "local refused = why_not()",
        "local refused = 'hold_expired'",
    );
    with_apps(Build { sabotage: refuses, ..Build::default() }, async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(1_000).await);
        let concert = client.concert(&operator, 5, 300, json!({})).await;
        let buyer = buyer(&client, &concert, user, 2).await;
        let key = key();
        let first = pay(&client, &buyer, &key).await.refused(410, "hold_expired");
        assert!(first.header("idempotency-replayed").is_empty());
        assert_eq!(client.balance(&buyer.user).await, 1_000);
        let again = pay(&client, &buyer, &key).await.refused(410, "hold_expired");
        assert_eq!(again.header("idempotency-replayed"), "true");
        let path = format!("/v1/users/{}/points/transactions", buyer.user.id);
        let ledger = client.get_as(&buyer.user, &path).await.expect(200);
        let kinds: Vec<&str> = ledger.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["REFUND", "PAYMENT", "CHARGE"]);
    })
    .await;
}

/// A payment whose decision never comes: the script fails, as if the instance had died before it. Its points
/// are set aside.
async fn half_paid(then: impl AsyncFnOnce(&TestApp, &Client, &Buyer, &str)) {
    let dies =
        Sabotage::default().change_script("payments/decide", "local refused = why_not()", "error('died')");
    with_apps(Build { sabotage: dies, ack_timeout_ms: 1_000, ..Build::default() }, async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(1_000).await);
        let concert = client.concert(&operator, 5, 300, json!({})).await;
        let buyer = buyer(&client, &concert, user, 2).await;
        let key = key();
        let request = client.request(reqwest::Method::POST, "/v1/payments").bearer_auth(&buyer.user.token);
        let request = request.header("Queue-Token", &buyer.token).header("Idempotency-Key", &key);
        let status =
            request.json(&json!({"reservationId": buyer.reservation})).send().await.unwrap().status();
        assert!(status.is_server_error());
        assert_eq!(client.balance(&buyer.user).await, 700, "the points are set aside");
        then(&app, &client, &buyer, &key).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_nobody_drives_is_aborted_and_its_points_come_back() {
    half_paid(async |_, client, buyer, key| {
        eventually("recovery gave them back", || async { client.balance(&buyer.user).await == 1_000 }).await;
        // The same key now tells what became of it, and a new one may try again.
        let again = pay(client, buyer, key).await.refused(409, "payment_aborted");
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(status_of(client, buyer).await, "RESERVED");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_goes_on_without_its_hold_is_aborted() {
    // The hold was lost before it was durable.
    half_paid(async |app, client, buyer, key| {
        app.sql("create table lost as select * from reservations").await;
        app.sql("delete from reservations").await;
        pay(client, buyer, key).await.refused(409, "payment_aborted");
        assert_eq!(client.balance(&buyer.user).await, 1_000);
        app.sql("insert into reservations select * from lost").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_forgets_a_transfer_whose_seats_are_sold() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(1_000).await);
        let concert = client.concert(&operator, 5, 300, json!({})).await;
        let buyer = buyer(&client, &concert, user, 2).await;
        pay(&client, &buyer, &key()).await.expect(201);
        let shard = app.inside(0).journal.shards.of(buyer.user.id.parse().unwrap());
        let wallet = |part: &str| app.journal_key(shard.0).replace(":journal", &format!(":wallet:{part}"));
        let (transfers, reserved, ages) = (wallet("transfers"), wallet("reserved"), wallet("ages"));
        let is_forgotten = async || {
            let aside = app.redis(&["HGET", &reserved, &buyer.user.id]).await;
            aside.ends_with("\r\n0\r\n") && app.redis_int(&["EXISTS", &transfers, &ages]).await == 0
        };
        eventually("it is forgotten", is_forgotten).await;
        // An instance that died before it could: clean-up finds the transfer later.
        let op: String = sqlx::query_scalar("select op::text from transfers")
            .fetch_one(&app.inside(0).pool)
            .await
            .unwrap();
        let held = format!("{}|300|700|{}|{}|{concert}", buyer.user.id, key(), buyer.reservation);
        app.redis(&["HSET", &transfers, &op, &held]).await;
        app.redis(&["HSET", &reserved, &buyer.user.id, "300"]).await;
        let long_ago = chrono::Utc::now().timestamp_millis() - 61_000;
        app.redis(&["ZADD", &ages, &long_ago.to_string(), &op]).await;
        eventually("clean-up forgot it", is_forgotten).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_hopeless_is_refused_before_any_point_moves() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let concert = client.concert(&operator, 5, 300, json!({"maxSeatsPerUser": 5})).await;
        let other_concert = client.concert(&operator, 5, 300, json!({})).await;
        let (mine, theirs) = (app.user(1_000).await, app.user(1_000).await);
        let owner = buyer(&client, &concert, mine.clone(), 1).await;
        let stranger = buyer(&client, &concert, theirs, 2).await;
        let elsewhere = client.enter(&mine, &other_concert).await;
        let pay_as =
            async |token: &str, reservation: &str| client.pay(&mine, token, reservation, &key()).await;
        pay_as(&owner.token, &stranger.reservation).await.refused(404, "reservation_not_found");
        pay_as(&owner.token, &uuid::Uuid::new_v4().to_string()).await.refused(404, "reservation_not_found");
        pay_as(&elsewhere, &owner.reservation).await.refused(401, "queue_token_invalid");
        pay_as(&stranger.token, &owner.reservation).await.refused(403, "forbidden");
        pay_as("", &owner.reservation).await.refused(401, "queue_token_invalid");
        let second =
            client.reserve(&mine, &owner.token, &concert, &[3]).await.expect(201).text_of("reservationId");
        client.delete_as(&mine, &format!("/v1/reservations/{second}")).await.expect(204);
        pay_as(&owner.token, &second).await.refused(409, "reservation_closed");
        assert_eq!(app.count("select count(*) from transfers").await, 0, "no point was moved");
        assert_eq!(client.balance(&mine).await, 1_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_free_seat_is_paid_with_nothing() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let concert = client.concert(&operator, 5, 0, json!({})).await;
        let buyer = buyer(&client, &concert, user, 1).await;
        let payment = pay(&client, &buyer, &key()).await.expect(201);
        assert_eq!((payment.int_of("amount"), payment.int_of("balance")), (0, 0));
    })
    .await;
}
