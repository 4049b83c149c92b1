//! One key, one effect: however often it is sent, on whichever instance, and whatever else it is sent for.

use serde_json::json;

use crate::harness::{Build, at_once, key, with_app, with_apps};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_sent_fifty_times_at_once_has_one_effect() {
    let build = Build { instances: 2, ..Build::default() };
    with_apps(build, async |app| {
        let (user, key) = (app.user(0).await, key());
        let charges = (0..50).map(|at| {
            let (client, user, key) = (app.client_of(at % 2), user.clone(), key.clone());
            async move { client.charge(&user, 100, &key).await }
        });
        let answers = at_once(charges).await;
        let told: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
        let running = answers.iter().filter(|answer| answer.code() == "idempotency_in_progress").count();
        assert_eq!(told.len() + running, 50, "{answers:?}");
        assert!(told.len() >= 2);
        assert!(told.iter().all(|answer| answer.body == told[0].body), "equal answers");
        let first = told.iter().filter(|answer| answer.header("idempotency-replayed").is_empty()).count();
        assert!(first <= 1, "{first} claim to be the first");
        assert_eq!(app.client().balance(&user).await, 100);
        assert_eq!(app.count("select count(*) from ledger").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_bound_to_its_body_and_its_target() {
    with_app(async |app| {
        let (client, user, key) = (app.client(), app.user(0).await, key());
        let (admin, other) = (app.account(onrush::Role::Admin).await, app.user(0).await);
        client.charge(&user, 100, &key).await.expect(201);
        client.charge(&user, 101, &key).await.refused(422, "idempotency_key_reused");
        // Unknown members and white space are not the body.
        let path = format!("/v1/users/{}/points/charge", user.id);
        let again =
            client.post_with_key(&user, &path, json!({"note": "x", "amount": 100}), &key).await.expect(201);
        assert_eq!(again.header("idempotency-replayed"), "true");
        // Another user's key is another key.
        client.charge(&other, 5, &key).await.expect(201);
        // The same user's key for another target is refused.
        let at = |id: &str| format!("/v1/users/{id}/points/charge");
        client.post_with_key(&admin, &at(&user.id), json!({"amount": 1}), &key).await.expect(201);
        let elsewhere = client.post_with_key(&admin, &at(&other.id), json!({"amount": 1}), &key).await;
        elsewhere.refused(422, "idempotency_key_reused");
        assert_eq!((client.balance(&user).await, client.balance(&other).await), (101, 5));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_on_two_targets_at_once_is_two_operations_or_refused_and_fences_nothing() {
    with_app(async |app| {
        let (client, admin) = (app.client(), app.account(onrush::Role::Admin).await);
        let users = app.users(20, 0).await;
        for _ in 0..5 {
            let key = key();
            let charges = users.iter().map(|user| {
                let (client, admin, key) = (client.clone(), admin.clone(), key.clone());
                let path = format!("/v1/users/{}/points/charge", user.id);
                async move { client.post_with_key(&admin, &path, json!({"amount": 1}), &key).await }
            });
            for answer in at_once(charges).await {
                let known = answer.status == 201 || answer.code() == "idempotency_key_reused";
                assert!(known, "{}", answer.text);
            }
        }
        assert_eq!(
            app.count("select count(*) from journal_cursor where state <> 'live' or epoch <> 1").await,
            0
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_missing_or_malformed_is_refused() {
    with_app(async |app| {
        let (client, user) = (app.client(), app.user(0).await);
        let path = format!("/v1/users/{}/points/charge", user.id);
        let bare = || {
            client.request(reqwest::Method::POST, &path).bearer_auth(&user.token).json(&json!({"amount": 1}))
        };
        client.send(bare()).await.refused(400, "idempotency_key_missing");
        for wrong in ["", "a b", &"k".repeat(256), "\"\""] {
            let answer = client.send(bare().header("Idempotency-Key", wrong)).await;
            answer.refused(400, "invalid_request");
        }
        let twice = bare().header("Idempotency-Key", "a").header("Idempotency-Key", "b");
        client.send(twice).await.refused(400, "invalid_request");
        // A malformed body is told before the missing key.
        let nothing = client.request(reqwest::Method::POST, &path).bearer_auth(&user.token).json(&json!({}));
        let answer = client.send(nothing).await.refused(400, "invalid_request");
        assert_eq!(answer.body["errors"][0], json!({"field": "amount", "message": "is missing"}));
        for good in ["a", &"k".repeat(255), "\"quoted\""] {
            client.send(bare().header("Idempotency-Key", good)).await.expect(201);
        }
        let quoted = client.send(bare().header("Idempotency-Key", "quoted")).await.expect(201);
        assert_eq!(quoted.header("idempotency-replayed"), "true", "bare and quoted are one key");
        assert_eq!(client.balance(&user).await, 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_takes_a_key() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let twice = async |path: &str, body: serde_json::Value| {
            let key = key();
            let first = client.post_with_key(&operator, path, body.clone(), &key).await.expect(201);
            let second = client.post_with_key(&operator, path, body, &key).await.expect(201);
            assert_eq!(second.header("idempotency-replayed"), "true", "{path}");
            assert_eq!(first.body, second.body);
            first
        };
        let queue = json!({"admitPerSecond": 1, "maxActive": 1, "activeSeconds": 1});
        let mut named = queue.clone();
        named["name"] = json!("q");
        let made = twice("/v1/queues", named).await;
        let concert = twice("/v1/concerts", json!({"title": "c", "queue": queue})).await.text_of("concertId");
        let show = json!({"date": crate::harness::day(1), "price": 1});
        twice(&format!("/v1/concerts/{concert}/shows"), show).await;
        let path = format!("/v1/queues/{}", made.text_of("queueId"));
        let change = |state: &str| {
            let request = client.request(reqwest::Method::PUT, &path).bearer_auth(&operator.token);
            client.send(request.header("Idempotency-Key", "change").json(&json!({"state": state})))
        };
        change("PAUSED").await.expect(200);
        client.put_as(&operator, &path, json!({"state": "OPEN"})).await.expect(200);
        assert_eq!(change("PAUSED").await.expect(200).header("idempotency-replayed"), "true");
        assert_eq!(client.get(&path).await.body["state"], "OPEN", "a repeat changes nothing");
        change("CLOSED").await.refused(422, "idempotency_key_reused");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_long_forgotten_makes_nothing_twice() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let queue = json!({"name": "q", "admitPerSecond": 5, "maxActive": 5, "activeSeconds": 60});
        let concert = json!({"title": "c", "queue": queue});
        for (path, body) in [("/v1/queues", queue.clone()), ("/v1/concerts", concert)] {
            let made = client.post_with_key(&operator, path, body.clone(), "same").await.expect(201);
            assert_eq!(made.header("idempotency-replayed"), "");
            // After seven days, and a loss of Redis' records.
            app.settled().await;
            app.sql("delete from operations").await;
            let script = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end \
                          return 0";
            app.redis_everywhere(script, &format!("{}:*:ops", app.config.prefix)).await;
            let again = client.post_with_key(&operator, path, body, "same").await;
            again.refused(422, "idempotency_key_reused");
        }
        let shards = "select count(*) from journal_cursor where epoch = 1 and state = 'live'";
        assert_eq!(app.count(shards).await, 4, "no shard was fenced for it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_up_reads_what_it_looks_for_also_when_it_was_planned_for_nothing() {
    with_app(async |app| {
        let (client, users) = (app.client(), app.users(60, 0).await);
        // No row was there when statistics were taken, and 20 000 are when the look-up is planned.
        app.sql("truncate operations").await;
        app.sql("vacuum analyze operations").await;
        app.sql("vacuum analyze journal_entries").await;
        app.sql(
            "insert into operations (op, step, shard, epoch, seq, at, scope)
             select gen_random_uuid(), 1, 0, 1, n, now(), n from generate_series(1, 20000) n",
        )
        .await;
        let (read, found) = (
            "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) from pg_stat_user_tables
             where relid = 'operations'::regclass",
            "select idx_scan from pg_stat_user_indexes where indexrelid = 'operations_by_scope'::regclass",
        );
        // A session tells what it has read once a second, after its next statement; and who wrote before is
        // not looked up again.
        for user in &users {
            client.charge(user, 1, &key()).await.expect(201);
            if app.count(read).await >= 20_000 || app.count(found).await > 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        }
        let (read, found) = (app.count(read).await, app.count(found).await);
        assert!(read < 10_000 && found > 0, "{read} operations were read, {found} times by their key");
        app.sql("delete from operations where scope <= 20000").await;
    })
    .await;
}
