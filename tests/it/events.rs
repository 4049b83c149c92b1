//! Rewards and events as operators keep them: changed as they were read, and no nonsense.

use std::collections::BTreeMap;

use onrush::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Build, at_once, by_status, event, with_app, with_apps};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn things_are_changed_as_they_were_read() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let made = json!({"name": "r", "type": "POINTS", "amount": 1, "stock": 10});
        let first = client.post_with_key(&operator, "/v1/rewards", made.clone(), "k").await.expect(201);
        assert_eq!((first.header("etag"), first.int_of("version")), ("\"1\"", 1));
        let again = client.post_with_key(&operator, "/v1/rewards", made.clone(), "k").await.expect(201);
        assert_eq!((&again.body, again.header("idempotency-replayed")), (&first.body, "true"));
        let id = first.text_of("rewardId");
        let events = client.post_as(&operator, "/v1/events", event(&id)).await.expect(201);
        assert_eq!(events.header("etag"), "\"1\"");
        let event_path = format!("/v1/events/{}", events.text_of("eventId"));
        let told = client.get_as(&operator, &event_path).await.expect(200);
        assert_eq!((&told.body, told.header("etag")), (&events.body, "\"1\""));
        let changed = json!({"name": "other", "type": "POINTS", "amount": 1, "stock": 20});
        for (path, body) in [(format!("/v1/rewards/{id}"), changed), (event_path.clone(), event(&id))] {
            client.put_as(&operator, &path, body.clone()).await.refused(428, "version_required");
            client.delete_as(&operator, &path).await.refused(428, "version_required");
            for other in ["\"2\"", "W/\"1\"", "\"abc\""] {
                client
                    .put_version(&operator, &path, other, body.clone())
                    .await
                    .refused(412, "version_conflict");
                client.delete_version(&operator, &path, other).await.refused(412, "version_conflict");
            }
            client.put_version(&operator, &path, "\"1", body.clone()).await.refused(400, "invalid_request");
            // Twenty read version 1; one of them changes it.
            let puts = (0..20).map(|at| {
                let (client, operator, path, body) =
                    (app.client_of(at % 2), operator.clone(), path.clone(), body.clone());
                async move { client.put_version(&operator, &path, "\"1\"", body).await }
            });
            let answers = at_once(puts.collect::<Vec<_>>()).await;
            assert_eq!(by_status(&answers), BTreeMap::from([(200, 1), (412, 19)]), "{path}");
            let won = answers.iter().find(|one| one.status == 200).unwrap();
            assert_eq!((won.int_of("version"), won.header("etag")), (2, "\"2\""));
            assert_eq!(client.get_as(&operator, &path).await.expect(200).body, won.body);
        }
        // What an event gives out stays.
        let path = format!("/v1/rewards/{id}");
        for over in [json!({"amount": 2}), json!({"type": "ITEM", "amount": null})] {
            let mut body = made.clone();
            over.as_object().unwrap().iter().for_each(|(member, value)| body[member] = value.clone());
            client.put_version(&operator, &path, "*", body).await.refused(400, "invalid_request");
        }
        client.delete_version(&operator, &path, "\"2\"").await.refused(400, "invalid_request");
        // It may grow, and shrink to what is taken of it.
        let user = app.user(0).await;
        client.ask(&user, &events.text_of("eventId"), &id).await.expect(201);
        let stock = |stock: i64| json!({"name": "r", "type": "POINTS", "amount": 1, "stock": stock});
        client.put_version(&operator, &path, "*", stock(0)).await.refused(400, "invalid_request");
        let told = client.put_version(&operator, &path, "*", stock(1)).await.expect(200);
        assert_eq!((told.int_of("version"), told.int_of("remaining")), (3, 0));
        client.delete_version(&operator, &event_path, "\"2\"").await.expect(204);
        client.get_as(&operator, &event_path).await.refused(404, "event_not_found");
        client.delete_version(&operator, &path, "\"3\"").await.expect(204);
        client.get_as(&operator, &path).await.refused(404, "reward_not_found");
        client.put_version(&operator, &path, "*", stock(1)).await.refused(404, "reward_not_found");
        client.delete_version(&operator, &event_path, "*").await.refused(404, "event_not_found");
        for list in ["/v1/rewards", "/v1/events"] {
            assert_eq!(client.get_as(&operator, list).await.expect(200).body["items"], json!([]));
        }
        let audit = client.get_as(&app.account(Role::Auditor).await, "/v1/audit?limit=100").await.expect(200);
        let story = |action: &str| {
            let lines = audit.body["items"].as_array().unwrap().iter();
            let line = lines.clone().find(|line| line["action"] == action).unwrap();
            (line["before"].clone(), line["after"].clone())
        };
        let (before, after) = story("rewards.change");
        assert_eq!((&before["stock"], &before["name"]), (&json!(20), &json!("other")));
        assert_eq!((&after["stock"], &after["version"]), (&json!(1), &json!(3)));
        assert_eq!(
            (&story("rewards.delete").0["stock"], story("rewards.delete").1),
            (&json!(1), Value::Null)
        );
        assert_eq!(story("events.delete").0["version"], 2);
        // His request is still his.
        let mine = client.get_as(&user, "/v1/reward-requests/mine").await.expect(200);
        assert_eq!(mine.body["items"][0]["status"], "GRANTED");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_refused_and_changes_nothing() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let nowhere = uuid::Uuid::new_v4().to_string();
        let over = |mut body: Value, over: Value| {
            over.as_object().unwrap().iter().for_each(|(member, value)| body[member] = value.clone());
            body
        };
        let made = json!({"name": "r", "type": "POINTS", "amount": 1, "stock": 10});
        for wrong in [
            json!({"name": " "}),
            json!({"amount": 0}),
            json!({"amount": null}),
            json!({"amount": 1_000_000_001}),
            json!({"campaignId": nowhere}),
            json!({"type": "ITEM"}),
            json!({"type": "COUPON", "amount": null}),
            json!({"type": "CASH"}),
            json!({"stock": -1}),
            json!({"stock": 1_000_000_001}),
        ] {
            let answer = client.post_as(&operator, "/v1/rewards", over(made.clone(), wrong)).await;
            answer.refused(400, "invalid_request");
        }
        let coupon = json!({"type": "COUPON", "amount": null, "campaignId": nowhere});
        client
            .post_as(&operator, "/v1/rewards", over(made.clone(), coupon))
            .await
            .refused(404, "campaign_not_found");
        let id = client.reward(&operator, 1, json!({})).await;
        for wrong in [
            json!({"endsAt": "2020-01-01T00:00:00Z"}),
            json!({"startsAt": "2019-01-01T00:00:00Z", "endsAt": "2020-01-01T00:00:00Z"}),
            json!({"startsAt": "soon"}),
            json!({"rewardIds": []}),
            json!({"rewardIds": [id, id]}),
            json!({"condition": {"type": "LOGIN_DAYS", "days": 0}}),
            json!({"condition": ["NONE"]}),
            json!({"condition": {"type": "ALL", "of": []}}),
            json!({"approval": "MAYBE"}),
            json!({"recurrence": "HOURLY"}),
            json!({"active": "yes"}),
        ] {
            let answer = client.post_as(&operator, "/v1/events", over(event(&id), wrong)).await;
            answer.refused(400, "invalid_request");
        }
        for (wrong, code) in [
            (json!({"rewardIds": [id, nowhere]}), "reward_not_found"),
            (json!({"condition": {"type": "COUPON_USED", "campaignId": nowhere}}), "campaign_not_found"),
            (
                json!({"condition": {"type": "TICKETS_BOUGHT", "count": 1, "concertId": nowhere}}),
                "concert_not_found",
            ),
        ] {
            client.post_as(&operator, "/v1/events", over(event(&id), wrong)).await.refused(404, code);
        }
        assert_eq!(app.count("select count(*) from events").await, 0);
        assert_eq!(app.count("select count(*) from rewards").await, 1);
        let other = client.reward(&operator, 1, json!({})).await;
        let open = client.event(&operator, &id, json!({})).await;
        let off = client.event(&operator, &id, json!({"active": false})).await;
        let later = client.event(&operator, &id, json!({"startsAt": "2098-01-01T00:00:00Z"})).await;
        client.ask(&user, &nowhere, &id).await.refused(404, "event_not_found");
        client.ask(&user, &open, &other).await.refused(404, "reward_not_found");
        client.ask(&user, &open, &nowhere).await.refused(404, "reward_not_found");
        for event in [&off, &later] {
            client.ask(&user, event, &id).await.refused(409, "event_not_open");
        }
        let listed = client.get_as(&user, "/v1/events/open").await.expect(200).body;
        assert_eq!(
            (listed["items"].as_array().unwrap().len(), &listed["items"][0]["eventId"]),
            (1, &json!(open))
        );
        let request = client.request(Method::POST, "/v1/reward-requests").bearer_auth(&user.token);
        let request = request.json(&json!({"eventId": open, "rewardId": id}));
        client.send(request).await.refused(400, "idempotency_key_missing");
        assert_eq!(app.count("select count(*) from reward_requests").await, 0);
    })
    .await;
}

