//! Rewards, events and requests: what a client sees.

use std::collections::BTreeMap;

use onrush::Role;
use serde_json::{Value, json};

use crate::harness::receiver::Receiver;
use crate::harness::{Build, Client, User, eventually, with_app, with_apps};

async fn reward(client: &Client, operator: &User, id: &str) -> Value {
    client.get_as(operator, &format!("/v1/rewards/{id}")).await.expect(200).body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn points_are_asked_for_granted_and_told_again() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(5).await);
        let id = client.reward(&operator, 3, json!({"name": "포인트 | 100%, a:b"})).await;
        let event = client.event(&operator, &id, json!({})).await;
        let body = json!({"eventId": event, "rewardId": id});
        let open = client.get_as(&user, "/v1/events/open").await.expect(200).body["items"][0].clone();
        assert_eq!((&open["eventId"], &open["progress"]["met"]), (&json!(event), &json!(true)));
        assert_eq!(
            (&open["rewards"][0]["remaining"], &open["rewards"][0]["status"]),
            (&json!(3), &Value::Null)
        );
        let asked = client.post_with_key(&user, "/v1/reward-requests", body.clone(), "k").await.expect(201);
        assert_eq!(
            (asked.text_of("status").as_str(), asked.header("onrush-durability")),
            ("GRANTED", "postgres")
        );
        assert_eq!(
            asked.body["evidence"],
            json!({"type": "NONE", "required": null, "actual": null, "met": true})
        );
        assert_eq!(asked.int_of("eventVersion"), 1);
        assert_eq!(client.balance(&user).await, 15);
        let again = client.post_with_key(&user, "/v1/reward-requests", body.clone(), "k").await.expect(201);
        assert_eq!((again.header("idempotency-replayed"), &again.body), ("true", &asked.body));
        let other = json!({"eventId": uuid::Uuid::nil(), "rewardId": id});
        client
            .post_with_key(&user, "/v1/reward-requests", other, "k")
            .await
            .refused(422, "idempotency_key_reused");
        client.ask(&user, &event, &id).await.refused(409, "reward_already_requested");
        let ledger = format!("/v1/users/{}/points/transactions?limit=1", user.id);
        let row = client.get_as(&user, &ledger).await.expect(200).body["items"][0].clone();
        assert_eq!(
            (&row["type"], &row["amount"], &row["balanceAfter"]),
            (&json!("REWARD"), &json!(10), &json!(15))
        );
        assert_eq!(row["reference"], asked.body["requestId"]);
        let mine = client.get_as(&user, "/v1/reward-requests/mine?status=GRANTED").await.expect(200);
        assert_eq!(mine.body["items"], json!([asked.body]));
        let none = client.get_as(&user, "/v1/reward-requests/mine?status=PENDING").await.expect(200);
        assert_eq!(none.body["items"], json!([]));
        let request = asked.text_of("requestId");
        let one = client.get_as(&operator, &format!("/v1/reward-requests/{request}")).await.expect(200);
        assert_eq!(one.body, asked.body);
        let is = reward(&client, &operator, &id).await;
        assert_eq!(
            (&is["name"], &is["stock"], &is["remaining"]),
            (&json!("포인트 | 100%, a:b"), &json!(3), &json!(2))
        );
        let open = client.get_as(&user, "/v1/events/open").await.expect(200);
        assert_eq!(open.body["items"][0]["rewards"][0]["status"], "GRANTED");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coupons_and_things_are_granted_too() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let campaign = client.campaign(&operator, 5, json!({})).await;
        let body = json!({"type": "COUPON", "amount": null, "campaignId": campaign});
        let coupon = client.reward(&operator, 2, body).await;
        let thing = client.reward(&operator, 2, json!({"type": "ITEM", "amount": null})).await;
        let both = json!({"rewardIds": [thing, coupon]});
        let event = client.event(&operator, &coupon, both).await;
        for id in [&coupon, &thing] {
            assert_eq!(client.ask(&user, &event, id).await.expect(201).text_of("status"), "GRANTED");
        }
        let held = client.get_as(&user, "/v1/coupons").await.expect(200).body["items"].clone();
        assert_eq!((held.as_array().unwrap().len(), &held[0]["campaignId"]), (1, &json!(campaign)));
        let told = client.get(&format!("/v1/coupon-campaigns/{campaign}")).await.expect(200);
        assert_eq!((told.int_of("claimed"), told.int_of("remaining")), (1, 4));
        // What he got so counts as claimed.
        client.claim(&user, &campaign).await.refused(409, "coupon_already_claimed");
    })
    .await;
}

