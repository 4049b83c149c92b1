//! When Postgres is late: new durable writes are refused before they write, joins later, polls never; and a
//! write whose outcome is not known is told so, and its key tells later what became of it.

use serde_json::json;

use crate::harness::{Build, eventually, key, with_app, with_apps};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_postgres_has_not_confirmed_is_unknown_until_its_key_tells() {
    let build = Build { ack_timeout_ms: 500, ..Build::default() };
    with_apps(build, async |app| {
        let (client, user, key) = (app.client(), app.user(0).await, key());
        let lock = app.hold_up_postgres().await;
        let first = client.charge(&user, 5, &key).await.refused_later(504, "outcome_unknown");
        assert!(!first.header("retry-after").is_empty());
        client.charge(&user, 5, &key).await.refused_later(409, "idempotency_in_progress");
        drop(lock);
        eventually("the key tells", || async { client.charge(&user, 5, &key).await.status == 201 }).await;
        assert_eq!(client.balance(&user).await, 5);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_behind_refuses_before_it_writes() {
    let build = Build { ack_timeout_ms: 500, shards: 1, ..Build::default() };
    with_apps(build, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(1_000, 100).await);
        let concert = client.concert(&operator, 5, 100, json!({})).await;
        let inside = client.enter(&users[0], &concert).await;
        let closed = client.queue(&operator, json!({"maxActive": 0})).await;
        let waiting = client.join(&users[0], &closed).await.text_of("token");
        let lock = app.hold_up_postgres().await;
        let stuck = client.charge(&users[0], 5, &key()).await.refused_later(504, "outcome_unknown");
        assert_eq!(stuck.status, 504);
        let entries = async || app.redis_int(&["XLEN", &app.journal_key(0)]).await;
        eventually("the shard is behind", || async {
            client.charge(&users[1], 5, &key()).await.code() == "busy"
        })
        .await;
        let before = entries().await;
        for _ in 0..5 {
            client.charge(&users[1], 5, &key()).await.refused(503, "busy");
            client.reserve(&users[0], &inside, &concert, &[1]).await.refused(503, "busy");
        }
        assert_eq!(entries().await, before, "what is refused as busy writes nothing");
        // Joins hold out longer, polls for ever; nobody is let in meanwhile.
        let newcomer = client.join(&users[1], &concert).await;
        if newcomer.status == 201 {
            assert_eq!(client.poll(&concert, &newcomer.text_of("token")).await.body["status"], "WAITING");
        }
        let mut others = users[2..].iter();
        eventually("joins are refused", || {
            let joined = client.join(others.next().expect("enough users to wait with"), &closed);
            async { joined.await.code() == "busy" }
        })
        .await;
        client.poll(&closed, &waiting).await.expect(200);
        client.join(&users[0], &closed).await.expect(200);
        drop(lock);
        eventually("writes go on", || async { client.charge(&users[1], 5, &key()).await.status == 201 })
            .await;
        client.reserve(&users[0], &inside, &concert, &[1]).await.expect(201);
        assert_eq!(client.balance(&users[0]).await, 105, "what was stuck was not lost");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_write_is_durable_at_once() {
    with_app(async |app| {
        let (client, user) = (app.client(), app.user(0).await);
        for amount in 1..=20 {
            client.charge(&user, amount, &key()).await.expect(201);
            // A reader of Postgres sees it: the answer came after the commit.
            assert_eq!(app.count("select max(amount) from ledger").await, amount);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_postgres_refuses_is_kept_apart_and_its_shard_goes_on() {
    let build = Build { ack_timeout_ms: 1_500, shards: 1, ..Build::default() };
    let app = crate::harness::TestApp::start(build).await;
    let (client, users) = (app.client(), app.users(3, 100).await);
    // A constraint that only one user's rows break.
    let wall = format!(
        "alter table ledger add constraint wall check (user_id <> '{}' or amount <> 66)",
        users[1].id
    );
    sqlx::query(sqlx::AssertSqlSafe(wall)).execute(&app.inside(0).pool).await.unwrap();
    let charges = (0..40).map(|at| {
        let (client, user) = (client.clone(), users[at % 3].clone());
        async move { (at, client.charge(&user, if at == 19 { 66 } else { 1 }, &key()).await) }
    });
    let answers = crate::harness::at_once(charges).await;
    let refused = answers.iter().find(|(at, _)| *at == 19).unwrap();
    assert_ne!(refused.1.status, 201, "nobody is told yes about an entry that Postgres refused");
    let told = answers.iter().filter(|(_, answer)| answer.status == 201).count() as i64;
    eventually("the shard lives again", || async { client.charge(&users[0], 1, &key()).await.status == 201 })
        .await;
    assert_eq!(app.count("select count(*) from quarantine").await, 1);
    assert!(app.count("select epoch from journal_cursor").await > 1, "its shard was rebuilt without it");
    let kept = app.count("select count(*) from ledger where amount = 1").await;
    assert!(kept > told, "what was told is there: {told} told, {kept} kept");
    assert!(app.inside(0).verify().await.is_empty());
}
