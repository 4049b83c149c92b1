//! The audit log: what it holds, what it does not, and that nobody can change it.

use onrush::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Build, Client, User, at_once, eventually, key, with_app, with_apps};

async fn audit(client: &Client, auditor: &User) -> Vec<Value> {
    client.get_as(auditor, "/v1/audit?limit=100").await.expect(200).body["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_act_is_told_with_who_what_before_and_after() {
    with_app(async |app| {
        let (client, auditor) = (app.client(), app.account(Role::Auditor).await);
        let (operator, admin, user) =
            (app.operator().await, app.account(Role::Admin).await, app.user(10).await);
        let queue = client.queue(&operator, json!({})).await;
        let put = client.request(Method::PUT, &format!("/v1/queues/{queue}")).bearer_auth(&operator.token);
        let put = put.header("X-Request-Id", "change-7").json(&json!({"state": "PAUSED", "maxActive": 5}));
        client.send(put).await.expect(200);
        let concert = client.concert(&operator, 5, 1, json!({})).await;
        let charge = format!("/v1/users/{}/points/charge", user.id);
        client.post_as(&admin, &charge, json!({"amount": 7})).await.expect(201);
        let ticket = client.enter(&user, &concert).await;
        let held = client.reserve(&user, &ticket, &concert, &[1]).await.expect(201).text_of("reservationId");
        client.delete_as(&admin, &format!("/v1/reservations/{held}")).await.expect(204);
        let role = format!("/v1/users/{}/role", user.id);
        client.put_as(&admin, &role, json!({"role": "OPERATOR"})).await.expect(200);
        client.put_as(&admin, "/health", json!({"inRotation": false})).await.expect(200);
        client.put_as(&admin, "/health", json!({"inRotation": true})).await.expect(200);

        let log = audit(&client, &auditor).await;
        let told: Vec<(&str, &str)> = log
            .iter()
            .rev()
            .map(|one| (one["action"].as_str().unwrap(), one["role"].as_str().unwrap()))
            .collect();
        let expected = [
            ("queues.create", "OPERATOR"),
            ("queues.change", "OPERATOR"),
            ("concerts.create", "OPERATOR"),
            ("shows.create", "OPERATOR"),
            ("points.charge", "ADMIN"),
            ("reservations.cancel", "ADMIN"),
            ("users.role", "ADMIN"),
            ("health.set", "ADMIN"),
            ("health.set", "ADMIN"),
        ];
        assert_eq!(told, expected);
        let find = |action: &str| log.iter().find(|one| one["action"] == action).unwrap();
        let change = find("queues.change");
        assert_eq!(change["actor"], operator.id);
        assert_eq!(change["target"], format!("queues/{queue}"));
        assert_eq!(change["requestId"], "change-7");
        assert_eq!(
            (&change["before"]["state"], &change["after"]["state"]),
            (&json!("OPEN"), &json!("PAUSED"))
        );
        assert_eq!(
            (&change["before"]["maxActive"], &change["after"]["maxActive"]),
            (&json!(1000), &json!(5))
        );
        assert_eq!(find("concerts.create")["before"], Value::Null);
        assert_eq!(find("concerts.create")["after"]["title"], "c");
        assert_eq!(find("points.charge")["before"], json!({"balance": 10}));
        assert_eq!(find("points.charge")["after"], json!({"balance": 17}));
        assert_eq!(find("reservations.cancel")["after"], json!({"status": "CANCELLED"}));
        assert_eq!(find("users.role")["before"], json!({"role": "USER"}));
        assert_eq!(find("users.role")["target"], format!("users/{}/role", user.id));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_sent_again_or_ones_own_is_no_act() {
    with_app(async |app| {
        let (client, admin, operator) = (app.client(), app.account(Role::Admin).await, app.operator().await);
        // One's own points, one's own hold.
        client.charge(&admin, 5, &key()).await.expect(201);
        let concert = client.concert(&operator, 5, 1, json!({})).await;
        let before = audit(&client, &admin).await.len();
        let ticket = client.enter(&admin, &concert).await;
        let held = client.reserve(&admin, &ticket, &concert, &[1]).await.expect(201).text_of("reservationId");
        client.delete_as(&admin, &format!("/v1/reservations/{held}")).await.expect(204);
        // Refused.
        client
            .put_as(&operator, &format!("/v1/queues/{}", uuid::Uuid::new_v4()), json!({}))
            .await
            .expect(404);
        client.post_as(&operator, "/v1/queues", json!({"name": ""})).await.expect(400);
        assert_eq!(audit(&client, &admin).await.len(), before);
        // Sent again.
        let body = json!({"name": "q", "admitPerSecond": 1, "maxActive": 1, "activeSeconds": 1});
        for _ in 0..3 {
            client.post_with_key(&operator, "/v1/queues", body.clone(), "same").await.expect(201);
        }
        let role = json!({"role": "AUDITOR"});
        for _ in 0..3 {
            let path = format!("/v1/users/{}/role", operator.id);
            let put = client.request(Method::PUT, &path).bearer_auth(&admin.token).json(&role);
            client.send(put.header("Idempotency-Key", "same")).await.expect(200);
        }
        assert_eq!(audit(&client, &admin).await.len(), before + 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_go_back_to_the_first_act_and_nobody_can_change_one() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let auditor = app.account(Role::Auditor).await;
        for _ in 0..5 {
            client.queue(&operator, json!({})).await;
        }
        let (mut path, mut seen) = ("/v1/audit?limit=2".to_owned(), Vec::new());
        loop {
            let page = client.get_as(&auditor, &path).await.expect(200);
            seen.extend(page.body["items"].as_array().unwrap().clone());
            let Some(cursor) = page.body["nextCursor"].as_str() else { break };
            path = format!("/v1/audit?limit=2&cursor={cursor}");
        }
        assert_eq!(seen, audit(&client, &auditor).await);
        assert_eq!(seen.len(), 5);
        for statement in ["update audit_log set role = 'USER'", "delete from audit_log", "truncate audit_log"]
        {
            let refused = sqlx::query(statement).execute(&app.inside(0).pool).await.unwrap_err();
            assert!(refused.to_string().contains("append-only"), "{refused}");
        }
    })
    .await;
}

/// The act is told as soon as it is acknowledged, whichever instance wrote it, and after a loss of Redis.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_act_is_in_the_log_whatever_happens_then() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (operator, auditor) = (app.operator().await, app.account(Role::Auditor).await);
        for at in [0, 1] {
            let (client, other) = (app.client_of(at), app.client_of(1 - at));
            let queue = client.queue(&operator, json!({})).await;
            app.lose_redis().await;
            let log = audit(&other, &auditor).await;
            assert_eq!(log[0]["target"], format!("queues/{queue}"));
            let rebuilt = [
                "select count(*) from journal_cursor where state = 'live' and epoch > 1",
                "select count(*) from journal_cursor where state = 'live' and epoch > 2",
            ];
            eventually("every shard was rebuilt", || async { app.count(rebuilt[at]).await == 4 }).await;
            app.ready().await;
            eventually("the queue is back", || async {
                other.get(&format!("/v1/queues/{queue}")).await.status == 200
            })
            .await;
        }
    })
    .await;
}

/// Operations are remembered for a week, the audit log for ever: a key that comes again later is another act.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_used_again_when_it_is_forgotten_is_another_act() {
    with_app(async |app| {
        let (client, admin, user) = (app.client(), app.account(Role::Admin).await, app.user(0).await);
        let path = format!("/v1/users/{}/points/charge", user.id);
        for count in 1..=2 {
            client.post_with_key(&admin, &path, json!({"amount": 1}), "weekly").await.expect(201);
            assert_eq!(audit(&client, &admin).await.len(), count);
            app.settled().await;
            app.sql("delete from operations").await;
            for shard in 0..4 {
                app.redis(&["DEL", &app.journal_key(shard).replace(":journal", ":ops")]).await;
            }
        }
    })
    .await;
}

/// The same request to two instances at once: each may find the other's record when it is about to write its
/// own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_sent_to_two_instances_at_once_is_one_act() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (admin, user) = (app.account(Role::Admin).await, app.user(0).await);
        let puts = (0..20).map(|at| {
            let (client, admin) = (app.client_of(at % 2), admin.clone());
            let path = format!("/v1/users/{}/role", user.id);
            async move {
                let put = client.request(Method::PUT, &path).bearer_auth(&admin.token);
                let put = put.header("Idempotency-Key", "once").json(&json!({"role": "AUDITOR"}));
                client.send(put).await.expect(200).header("idempotency-replayed").to_owned()
            }
        });
        let replayed = at_once(puts).await;
        assert_eq!(replayed.iter().filter(|header| header.is_empty()).count(), 1, "{replayed:?}");
        assert_eq!(audit(&app.client(), &admin).await.len(), 1);
    })
    .await;
}
