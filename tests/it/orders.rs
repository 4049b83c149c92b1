//! Orders: what a client sees, and what races cannot break.

use std::collections::BTreeSet;

use onrush::Role;
use onrush::sabotage::Sabotage;
use serde_json::{Value, json};

use crate::harness::{Answer, Build, Client, TestApp, User, at_once, eventually, key, with_app, with_apps};

fn one(menu: &str, quantity: u32) -> Value {
    json!({"items": [{"menuId": menu, "quantity": quantity}]})
}

/// Every user orders so often at once, each time with a key of its own.
async fn orders_at_once(clients: &[Client], users: &[User], times: usize, body: Value) -> Vec<Answer> {
    let jobs =
        users.iter().flat_map(|user| (0..times).map(move |at| (user.clone(), at))).map(|(user, at)| {
            let (client, body) = (clients[at % clients.len()].clone(), body.clone());
            async move {
                let key = key();
                loop {
                    // Whose shard is behind, or does not know yet, is asked again with the same key.
                    let answer = client.post_with_key(&user, "/v1/orders", body.clone(), &key).await;
                    if answer.status < 500 {
                        break answer;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        });
    at_once(jobs.collect::<Vec<_>>()).await
}

fn both(app: &TestApp) -> [Client; 2] {
    [app.client(), app.client_of(1)]
}

fn paid(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 201).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_takes_its_points_and_can_be_read_again() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(50_000).await);
        let coffee = client.menu(&operator, "Coffee, \"hot\": 100% | 커피", 4_500).await;
        let tea = client.menu(&operator, "Tea", 0).await;
        let body = json!({"items": [
            {"menuId": tea, "quantity": 1}, {"menuId": coffee, "quantity": 2}, {"menuId": tea, "quantity": 3},
        ]});
        let made = client.post_as(&user, "/v1/orders", body).await.expect(201);
        assert_eq!(made.header("onrush-durability"), "postgres");
        assert_eq!(
            made.body["items"],
            json!([
                {"menuId": tea, "name": "Tea", "quantity": 4, "unitPrice": 0, "totalPrice": 0},
                {"menuId": coffee, "name": "Coffee, \"hot\": 100% | 커피", "quantity": 2, "unitPrice": 4_500,
                 "totalPrice": 9_000},
            ])
        );
        assert_eq!((made.int_of("totalPrice"), made.int_of("balance")), (9_000, 41_000));
        assert_eq!(client.balance(&user).await, 41_000);
        let path = format!("/v1/orders/{}", made.text_of("orderId"));
        assert_eq!(client.get_as(&user, &path).await.expect(200).body, made.body);
        let ledger = client.get_as(&user, &format!("/v1/users/{}/points/transactions", user.id)).await;
        let row = &ledger.expect(200).body["items"][0];
        assert_eq!((row["type"].as_str(), row["amount"].as_i64()), (Some("ORDER"), Some(-9_000)));
        assert_eq!(row["reference"], made.body["orderId"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_of_a_menu_changes_no_order_that_was_placed() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (client, other, operator) = (app.client(), app.client_of(1), app.operator().await);
        let user = app.user(100_000).await;
        let menu = client.menu(&operator, "Coffee", 1_000).await;
        let first = client.post_with_key(&user, "/v1/orders", one(&menu, 3), "first").await.expect(201);
        let path = format!("/v1/menus/{menu}");
        client.put_as(&operator, &path, json!({"name": "Latte", "price": 2_000})).await.expect(200);
        let second = client.post_as(&user, "/v1/orders", one(&menu, 1)).await.expect(201);
        assert_eq!(second.body["items"][0]["unitPrice"], 2_000, "here at once");
        eventually("there within a second", || async {
            let there = other.post_as(&user, "/v1/orders", one(&menu, 1)).await.expect(201);
            there.body["items"][0]["name"] == "Latte"
        })
        .await;
        client.delete_as(&operator, &path).await.expect(204);
        client.post_as(&user, "/v1/orders", one(&menu, 1)).await.refused(404, "menu_not_found");
        eventually("there as well", || async {
            other.post_as(&user, "/v1/orders", one(&menu, 1)).await.code() == "menu_not_found"
        })
        .await;
        let path = format!("/v1/orders/{}", first.text_of("orderId"));
        assert_eq!(client.get_as(&user, &path).await.expect(200).body, first.body);
        let again = client.post_with_key(&user, "/v1/orders", one(&menu, 3), "first").await.expect(201);
        assert_eq!((again.header("idempotency-replayed"), &again.body), ("true", &first.body));
        let reused = client.post_with_key(&user, "/v1/orders", one(&menu, 4), "first").await;
        reused.refused(422, "idempotency_key_reused");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_ordered_is_refused_and_changes_nothing() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(999).await);
        let menu = client.menu(&operator, "Coffee", 1_000).await;
        let line = json!({"menuId": menu, "quantity": 1});
        for wrong in [
            json!({}),
            json!({"items": []}),
            json!({"items": vec![line.clone(); 51]}),
            one(&menu, 0),
            one(&menu, 101),
            json!({"items": [[menu, 1]]}),
            json!({"items": [{"menuId": "x", "quantity": 1}]}),
            json!({"items": [{"menuId": menu, "quantity": 1.5}]}),
            json!({"items": [{"menuId": menu}]}),
        ] {
            let answer = client.post_as(&user, "/v1/orders", wrong).await;
            answer.refused(400, "invalid_request");
        }
        let nowhere = uuid::Uuid::new_v4().to_string();
        client.post_as(&user, "/v1/orders", one(&nowhere, 1)).await.refused(404, "menu_not_found");
        let some = json!({"items": [line, {"menuId": nowhere, "quantity": 1}]});
        client.post_as(&user, "/v1/orders", some).await.refused(404, "menu_not_found");
        let poor = client.post_with_key(&user, "/v1/orders", one(&menu, 1), "poor").await;
        poor.refused(409, "balance_insufficient");
        client.post("/v1/orders", one(&menu, 1)).await.refused(401, "unauthenticated");
        let keyless = client.request(reqwest::Method::POST, "/v1/orders").bearer_auth(&user.token);
        client.send(keyless.json(&one(&menu, 1))).await.refused(400, "idempotency_key_missing");
        assert_eq!(client.balance(&user).await, 999);
        assert_eq!(app.count("select count(*) from orders").await, 0);
        // A refusal that a moment can change is not kept: the same key buys when there are points.
        client.charge(&user, 1, &key()).await.expect(201);
        client.post_with_key(&user, "/v1/orders", one(&menu, 1), "poor").await.expect(201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_their_owners_and_an_operators() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let users = app.users(2, 1_000).await;
        let menu = client.menu(&operator, "Coffee", 1).await;
        for user in [&users[0], &users[1], &users[0]] {
            client.post_as(user, "/v1/orders", one(&menu, 1)).await.expect(201);
        }
        let listed = async |user, query: &str| {
            let page = client.get_as(user, &format!("/v1/orders?{query}")).await.expect(200).body;
            (page["items"].as_array().unwrap().clone(), page["nextCursor"].as_str().map(str::to_owned))
        };
        let (own, _) = listed(&users[0], "limit=10").await;
        assert_eq!(own.len(), 2);
        let (first, next) = listed(&users[0], "limit=1").await;
        let (second, _) = listed(&users[0], &format!("limit=1&cursor={}", next.unwrap())).await;
        assert_eq!([first, second].concat(), own, "newest first, page by page");
        assert_eq!(listed(&operator, "").await.0.len(), 3);
        let path = format!("/v1/orders/{}", own[0]["orderId"].as_str().unwrap());
        client.get_as(&operator, &path).await.expect(200);
        let auditor = app.account(Role::Auditor).await;
        for stranger in [&users[1], &auditor] {
            client.get_as(stranger, &path).await.refused(404, "order_not_found");
        }
        client.get_as(&users[0], "/v1/orders/x").await.refused(404, "order_not_found");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_orders_at_once_take_what_the_balance_bears_and_no_more() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let menu = client.menu(&operator, "Meal", 3_000).await;
        for (points, bought) in [(50_000, 5), (9_000, 3)] {
            let user = app.user(points).await;
            let answers = orders_at_once(&both(&app), std::slice::from_ref(&user), 5, one(&menu, 1)).await;
            assert_eq!(paid(&answers), bought);
            for refused in answers.into_iter().filter(|answer| answer.status != 201) {
                refused.refused(409, "balance_insufficient");
            }
            assert_eq!(client.balance(&user).await, points - 3_000 * bought as i64);
        }
        assert_eq!(app.count("select count(*) from orders").await, 8);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_with_a_balance_that_is_written_late_too_much_is_sold() {
    let late = Sabotage::default().change_script(
        "orders/place",
        "redis.call('HSET', balances, user, int(balance - points))",
        "",
    );
    let app = TestApp::start(Build { sabotage: late, ack_timeout_ms: 1_500, ..Build::default() }).await;
    let (client, operator) = (app.client(), app.operator().await);
    let menu = client.menu(&operator, "Meal", 3_000).await;
    let answers = orders_at_once(&[app.client()], &[app.user(9_000).await], 5, one(&menu, 1)).await;
    // The last wall holds: Postgres refuses a balance below zero, and nobody is told yes.
    assert!(paid(&answers) <= 3, "{answers:?}");
    assert!(app.count("select count(*) from quarantine").await > 0, "postgres refused nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_users_with_fifty_orders_each_at_once_are_all_counted() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(50, 100_000).await);
        let [coffee, cake] =
            [client.menu(&operator, "Coffee", 100).await, client.menu(&operator, "Cake", 1).await];
        let body = json!({"items": [{"menuId": coffee, "quantity": 2}, {"menuId": cake, "quantity": 1}]});
        let answers = orders_at_once(&both(&app), &users, 50, body).await;
        assert_eq!(paid(&answers), 2_500);
        let ids: BTreeSet<String> = answers.iter().map(|answer| answer.text_of("orderId")).collect();
        assert_eq!(ids.len(), 2_500);
        for user in &users {
            assert_eq!(client.balance(user).await, 100_000 - 50 * 201);
        }
        assert_eq!(app.count("select count(*) from orders").await, 2_500);
        assert_eq!(app.count("select count(*) from ledger where type = 'ORDER'").await, 2_500);
        eventually("all are in the ranking", || async {
            let popular = client.get("/v1/menus/popular").await.expect(200).body;
            let counts = popular["items"].as_array().unwrap().iter();
            let counts: Vec<_> = counts
                .map(|item| (item["name"].as_str(), item["orderCount"].as_i64(), item["quantity"].as_i64()))
                .map(|(name, orders, quantity)| {
                    (name.unwrap().to_owned(), orders.unwrap(), quantity.unwrap())
                })
                .collect();
            counts == [("Coffee".into(), 2_500, 5_000), ("Cake".into(), 2_500, 2_500)]
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_twenty_times_is_one_order() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(10_000).await);
        let menu = client.menu(&operator, "Meal", 3_000).await;
        let answers = at_once((0..20).map(|at| {
            let (client, user, body) = (app.client_of(at % 2), user.clone(), one(&menu, 1));
            async move { client.post_with_key(&user, "/v1/orders", body, "once").await.expect(201).body }
        }))
        .await;
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(client.balance(&user).await, 7_000);
        assert_eq!(app.count("select count(*) from orders").await, 1);
    })
    .await;
}
