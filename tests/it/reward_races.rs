//! Rewards asked for by many at once: never more than there are, to nobody twice. And what a script that does
//! not look would meet.

use std::collections::BTreeMap;

use onrush::sabotage::Sabotage;
use serde_json::{Value, json};

use crate::harness::{Answer, Build, Client, TestApp, User, at_once, by_status, eventually, key, with_apps};

async fn reward(client: &Client, operator: &User, id: &str) -> Value {
    client.get_as(operator, &format!("/v1/rewards/{id}")).await.expect(200).body
}

/// Each asks once, at once, on all instances in turn; with the same key again where it is not known.
async fn asks_at_once(clients: &[Client], users: &[User], event: &str, reward: &str) -> Vec<Answer> {
    let body = json!({"eventId": event, "rewardId": reward});
    let jobs = users.iter().cloned().enumerate().map(|(at, user)| {
        let (client, body) = (clients[at % clients.len()].clone(), body.clone());
        async move {
            let key = key();
            loop {
                let answer = client.post_with_key(&user, "/v1/reward-requests", body.clone(), &key).await;
                if answer.status < 500 {
                    break answer;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    });
    at_once(jobs.collect::<Vec<_>>()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_a_hundred_times_at_once_gets_one() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (operator, user) = (app.operator().await, app.user(0).await);
        let clients = [app.client_of(0), app.client_of(1)];
        let id = clients[0].reward(&operator, 1_000, json!({})).await;
        let event = clients[0].event(&operator, &id, json!({})).await;
        let answers = asks_at_once(&clients, &vec![user.clone(); 100], &event, &id).await;
        assert_eq!(by_status(&answers), BTreeMap::from([(201, 1), (409, 99)]));
        assert!(answers.iter().all(|one| ["", "reward_already_requested"].contains(&one.code())));
        assert_eq!(clients[0].balance(&user).await, 10);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_at_once_get_a_stock_of_a_hundred() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (operator, users) = (app.operator().await, app.users(5_000, 0).await);
        let clients = [app.client_of(0), app.client_of(1)];
        let id = clients[0].reward(&operator, 100, json!({})).await;
        let event = clients[0].event(&operator, &id, json!({})).await;
        let mut answers = Vec::new();
        for users in users.chunks(1_000) {
            answers.extend(asks_at_once(&clients, users, &event, &id).await);
        }
        assert_eq!(by_status(&answers), BTreeMap::from([(201, 100), (410, 4_900)]));
        assert_eq!(app.count("select count(*) from ledger where type = 'REWARD'").await, 100);
        assert_eq!(app.count("select count(*) from balances where balance = 10").await, 100);
        assert_eq!(reward(&clients[0], &operator, &id).await["remaining"], 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_and_many_decisions_at_once_have_one_effect() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (operator, users) = (app.operator().await, app.users(11, 0).await);
        let clients = [app.client_of(0), app.client_of(1)];
        let id = clients[0].reward(&operator, 1_000, json!({})).await;
        let event = clients[0].event(&operator, &id, json!({})).await;
        let body = json!({"eventId": event, "rewardId": id});
        let asks = (0..50).map(|at| {
            let (client, user, body) = (clients[at % 2].clone(), users[10].clone(), body.clone());
            async move { client.post_with_key(&user, "/v1/reward-requests", body, "once").await }
        });
        let answers = at_once(asks.collect::<Vec<_>>()).await;
        let told: Vec<&Value> = answers.iter().filter(|one| one.status == 201).map(|one| &one.body).collect();
        assert!(!told.is_empty() && told.iter().all(|one| *one == told[0]), "{:?}", by_status(&answers));
        assert_eq!(clients[0].balance(&users[10]).await, 10);
        let manual = clients[0].event(&operator, &id, json!({"approval": "MANUAL"})).await;
        for user in &users[..10] {
            let request = clients[0].ask(user, &manual, &id).await.expect(201).text_of("requestId");
            let decisions = (0..20).map(|at| {
                let (client, operator, request) =
                    (clients[at % 2].clone(), operator.clone(), request.clone());
                let (what, body) =
                    if at % 3 == 0 { ("reject", json!({"reason": "no"})) } else { ("approve", Value::Null) };
                async move { client.decide(&operator, &request, what, body).await }
            });
            let answers = at_once(decisions.collect::<Vec<_>>()).await;
            assert_eq!(by_status(&answers), BTreeMap::from([(200, 1), (409, 19)]));
            let won = answers.iter().find(|one| one.status == 200).unwrap();
            let points = if won.text_of("status") == "GRANTED" { 10 } else { 0 };
            assert_eq!(clients[0].balance(user).await, points);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_script_that_gives_out_too_many_meets_the_wall() {
    let (from, to) = ("if tonumber(known[3]) >= tonumber(known[2])", "if false");
    let sabotage = Sabotage::default().change_script("rewards/request", from, to);
    let app = TestApp::start(Build { sabotage, ack_timeout_ms: 1_500, ..Build::default() }).await;
    let (client, operator, users) = (app.client(), app.operator().await, app.users(3, 0).await);
    let id = client.reward(&operator, 2, json!({})).await;
    let event = client.event(&operator, &id, json!({})).await;
    for user in &users[..2] {
        client.ask(user, &event, &id).await.expect(201);
    }
    let third = client.ask(&users[2], &event, &id).await;
    assert!(third.status >= 500, "{}", third.text);
    eventually("it is kept apart", || async { app.count("select count(*) from quarantine").await > 0 }).await;
    assert_eq!(app.count("select taken from rewards").await, 2);
    app.stop_instances().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_script_that_marks_nobody_meets_the_wall() {
    let (from, to) = ("== 1 then return {'reward_already", "== 2 then return {'reward_already");
    let sabotage = Sabotage::default().change_script("rewards/request", from, to);
    let app = TestApp::start(Build { sabotage, ack_timeout_ms: 1_500, ..Build::default() }).await;
    let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
    let id = client.reward(&operator, 5, json!({})).await;
    let event = client.event(&operator, &id, json!({})).await;
    client.ask(&user, &event, &id).await.expect(201);
    let again = client.ask(&user, &event, &id).await;
    assert!(again.status >= 500, "{}", again.text);
    eventually("it is kept apart", || async { app.count("select count(*) from quarantine").await > 0 }).await;
    assert_eq!(app.count("select count(*) from reward_requests").await, 1);
    app.stop_instances().await;
}
