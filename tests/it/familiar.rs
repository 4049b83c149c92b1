//! Who wrote before is not looked up in Postgres at each new key, and no key counts twice for it.

use onrush::sabotage::{Defence, Sabotage};
use serde_json::json;

use crate::harness::{Answer, Build, Client, User, eventually, key, with_app, with_apps};

async fn looked_up(client: &Client, from: &str) -> i64 {
    client.counter(&format!("onrush_key_lookups_total{{from=\"{from}\"}}")).await
}

async fn charge_for(client: &Client, admin: &User, user: &User, key: &str) -> Answer {
    let path = format!("/v1/users/{}/points/charge", user.id);
    client.post_with_key(admin, &path, json!({"amount": 1}), key).await
}

/// He writes until his keys are known: how often.
async fn become_familiar(client: &Client, admin: &User, user: &User) -> i64 {
    let (before, charges) = (looked_up(client, "memory").await, std::cell::Cell::new(0));
    eventually("his keys are known", || async {
        charge_for(client, admin, user, &key()).await.expect(201);
        charges.set(charges.get() + 1);
        looked_up(client, "memory").await > before
    })
    .await;
    charges.get()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_is_not_looked_up_and_a_used_one_is_found() {
    with_app(async |app| {
        let client = app.client();
        let (admin, user, other) =
            (app.account(onrush::Role::Admin).await, app.user(0).await, app.user(0).await);
        let charges = become_familiar(&client, &admin, &user).await;
        let asked = looked_up(&client, "postgres").await;
        let keys: Vec<String> = (0..20).map(|_| key()).collect();
        for key in &keys {
            charge_for(&client, &admin, &user, key).await.expect(201);
        }
        assert_eq!(looked_up(&client, "postgres").await, asked, "no new key is looked up");
        for key in &keys {
            let again = charge_for(&client, &admin, &user, key).await.expect(201);
            assert_eq!(again.header("idempotency-replayed"), "true");
            charge_for(&client, &admin, &other, key).await.refused(422, "idempotency_key_reused");
        }
        assert!(looked_up(&client, "postgres").await > asked, "used ones are");
        assert_eq!((client.balance(&user).await, client.balance(&other).await), (charges + 20, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_known_before_a_loss_does_not_count_after_it() {
    with_app(async |app| {
        let (client, admin, user) = (app.client(), app.account(onrush::Role::Admin).await, app.user(0).await);
        let (charges, used) = (become_familiar(&client, &admin, &user).await, key());
        charge_for(&client, &admin, &user, &used).await.expect(201);
        app.settled().await;
        app.lose_redis().await;
        app.rebuilt(2).await;
        let asked = looked_up(&client, "postgres").await;
        charge_for(&client, &admin, &user, &key()).await.expect(201);
        assert!(looked_up(&client, "postgres").await > asked, "a look-up of another epoch is none");
        let again = charge_for(&client, &admin, &user, &used).await.expect(201);
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(client.balance(&user).await, charges + 2);
    })
    .await;
}

/// How many of twenty keys an instance refuses that were used at the other for another target. One shard has
/// one writer, who tells both.
async fn refused_elsewhere(sabotage: Sabotage) -> usize {
    let refused = std::cell::Cell::new(0);
    with_apps(Build { instances: 2, shards: 1, sabotage, ..Build::default() }, async |app| {
        app.written_by(1).await;
        let admin = app.account(onrush::Role::Admin).await;
        let (user, other) = (app.user(0).await, app.user(0).await);
        let owner = app.owner_of(0).await;
        let (writer, reader) = (app.client_of(owner), app.client_of(1 - owner));
        become_familiar(&writer, &admin, &user).await;
        for _ in 0..20 {
            let key = key();
            charge_for(&reader, &admin, &user, &key).await.expect(201);
            let elsewhere = charge_for(&writer, &admin, &other, &key).await;
            if elsewhere.status != 201 {
                elsewhere.refused(422, "idempotency_key_reused");
                refused.set(refused.get() + 1);
            }
        }
        assert_eq!(reader.balance(&other).await, 20 - refused.get() as i64);
    })
    .await;
    refused.get()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_used_at_another_instance_is_not_new() {
    assert_eq!(refused_elsewhere(Sabotage::default()).await, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_keys_that_are_not_noted_are_taken_for_new() {
    assert!(refused_elsewhere(Sabotage::default().without(Defence::Notes)).await < 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_shards_are_shared_out_nothing_is_remembered() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        app.written_by(2).await;
        let (client, admin, user) = (app.client(), app.account(onrush::Role::Admin).await, app.user(0).await);
        // A round of the writer later it knows what it owns.
        charge_for(&client, &admin, &user, &key()).await.expect(201);
        app.settled().await;
        let known = looked_up(&client, "memory").await;
        for _ in 0..10 {
            charge_for(&client, &admin, &user, &key()).await.expect(201);
        }
        assert_eq!(looked_up(&client, "memory").await, known);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_of_before_become_those_that_are_looked_for() {
    with_app(async |app| {
        for user in app.users(20, 0).await {
            app.client().charge(&user, 1, &key()).await.expect(201);
        }
        app.settled().await;
        let numbers = "select sum(hashtextextended(op::text || scope::text, 0) % 1000000007)::bigint
                       from operations where scope is not null";
        let before = app.count(numbers).await;
        app.sql(
            "update operations set scope = (hashtext(op::text)::bigint << 32) | (scope & 4294967295)
             where scope is not null",
        )
        .await;
        assert_ne!(app.count(numbers).await, before);
        app.sql(include_str!("../../migrations/20261129000100_group_operations_by_user.sql")).await;
        assert_eq!(app.count(numbers).await, before);
    })
    .await;
}