/// One change, sent twenty times at once to two instances with one key, is one; and all are told the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_and_one_version_is_one_change() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let id = client.reward(&operator, 1, json!({})).await;
        let path = format!("/v1/events/{}", client.event(&operator, &id, json!({})).await);
        let spare = format!("/v1/rewards/{}", client.reward(&operator, 1, json!({})).await);
        let other = json!({"name": "o", "type": "ITEM", "stock": 2});
        let all = async |method: Method, path: &str, body: Value, version: &str| {
            let sends = (0..20).map(|at| {
                let client = app.client_of(at % 2);
                let request = client.request(method.clone(), path).bearer_auth(&operator.token);
                let request = request.header("If-Match", version).header("Idempotency-Key", "one");
                let request = if body.is_null() { request } else { request.json(&body) };
                async move { client.send(request).await }
            });
            let answers = at_once(sends.collect::<Vec<_>>()).await;
            let status = if body.is_null() { 204 } else { 200 };
            assert_eq!(by_status(&answers), BTreeMap::from([(status, 20)]), "{method} {path}");
            assert!(answers.iter().all(|one| one.body == answers[0].body));
        };
        all(Method::PUT, &path, event(&id), "\"1\"").await;
        assert_eq!(client.get_as(&operator, &path).await.expect(200).int_of("version"), 2);
        all(Method::DELETE, &path, Value::Null, "\"2\"").await;
        all(Method::PUT, &spare, other, "\"1\"").await;
        all(Method::DELETE, &spare, Value::Null, "\"2\"").await;
    })
    .await;
}

