//! Menus: what can be ordered, and for how much.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Build, Client, at_once, eventually, key, with_app, with_apps};

async fn listed(client: &Client) -> Vec<Value> {
    client.get("/v1/menus?limit=100").await.expect(200).body["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_menu_is_made_changed_and_taken_off_and_everyone_sees_it() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (client, other, operator) = (app.client(), app.client_of(1), app.operator().await);
        let coffee = client.menu(&operator, "Coffee", 4_500).await;
        let tea = other.menu(&operator, "Tea", 0).await;
        let expected = json!([
            {"menuId": tea, "name": "Tea", "price": 0},
            {"menuId": coffee, "name": "Coffee", "price": 4_500},
        ]);
        for one in [&client, &other] {
            eventually("it is on every instance, newest first", || async {
                json!(listed(one).await) == expected
            })
            .await;
        }
        let path = format!("/v1/menus/{coffee}");
        let changed =
            client.put_as(&operator, &path, json!({"name": "Latte", "price": 5_000})).await.expect(200);
        assert_eq!(changed.body, json!({"menuId": coffee, "name": "Latte", "price": 5_000}));
        assert_eq!(listed(&client).await[1], changed.body, "here at once");
        eventually("there as well", || async { listed(&other).await[1] == changed.body }).await;
        other.delete_as(&operator, &path).await.expect(204);
        assert_eq!(listed(&other).await.len(), 1, "here at once");
        eventually("there as well", || async { listed(&client).await.len() == 1 }).await;
        client.delete_as(&operator, &path).await.refused(404, "menu_not_found");
        let again = json!({"name": "Latte", "price": 1});
        client.put_as(&operator, &path, again).await.refused(404, "menu_not_found");
        assert_eq!(app.count("select count(*) from menus").await, 2, "what names it can still read it");
        let acts = "select count(*) from audit_log where action like 'menus.%'";
        assert_eq!(app.count(acts).await, 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_makes_one_menu_changes_it_once_and_removes_it_once() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let operator = app.operator().await;
        let posts = (0..20).map(|at| {
            let (client, operator) = (app.client_of(at % 2), operator.clone());
            let body = json!({"name": "Coffee", "price": 4_500});
            async move { client.post_with_key(&operator, "/v1/menus", body, "once").await.expect(201).body }
        });
        let made = at_once(posts).await;
        assert!(made.iter().all(|menu| *menu == made[0]), "{made:?}");
        let client = app.client();
        eventually("there is one", || async { listed(&client).await.len() == 1 }).await;
        let other = json!({"name": "Tea", "price": 4_500});
        let reused = client.post_with_key(&operator, "/v1/menus", other, "once").await;
        reused.refused(422, "idempotency_key_reused");
        let path = format!("/v1/menus/{}", made[0]["menuId"].as_str().unwrap());
        for replayed in ["", "true"] {
            let delete = client.request(Method::DELETE, &path).bearer_auth(&operator.token);
            let answer = client.send(delete.header("Idempotency-Key", "gone")).await.expect(204);
            assert_eq!(answer.header("idempotency-replayed"), replayed);
        }
        assert_eq!(app.count("select count(*) from audit_log").await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_prices_out_of_range_are_refused_and_lists_have_pages() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        for wrong in [
            json!({"name": "", "price": 1}),
            json!({"name": "x".repeat(201), "price": 1}),
            json!({"name": "x", "price": -1}),
            json!({"name": "x", "price": 1_000_000_001}),
            json!({"name": "x"}),
        ] {
            let answer = client.post_with_key(&operator, "/v1/menus", wrong, &key()).await;
            answer.refused(400, "invalid_request");
        }
        assert_eq!(listed(&client).await.len(), 0);
        for at in 0..5 {
            client.menu(&operator, &format!("menu {at}"), 1).await;
        }
        let first = client.get("/v1/menus?limit=3").await.expect(200);
        let next = format!("/v1/menus?limit=3&cursor={}", first.text_of("nextCursor"));
        let second = client.get(&next).await.expect(200);
        assert_eq!(second.body["items"].as_array().unwrap().len(), 2);
        assert!(second.body["nextCursor"].is_null());
    })
    .await;
}
