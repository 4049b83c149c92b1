//! What becomes of a coupon: assigned, used, taken back, deleted; one after the other and at once.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Build, Client, TestApp, User, at_once, key, with_app, with_apps};

/// Codes that are nobody's yet.
async fn codes(client: &Client, operator: &User, count: i64) -> Vec<String> {
    let body = json!({"count": count, "expiresAt": "2099-01-01T00:00:00Z"});
    let made = client.post_as(operator, "/v1/coupons", body).await.expect(201);
    made.body["codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}

async fn assign(client: &Client, operator: &User, code: &str, user: &User) -> Answer {
    client.put_as(operator, &format!("/v1/coupons/{code}/assign"), json!({"userId": user.id})).await
}

async fn use_it(client: &Client, user: &User, code: &str) -> Answer {
    client.change_coupon(Method::PUT, user, &format!("{code}/use")).await
}

async fn take_back(client: &Client, user: &User, code: &str) -> Answer {
    client.change_coupon(Method::DELETE, user, &format!("{code}/use")).await
}

fn both(app: &TestApp) -> [Client; 2] {
    [app.client(), app.client_of(1)]
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// What became of each coupon, in order, as Postgres remembers it.
async fn histories(app: &TestApp) -> BTreeMap<String, Vec<i16>> {
    let rows: Vec<(String, i16)> = sqlx::query_as("select code, status from coupon_history order by place")
        .fetch_all(&app.inside(0).pool)
        .await
        .unwrap();
    let mut all: BTreeMap<String, Vec<i16>> = BTreeMap::new();
    rows.into_iter().for_each(|(code, status)| all.entry(code).or_default().push(status));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coupon_goes_from_state_to_state_as_it_may() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let other = app.user(0).await;
        let campaign = client.campaign(&operator, 0, json!({})).await;
        let body = json!({"count": 2, "expiresAt": "2098-01-01T00:00:00Z", "campaignId": campaign});
        let made = client.post_with_key(&operator, "/v1/coupons", body.clone(), "k").await.expect(201);
        assert_eq!(
            (&made.body["campaignId"], made.header("onrush-durability")),
            (&json!(campaign), "postgres")
        );
        let again = client.post_with_key(&operator, "/v1/coupons", body, "k").await.expect(201);
        assert_eq!((again.header("idempotency-replayed"), &again.body), ("true", &made.body));
        let code = made.body["codes"][0].as_str().unwrap().to_owned();
        let expected = json!({
            "code": code, "campaignId": campaign, "status": "CREATED", "userId": null,
            "expiresAt": "2098-01-01T00:00:00.000Z", "assignedAt": null, "usedAt": null,
        });
        let path = format!("/v1/coupons/{code}");
        assert_eq!(client.get_as(&operator, &path).await.expect(200).body, expected);
        client.get_as(&user, &path).await.refused(404, "coupon_not_found");
        use_it(&client, &user, &code).await.refused(404, "coupon_not_found");
        take_back(&client, &operator, &code).await.refused(409, "coupon_state");
        let nobody = User { id: key(), ..user.clone() };
        assign(&client, &operator, &code, &nobody).await.refused(404, "user_not_found");

        let assigned = assign(&client, &operator, &code, &user).await.expect(200);
        assert_eq!(assigned.header("onrush-durability"), "postgres");
        assert_eq!(
            (assigned.text_of("status"), assigned.text_of("userId")),
            ("ASSIGNED".into(), user.id.clone())
        );
        assign(&client, &operator, &code, &user).await.refused(409, "coupon_state");
        use_it(&client, &other, &code).await.refused(404, "coupon_not_found");
        use_it(&client, &operator, &code).await.refused(404, "coupon_not_found");
        take_back(&client, &user, &code).await.refused(409, "coupon_state");
        let used = use_it(&client, &user, &code).await.expect(200);
        assert_eq!(used.text_of("status"), "USED");
        assert!(used.body["usedAt"].is_string());
        assert_eq!(client.get_as(&user, &path).await.expect(200).body, used.body);
        let counted = client.get(&format!("/v1/coupon-campaigns/{campaign}")).await.expect(200);
        assert_eq!((counted.int_of("used"), counted.int_of("claimed")), (1, 0));
        use_it(&client, &user, &code).await.refused(409, "coupon_state");
        client.delete_as(&operator, &path).await.refused(409, "coupon_state");
        take_back(&client, &other, &code).await.refused(404, "coupon_not_found");
        let back = take_back(&client, &operator, &code).await.expect(200);
        assert_eq!((back.text_of("status"), &back.body["usedAt"]), ("ASSIGNED".into(), &Value::Null));
        client.delete_as(&operator, &path).await.expect(204);
        client.delete_as(&operator, &path).await.refused(409, "coupon_state");
        use_it(&client, &user, &code).await.refused(409, "coupon_state");
        assert_eq!(client.get_as(&user, &path).await.expect(200).text_of("status"), "DELETED");
        assert_eq!(histories(&app).await.into_values().collect::<Vec<_>>(), [[1, 2, 1, 3]]);
        // Acts by role stand in the audit log.
        let acts = "select count(*) from audit_log where action like 'coupons.%'";
        assert_eq!(app.count(acts).await, 4, "made, assigned, taken back, deleted");
        assert_eq!(app.count("select sum(used)::bigint from coupon_uses").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_coupon_is_told_so_before_its_state() {
    let (build, clock) = Build::default().with_test_clock(1_800_000_000_000);
    with_apps(build, async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let expires = onrush::clock::rfc3339(onrush::clock::from_millis(1_800_000_030_000));
        let body = json!({"count": 2, "expiresAt": expires});
        let made = client.post_as(&operator, "/v1/coupons", body.clone()).await.expect(201);
        let code = |at: usize| made.body["codes"][at].as_str().unwrap().to_owned();
        assign(&client, &operator, &code(0), &user).await.expect(200);
        app.pass_time(&clock, 29_999, 29_999).await;
        use_it(&client, &user, &code(0)).await.expect(200);
        app.pass_time(&clock, 1, 1).await;
        take_back(&client, &user, &code(0)).await.refused(410, "coupon_expired");
        use_it(&client, &user, &code(0)).await.refused(410, "coupon_expired");
        assign(&client, &operator, &code(1), &user).await.refused(410, "coupon_expired");
        client.delete_as(&operator, &format!("/v1/coupons/{}", code(1))).await.refused(410, "coupon_expired");
        let other = app.user(0).await;
        use_it(&client, &other, &code(0)).await.refused(404, "coupon_not_found");
        client.post_as(&operator, "/v1/coupons", body).await.refused(400, "invalid_request");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_assign_and_use_it_once() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (operator, users) = (app.operator().await, app.users(100, 0).await);
        let code = codes(&app.client(), &operator, 1).await.remove(0);
        let jobs = users.iter().cloned().enumerate().map(|(at, user)| {
            let (client, operator, code) = (both(&app)[at % 2].clone(), operator.clone(), code.clone());
            async move { assign(&client, &operator, &code, &user).await }
        });
        let answers = at_once(jobs.collect::<Vec<_>>()).await;
        assert_eq!((count(&answers, 200), count(&answers, 409)), (1, 99));
        let owner = users.iter().zip(&answers).find(|(_, answer)| answer.status == 200).unwrap().0.clone();
        let jobs = (0..100).map(|at| {
            let (client, owner, code) = (both(&app)[at % 2].clone(), owner.clone(), code.clone());
            async move { use_it(&client, &owner, &code).await }
        });
        let answers = at_once(jobs.collect::<Vec<_>>()).await;
        assert_eq!((count(&answers, 200), count(&answers, 409)), (1, 99));
        assert_eq!(histories(&app).await.into_values().collect::<Vec<_>>(), [[1, 2]]);
        assert_eq!(app.count("select sum(used)::bigint from coupon_uses").await, 1);
    })
    .await;
}

/// Uses and their taking back, at once: as many of one as of the other, by turns, and one more at the most.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_uses_and_their_taking_back_leaves_a_legal_history() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (operator, user) = (app.operator().await, app.user(0).await);
        let codes = codes(&app.client(), &operator, 5).await;
        for code in &codes {
            assign(&app.client(), &operator, code, &user).await.expect(200);
        }
        let jobs = (0..1_000_usize).map(|at| {
            let (client, user, code) = (both(&app)[at % 2].clone(), user.clone(), codes[at % 5].clone());
            async move {
                let back = at / 10 % 2 == 1;
                let answer = if back {
                    take_back(&client, &user, &code).await
                } else {
                    use_it(&client, &user, &code).await
                };
                (back, answer)
            }
        });
        let (mut used, mut back) = (0, 0);
        for (was_back, answer) in at_once(jobs.collect::<Vec<_>>()).await {
            match answer.status {
                200 if was_back => back += 1,
                200 => used += 1,
                _ => drop(answer.refused(409, "coupon_state")),
            }
        }
        let mut still = 0;
        for (code, history) in histories(&app).await {
            let expected: Vec<i16> = (0..history.len()).map(|at| if at % 2 == 0 { 1 } else { 2 }).collect();
            assert_eq!(history, expected, "{code}");
            still += i64::from(history.last() == Some(&2));
        }
        assert_eq!(used - back, still);
        assert!(back > 5, "{back} were taken back: no storm");
        assert_eq!(app.count("select sum(used)::bigint from coupon_uses").await, still);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_key_a_repeat_is_told_the_same() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (operator, user) = (app.operator().await, app.user(0).await);
        let code = codes(&app.client(), &operator, 1).await.remove(0);
        assign(&app.client(), &operator, &code, &user).await.expect(200);
        let keyed = async |client: &Client, method: Method, key: &str| {
            let request = client.request(method, &format!("/v1/coupons/{code}/use"));
            client.send(request.bearer_auth(&user.token).header("Idempotency-Key", key)).await
        };
        let clients = both(&app);
        let jobs = (0..40).map(|at| {
            let (client, user, code) = (clients[at % 2].clone(), user.clone(), code.clone());
            async move {
                let request = client.request(Method::PUT, &format!("/v1/coupons/{code}/use"));
                client.send(request.bearer_auth(&user.token).header("Idempotency-Key", "k")).await
            }
        });
        let answers = at_once(jobs.collect::<Vec<_>>()).await;
        assert_eq!(count(&answers, 200), 40);
        let replayed = answers.iter().filter(|answer| answer.header("idempotency-replayed") == "true");
        assert_eq!(replayed.count(), 39);
        let first = &answers[0].body;
        assert!(answers.iter().all(|answer| answer.body == *first));
        keyed(&clients[0], Method::DELETE, "back").await.expect(200);
        // The first answer is told again, though it stands otherwise now.
        let again = keyed(&clients[1], Method::PUT, "k").await.expect(200);
        assert_eq!((&again.body, again.header("idempotency-replayed")), (first, "true"));
        let request = clients[0].request(Method::PUT, &format!("/v1/coupons/{code}/assign"));
        let other = request.bearer_auth(&operator.token).header("Idempotency-Key", "a");
        clients[0].send(other.json(&json!({"userId": user.id}))).await.refused(409, "coupon_state");
        assert_eq!(histories(&app).await.into_values().collect::<Vec<_>>(), [[1, 2, 1]]);
    })
    .await;
}