/// A reward is taken away while an event that gives it out is made: one of the two is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_gives_out_what_is_not_there() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let operator = app.operator().await;
        for _ in 0..20 {
            let (client, other) = (app.client_of(0), app.client_of(1));
            let id = client.reward(&operator, 1, json!({})).await;
            let path = format!("/v1/rewards/{id}");
            let (made, deleted) = tokio::join!(
                client.post_as(&operator, "/v1/events", event(&id)),
                other.delete_version(&operator, &path, "\"1\""),
            );
            match (made.status, deleted.status) {
                (201, 400) | (404, 204) => {}
                both => panic!("{both:?}: {} {}", made.text, deleted.text),
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_go_on_where_they_ended() {
    with_apps(Build::default(), async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let mut made = Vec::new();
        for _ in 0..23 {
            let reward = client.reward(&operator, 1, json!({})).await;
            made.push((client.event(&operator, &reward, json!({})).await, reward));
        }
        made.reverse();
        let all = async |who, path: &str, member: &str| {
            let (mut found, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = client.get_as(who, &format!("{path}?limit=7&cursor={cursor}")).await.expect(200);
                let items = page.body["items"].as_array().unwrap();
                found.extend(items.iter().map(|one| one[member].as_str().unwrap().to_owned()));
                match page.body["nextCursor"].as_str() {
                    Some(next) => cursor = next.to_owned(),
                    None => break found,
                }
            }
        };
        let (events, rewards): (Vec<String>, Vec<String>) = made.into_iter().unzip();
        assert_eq!(all(&operator, "/v1/events", "eventId").await, events);
        assert_eq!(all(&operator, "/v1/rewards", "rewardId").await, rewards);
        assert_eq!(all(&user, "/v1/events/open", "eventId").await, events);
        // Each event there costs some questions: no page has more than twenty.
        let page = client.get_as(&user, "/v1/events/open?limit=100").await.expect(200);
        assert_eq!(page.body["items"].as_array().unwrap().len(), 20);
        assert!(page.body["nextCursor"].is_string());
    })
    .await;
}
