//! Delivery: what happens here is told to others, at least once, in order.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::receiver::{Behaviour, Receiver};
use crate::harness::{Build, Client, TestApp, User, at_once, eventually, key, onrush, secrets, with_apps};

fn told_by(receiver: &Receiver) -> Build {
    Build { delivery: receiver.file(), ..Build::default() }
}

async fn order(client: &Client, user: &User, menu: &str) -> Value {
    let body = json!({"items": [{"menuId": menu, "quantity": 2}]});
    client.post_as(user, "/v1/orders", body).await.expect(201).body
}

/// Nothing is left to be delivered, but what is dead; and no lane either.
async fn delivered(app: &TestApp) {
    eventually("all is delivered", || async {
        app.count("select count(*) from deliveries where state = 'PENDING'").await == 0
    })
    .await;
    assert_eq!(app.count("select count(*) from delivery_lanes").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_reservations_and_payments_are_told_signed_and_in_order() {
    let kinds = ["order.placed", "reservation.held", "reservation.cancelled", "payment.confirmed"];
    let receiver = Arc::new(Receiver::start(&kinds, json!({})).await);
    let build = Build { instances: 2, ..told_by(&receiver) };
    let seen = receiver.clone();
    with_apps(build, async move |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(10_000).await);
        let menu = client.menu(&operator, "Coffee", 100).await;
        let placed = order(&client, &user, &menu).await;
        let concert = client.concert(&operator, 5, 300, json!({"maxSeatsPerUser": 4})).await;
        let token = client.enter(&user, &concert).await;
        let held = client.reserve(&user, &token, &concert, &[1]).await.expect(201).text_of("reservationId");
        let path = format!("/v1/reservations/{held}");
        client.delete_as(&user, &path).await.expect(204);
        let kept = client.reserve(&user, &token, &concert, &[2, 3]).await.expect(201).body;
        let kept_id = kept["reservationId"].as_str().unwrap();
        let paid = client.pay(&user, &token, kept_id, &key()).await.expect(201).body;
        delivered(&app).await;
        let told = seen.by_aggregate();
        let orders = &told[&user.id];
        assert_eq!(
            orders[0].body,
            json!({
                "orderId": placed["orderId"], "userId": user.id, "totalPrice": 200,
                "items": [{"menuId": menu, "quantity": 2, "amount": 200}], "orderedAt": placed["createdAt"],
            })
        );
        let kinds = |id: &str| told[id].iter().map(|one| one.kind.as_str()).collect::<Vec<_>>();
        assert_eq!(kinds(&held), ["reservation.held", "reservation.cancelled"]);
        assert_eq!(kinds(kept_id), ["reservation.held", "payment.confirmed"]);
        let (first, second) = (&told[kept_id][0].body, &told[kept_id][1].body);
        assert_eq!((&first["seatNumbers"], &first["amount"]), (&json!([2, 3]), &json!(600)));
        assert_eq!(first["expiresAt"], kept["expiresAt"]);
        assert_eq!((&second["paymentId"], &second["paidAt"]), (&paid["paymentId"], &paid["paidAt"]));
        assert_eq!(seen.arrivals().len(), 5, "nobody failed, so nothing came twice");
        let metrics = client.get("/metrics").await.text;
        for name in [
            "onrush_deliveries_total{endpoint=\"platform\",outcome=\"delivered\"}",
            "onrush_delivery_lag_seconds_bucket",
            "onrush_delivery_oldest_seconds{",
        ] {
            assert!(metrics.contains(name), "{name} is no metric");
        }
        for line in ["notice", "delivered"] {
            let wanted = format!("\"message\":\"{line}\",\"id\":\"{}\"", orders[0].id);
            assert!(secrets::log().contains(&wanted), "the log has no {wanted}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_relays_tell_each_message_once_and_a_users_in_order() {
    let receiver = Arc::new(Receiver::start(&["order.placed"], json!({})).await);
    let (seen, build) = (receiver.clone(), Build { instances: 2, ..told_by(&receiver) });
    with_apps(build, async move |app| {
        let (operator, users) = (app.operator().await, app.users(10, 10_000).await);
        let menu = app.client().menu(&operator, "Coffee", 1).await;
        let ordering = users.into_iter().enumerate().map(|(at, user)| {
            let (client, menu) = (app.client_of(at % 2), menu.clone());
            async move {
                let mut placed = Vec::new();
                for _ in 0..30 {
                    placed.push(order(&client, &user, &menu).await["orderId"].clone());
                }
                (user.id, placed)
            }
        });
        let placed = at_once(ordering).await;
        delivered(&app).await;
        let told = seen.by_aggregate();
        for (user, orders) in placed {
            let ids: Vec<Value> = told[&user].iter().map(|one| one.body["orderId"].clone()).collect();
            assert_eq!(ids, orders, "the orders of {user}");
        }
        assert_eq!(seen.arrivals().len(), 300);
    })
    .await;
}

/// Orders while nobody listens for two seconds; how many of them are dead then.
async fn orders_while_it_is_down(breaker_failures: i64) -> i64 {
    let over = json!({"retrySeconds": [0.05, 0.05], "breakerFailures": breaker_failures});
    let mut receiver = Receiver::start(&["order.placed"], over).await;
    let app = TestApp::start(told_by(&receiver)).await;
    let (operator, users) = (app.operator().await, app.users(30, 1_000).await);
    let menu = app.client().menu(&operator, "Coffee", 1).await;
    receiver.go_down().await;
    for user in &users {
        order(&app.client(), user, &menu).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    receiver.come_back().await;
    delivered(&app).await;
    let dead = app.count("select count(*) from deliveries where state = 'DEAD'").await;
    assert_eq!(receiver.by_aggregate().len() as i64, 30 - dead);
    app.finish().await;
    dead
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_an_endpoint_is_down_nobody_loses_his_tries() {
    // Without the breaker, two pauses of 50 ms and three tries are soon over.
    let (with, without) = tokio::join!(orders_while_it_is_down(5), orders_while_it_is_down(1_000_000));
    assert!(without > 20, "the control: only {without} are dead");
    assert_eq!(with, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_never_taken_is_dead_until_it_is_replayed() {
    let receiver = Arc::new(Receiver::start(&["order.placed"], json!({"retrySeconds": [0.01, 0.01]})).await);
    let (seen, build) = (receiver.clone(), told_by(&receiver));
    with_apps(build, async move |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(1_000).await);
        let menu = client.menu(&operator, "Coffee", 1).await;
        let first = order(&client, &user, &menu).await["orderId"].clone();
        let bad = first.clone();
        delivered(&app).await;
        let good = seen.arrivals().len();
        let poison = order_poisoned(&seen, &client, &user, &menu).await;
        let third = order(&client, &user, &menu).await["orderId"].clone();
        delivered(&app).await;
        let tries = seen.arrivals().iter().filter(|one| one.body["orderId"] == poison).count();
        assert_eq!((good, tries), (1, 3), "one try and two more");
        // Those behind it go on.
        assert_eq!(seen.arrivals().last().unwrap().body["orderId"], third);
        let (success, listed) = onrush(&app, &["delivery", "list"]);
        let id = seen.arrivals().iter().find(|one| one.body["orderId"] == poison).unwrap().id.clone();
        assert!(success && listed.contains(&id) && listed.contains("DEAD  3 tries  400"), "{listed}");
        assert!(!onrush(&app, &["delivery", "replay"]).0, "it asks which");
        seen.behave(|_| Behaviour::Answer(200));
        let (success, told) = onrush(&app, &["delivery", "replay", "--id", &id]);
        assert!(success && told == "platform: 1 will be delivered again\n", "{told}");
        delivered(&app).await;
        eventually("it arrived, with its id", || async {
            seen.arrivals().last().is_some_and(|last| last.id == id && last.accepted)
        })
        .await;
        // A range of time, with what had arrived.
        let range = ["delivery", "replay", "--delivered", "--from", "2020-01-01T00:00:00Z", "--to"];
        let (_, none) = onrush(&app, &[&range[..], &["2020-01-02T00:00:00Z"]].concat());
        assert_eq!(none, "no such message\n");
        let (_, all) = onrush(&app, &[&range[..], &["2120-01-01T00:00:00Z"]].concat());
        assert_eq!(all, "platform: 3 will be delivered again\n");
        delivered(&app).await;
        let again: Vec<Value> = seen.arrivals()[seen.arrivals().len() - 3..]
            .iter()
            .map(|one| one.body["orderId"].clone())
            .collect();
        assert_eq!(again, [bad, poison, third]);
    })
    .await;
}

/// An order that the receiver refuses from now on.
async fn order_poisoned(receiver: &Receiver, client: &Client, user: &User, menu: &str) -> Value {
    let known: Vec<String> = receiver.arrivals().into_iter().map(|one| one.id).collect();
    let poison: Arc<std::sync::Mutex<Option<String>>> = Arc::default();
    receiver.behave(move |arrival| {
        let mut poison = poison.lock().unwrap();
        let bad = poison.get_or_insert_with(|| arrival.id.clone());
        let is_bad = !known.contains(&arrival.id) && *bad == arrival.id;
        Behaviour::Answer(if is_bad { 400 } else { 200 })
    });
    order(client, user, menu).await["orderId"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_private_address_is_asked_and_no_redirect_followed() {
    let inner = Receiver::start(&[], json!({})).await;
    let receiver = Receiver::start(&["order.placed"], json!({"retrySeconds": [0.05]})).await;
    let port = inner.port;
    receiver.behave(move |_| Behaviour::Redirect(port));
    // A name that leads inside, of which the setting says nothing.
    let file = receiver.file().unwrap();
    let mut settings: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let mut second = settings["endpoints"][0].clone();
    second["name"] = json!("by-name");
    second["to"]["webhook"]["url"] = json!(format!("https://localhost:{port}/told"));
    second["to"]["webhook"]["allowPrivate"] = json!(false);
    settings["endpoints"].as_array_mut().unwrap().push(second);
    std::fs::write(&file, settings.to_string()).unwrap();
    with_apps(told_by(&receiver), async move |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(1_000).await);
        let menu = client.menu(&operator, "Coffee", 1).await;
        order(&client, &user, &menu).await;
        eventually("both are dead", || async {
            app.count("select count(*) from deliveries where state = 'DEAD'").await == 2
        })
        .await;
        let (_, listed) = onrush(&app, &["delivery", "list"]);
        assert!(listed.contains("307") && listed.contains("a private address"), "{listed}");
        assert_eq!((receiver.arrivals().len(), inner.arrivals().len()), (2, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_is_told_until_it_is_dropped() {
    let receiver = Receiver::start(&["order.placed"], json!({})).await;
    let app = TestApp::start(told_by(&receiver)).await;
    let (operator, user) = (app.operator().await, app.user(1_000).await);
    let menu = app.client().menu(&operator, "Coffee", 1).await;
    order(&app.client(), &user, &menu).await;
    delivered(&app).await;
    let mut app = app.stop_instances().await;
    // An instance without the setting leaves it as it is: its orders are told by the next one that has it.
    let told = app.config.delivery.take();
    let app = app.start_instances().await;
    order(&app.client(), &user, &menu).await;
    assert_eq!(app.count("select count(*) from deliveries where state = 'PENDING'").await, 1);
    let mut app = app.stop_instances().await;
    app.config.delivery = told;
    let app = app.start_instances().await;
    delivered(&app).await;
    assert_eq!(receiver.arrivals().len(), 2);
    // A start with another file takes nothing away: others may still have this one.
    let app = app.stop_instances().await;
    std::fs::write(receiver.file().unwrap(), r#"{"endpoints": []}"#).unwrap();
    let app = app.with_delivery(receiver.file()).start_instances().await;
    order(&app.client(), &user, &menu).await;
    assert_eq!(app.count("select pending from delivery_lanes").await, 1);
    assert_eq!(
        onrush(&app, &["delivery", "drop", "platform"]),
        (true, "platform is told nothing more\n".into())
    );
    assert!(!onrush(&app, &["delivery", "drop", "platform"]).0);
    order(&app.client(), &user, &menu).await;
    assert_eq!(app.count("select count(*) from deliveries").await, 3);
    assert_eq!(app.count("select count(*) from deliveries where state = 'DEAD'").await, 1);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_never_taken_do_not_keep_the_others_back() {
    // No message is ever dead; five failures in a row open the breaker.
    let over = json!({"retrySeconds": vec![0.05; 100_000], "breakerSeconds": 0.05});
    let receiver = Arc::new(Receiver::start(&["order.placed"], over).await);
    let (seen, build) = (receiver.clone(), told_by(&receiver));
    with_apps(build, async move |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let (bad, good) = (app.users(6, 1_000).await, app.users(20, 1_000).await);
        let menu = client.menu(&operator, "Coffee", 1).await;
        let poison: Vec<String> = bad.iter().map(|user| user.id.clone()).collect();
        seen.behave(move |arrival| {
            Behaviour::Answer(if poison.contains(&arrival.aggregate) { 500 } else { 200 })
        });
        for user in &bad {
            order(&client, user, &menu).await;
        }
        eventually("the breaker is open", || async {
            app.count("select count(*) from delivery_endpoints where opens_at is not null").await == 1
        })
        .await;
        for user in &good {
            order(&client, user, &menu).await;
        }
        eventually("the others are told", || async {
            let told = seen.by_aggregate();
            good.iter().all(|user| told.get(&user.id).is_some_and(|orders| orders[0].accepted))
        })
        .await;
        seen.behave(|_| Behaviour::Answer(200));
        delivered(&app).await;
    })
    .await;
}