/// Granting that is refused is recorded, with the reason, and the stock goes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_granted_is_rejected_and_its_stock_goes_back() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let rich = app.user((1 << 53) - 5).await;
        let campaigns = [
            client.campaign(&operator, 0, json!({})).await,
            client.campaign(&operator, 9, json!({})).await,
            client.campaign(&operator, 9, json!({"opensAt": "2098-01-01T00:00:00Z"})).await,
        ];
        client.claim(&user, &campaigns[1]).await.expect(201);
        let of = |campaign: &String| json!({"type": "COUPON", "amount": null, "campaignId": campaign});
        for (user, over, reason) in [
            (&user, of(&campaigns[0]), "coupon_sold_out"),
            (&user, of(&campaigns[1]), "coupon_already_claimed"),
            (&user, of(&campaigns[2]), "campaign_not_open"),
            (&rich, json!({}), "balance_limit"),
        ] {
            let id = client.reward(&operator, 1, over).await;
            let event = client.event(&operator, &id, json!({})).await;
            let body = json!({"eventId": event, "rewardId": id});
            let asked =
                client.post_with_key(user, "/v1/reward-requests", body.clone(), &id).await.expect(201);
            assert_eq!(
                (asked.text_of("status").as_str(), asked.text_of("reason").as_str()),
                ("REJECTED", reason)
            );
            let again = client.post_with_key(user, "/v1/reward-requests", body, &id).await.expect(201);
            assert_eq!(again.body, asked.body);
            assert_eq!(reward(&client, &operator, &id).await["remaining"], 1);
            client.ask(user, &event, &id).await.refused(409, "reward_already_requested");
        }
        assert_eq!(client.balance(&rich).await, (1 << 53) - 5);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_approves_or_rejects() {
    with_app(async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(2, 0).await);
        let id = client.reward(&operator, 2, json!({})).await;
        let event = client.event(&operator, &id, json!({"approval": "MANUAL"})).await;
        let mut requests = Vec::new();
        for user in &users {
            let asked = client.ask(user, &event, &id).await.expect(201);
            assert_eq!(
                (asked.text_of("status").as_str(), &asked.body["decidedAt"]),
                ("PENDING", &Value::Null)
            );
            requests.push(asked);
        }
        assert_eq!(reward(&client, &operator, &id).await["remaining"], 0);
        client.ask(&app.user(0).await, &event, &id).await.refused(410, "reward_out_of_stock");
        let (first, second) = (requests[0].text_of("requestId"), requests[1].text_of("requestId"));
        let approved = client.decide(&operator, &first, "approve", Value::Null).await.expect(200);
        assert_eq!((approved.text_of("status").as_str(), client.balance(&users[0]).await), ("GRANTED", 10));
        for body in [json!({}), json!({"reason": ""}), json!({"reason": 1})] {
            client.decide(&operator, &second, "reject", body).await.refused(400, "invalid_request");
        }
        let no = json!({"reason": "nicht | erlaubt, 100%"});
        let rejected = client.decide(&operator, &second, "reject", no.clone()).await.expect(200);
        assert_eq!(
            (rejected.text_of("status"), rejected.text_of("reason")),
            ("REJECTED".into(), "nicht | erlaubt, 100%".into())
        );
        assert_eq!(
            (client.balance(&users[1]).await, &reward(&client, &operator, &id).await["remaining"]),
            (0, &json!(1))
        );
        for request in [&first, &second] {
            client
                .decide(&operator, request, "approve", Value::Null)
                .await
                .refused(409, "reward_request_closed");
            client
                .decide(&operator, request, "reject", no.clone())
                .await
                .refused(409, "reward_request_closed");
        }
        let nowhere = uuid::Uuid::new_v4().to_string();
        for request in [nowhere.as_str(), "x"] {
            client
                .decide(&operator, request, "approve", Value::Null)
                .await
                .refused(404, "reward_request_not_found");
        }
        let counts = json!({"PENDING": 0, "GRANTED": 1, "REJECTED": 1});
        let auditor = app.account(Role::Auditor).await;
        for (filter, count) in [
            (format!("eventId={event}"), 2),
            (format!("eventId={event}&status=REJECTED"), 1),
            (
                format!(
                    "userId={}&eventId={event}&from=2020-01-01T00:00:00Z&to=2099-01-01T00:00:00%2B09:00",
                    users[0].id
                ),
                1,
            ),
            ("from=2098-01-01T00:00:00Z".into(), 0),
        ] {
            let list =
                client.get_as(&auditor, &format!("/v1/reward-requests?{filter}")).await.expect(200).body;
            assert_eq!(list["items"].as_array().unwrap().len(), count, "{filter}: {list}");
            if !filter.contains("from") {
                assert_eq!(list["counts"], counts, "{filter}");
            }
        }
        let page = client.get_as(&operator, "/v1/reward-requests?limit=1").await.expect(200);
        let next = format!("/v1/reward-requests?limit=1&cursor={}", page.text_of("nextCursor"));
        let next = client.get_as(&operator, &next).await.expect(200);
        assert_eq!(
            (&page.body["items"][0]["requestId"], &next.body["items"][0]["requestId"]),
            (&json!(second), &json!(first))
        );
        for wrong in ["eventId=x", "status=granted", "from=2026-11-22", "to=1969-01-01T00:00:00Z", "userId=1"]
        {
            client
                .get_as(&operator, &format!("/v1/reward-requests?{wrong}"))
                .await
                .refused(400, "invalid_request");
        }
        let audit = client.get_as(&auditor, "/v1/audit").await.expect(200).text;
        for action in ["rewards.create", "events.create", "reward-requests.approve", "reward-requests.reject"]
        {
            assert!(audit.contains(&format!("\"{action}\"")), "{action} is not in the audit log");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_told_of_what_was_granted_and_rejected() {
    let receiver = Receiver::start(&["reward.granted", "reward.rejected"], json!({})).await;
    with_apps(Build { delivery: receiver.file(), ..Build::default() }, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(2, 0).await);
        let id = client.reward(&operator, 2, json!({})).await;
        let event = client.event(&operator, &id, json!({})).await;
        let manual = client.event(&operator, &id, json!({"approval": "MANUAL"})).await;
        let granted = client.ask(&users[0], &event, &id).await.expect(201).text_of("requestId");
        let asked = client.ask(&users[1], &manual, &id).await.expect(201).text_of("requestId");
        client.decide(&operator, &asked, "reject", json!({"reason": "no"})).await.expect(200);
        eventually("both are told", || async { receiver.arrivals().len() >= 2 }).await;
        let told: BTreeMap<String, Value> =
            receiver.arrivals().into_iter().map(|one| (one.kind, one.body.clone())).collect();
        let (yes, no) = (&told["reward.granted"], &told["reward.rejected"]);
        assert_eq!(
            (&yes["requestId"], &yes["amount"], &yes["userId"]),
            (&json!(granted), &json!(10), &json!(users[0].id))
        );
        assert_eq!(
            (&no["requestId"], &no["reason"], &no["eventId"]),
            (&json!(asked), &json!("no"), &json!(manual))
        );
    })
    .await;
}
