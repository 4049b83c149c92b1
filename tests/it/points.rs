//! Points: what a client sees.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{at_once, key, with_app};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_raises_the_balance_and_stands_in_the_ledger() {
    with_app(async |app| {
        let (client, user) = (app.client(), app.user(0).await);
        let charged = client.charge(&user, 700, &key()).await.expect(201);
        assert_eq!(charged.body["balance"], 700);
        assert_eq!(charged.header("onrush-durability"), "postgres");
        assert_eq!(client.balance(&user).await, 700);
        let ledger =
            client.get_as(&user, &format!("/v1/users/{}/points/transactions", user.id)).await.expect(200);
        let row = &ledger.body["items"][0];
        assert_eq!(row["transactionId"], charged.body["transactionId"]);
        assert_eq!((row["type"].as_str(), row["amount"].as_i64()), (Some("CHARGE"), Some(700)));
        assert_eq!(row["balanceAfter"], 700);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_charges_at_once_all_count() {
    with_app(async |app| {
        let (client, user) = (app.client(), app.user(0).await);
        let charges = (0..1_000).map(|_| {
            let (client, user) = (client.clone(), user.clone());
            async move { client.charge(&user, 100, &key()).await.expect(201).int_of("balance") }
        });
        let balances: BTreeSet<i64> = at_once(charges).await.into_iter().collect();
        assert_eq!(balances, (1..=1_000).map(|n| n * 100).collect(), "each charge saw its own balance");
        assert_eq!(client.balance(&user).await, 100_000);
        let mut rows = 0;
        let mut next = String::new();
        loop {
            let path = format!("/v1/users/{}/points/transactions?limit=100&cursor={next}", user.id);
            let page = client.get_as(&user, &path).await.expect(200);
            rows += page.body["items"].as_array().unwrap().len();
            match page.body["nextCursor"].as_str() {
                Some(cursor) => next = cursor.to_owned(),
                None => break,
            }
        }
        assert_eq!(rows, 1_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_stays_what_a_double_carries_exactly() {
    with_app(async |app| {
        let (client, user) = (app.client(), app.user(9_007_199_254_740_000).await);
        client.charge(&user, 992, &key()).await.refused(409, "balance_limit");
        assert_eq!(
            client.charge(&user, 991, &key()).await.expect(201).body["balance"],
            9_007_199_254_740_991_i64
        );
        client.charge(&user, 1, &key()).await.refused(409, "balance_limit");
        assert_eq!(client.balance(&user).await, 9_007_199_254_740_991);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_points_are_nobodys_business_but_an_admins() {
    with_app(async |app| {
        let (client, user, other) = (app.client(), app.user(500).await, app.user(0).await);
        let (admin, operator) = (app.account(onrush::Role::Admin).await, app.operator().await);
        let path = format!("/v1/users/{}/points", user.id);
        for stranger in [&other, &operator] {
            client.get_as(stranger, &path).await.refused(403, "forbidden");
            client.get_as(stranger, &format!("{path}/transactions")).await.refused(403, "forbidden");
            let charge = client.post_as(stranger, &format!("{path}/charge"), json!({"amount": 1})).await;
            charge.refused(403, "forbidden");
        }
        assert_eq!(client.get_as(&admin, &path).await.expect(200).body["balance"], 500);
        client.post_as(&admin, &format!("{path}/charge"), json!({"amount": 1})).await.expect(201);
        assert_eq!(client.balance(&user).await, 501);
        for nobody in [uuid::Uuid::new_v4().to_string(), "x".into()] {
            let path = format!("/v1/users/{nobody}/points");
            client.get_as(&admin, &path).await.refused(404, "user_not_found");
            client.get_as(&user, &path).await.refused(403, "forbidden");
        }
    })
    .await;
}
