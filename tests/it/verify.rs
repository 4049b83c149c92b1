//! `verify` where a key has more items than it reads at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::harness::{Client, TestApp, User, at_once, with_app};

/// More than a moment tells whole.
const MANY: usize = 4_500;

/// A queue in which they wait, with their tickets.
async fn crowd(app: &TestApp, users: &[User]) -> (String, Vec<String>) {
    let (client, operator) = (app.client(), app.operator().await);
    let queue = client.queue(&operator, json!({"maxActive": 0})).await;
    let join = |users: Vec<User>, client: Client, queue: String| async move {
        let mut tickets = Vec::new();
        for user in users {
            tickets.push(client.join(&user, &queue).await.expect(201).text_of("token"));
        }
        tickets
    };
    let parts = users.chunks(users.len().div_ceil(32));
    let joined = at_once(parts.map(|part| join(part.to_vec(), client.clone(), queue.clone()))).await;
    (queue, joined.concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_in_a_large_key_is_told_to_the_member() {
    with_app(async |app| {
        let users = app.users(MANY, 0).await;
        let (queue, _) = crowd(&app, &users).await;
        app.settled().await;
        let (waiting, ghost) = (app.key(&queue, "waiting"), "018f0000-0000-7000-8000-000000000000");
        let [moved, lost] = [&users[7], &users[MANY - 7]].map(|user| user.id.to_string());
        let number = app.redis_int(&["ZRANK", &waiting, &lost]).await + 1;
        app.redis(&["ZINCRBY", &waiting, "0.5", &moved]).await;
        app.redis(&["ZREM", &waiting, &lost]).await;
        app.redis(&["ZADD", &waiting, "99999", ghost]).await;
        let room = app.key(&queue, "room");
        app.redis(&["HINCRBY", &room, "active_ms", "1"]).await;
        let mut said = app.inside(0).verify().await;
        let order = [ghost, &lost, &moved, "room active_ms"];
        said.sort_by_key(|sentence| order.iter().position(|text| sentence.contains(*text)));
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(said[0].ends_with("Redis has \"99999\", Postgres says nothing"), "{said:?}");
        assert!(said[1].ends_with(&format!("Redis has nothing, Postgres says \"{number}\"")), "{said:?}");
        assert!(said[2].contains(".5\", Postgres says"), "{said:?}");
        assert!(said[3].contains("room active_ms: Redis has"), "{said:?}");
        app.redis(&["HINCRBY", &room, "active_ms", "-1"]).await;
        app.redis(&["ZINCRBY", &waiting, "-0.5", &moved]).await;
        app.redis(&["ZADD", &waiting, &number.to_string(), &lost]).await;
        app.redis(&["ZREM", &waiting, ghost]).await;
        // A key that is lost has as many differences as it had members; not all are told.
        let away = format!("{waiting}:away");
        app.redis(&["RENAME", &waiting, &away]).await;
        let said = app.inside(0).verify().await;
        app.redis(&["RENAME", &away, &waiting]).await;
        assert!((1_001..MANY).contains(&said.len()), "{} sentences", said.len());
        let told = said.len() - 1;
        assert!(said[told].ends_with(&format!(": {} more fields differ, as far as was seen", MANY - told)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_while_pages_are_read_is_no_difference() {
    with_app(async |app| {
        let users = app.users(MANY + 1_000, 0).await;
        let (early, late) = users.split_at(MANY);
        let (queue, tickets) = crowd(&app, early).await;
        let client = app.client();
        let done = Arc::new(AtomicBool::new(false));
        let life = {
            let (client, queue, late, done) = (client.clone(), queue.clone(), late.to_vec(), done.clone());
            tokio::spawn(async move {
                let mut changes = 0;
                for (user, ticket) in late.iter().zip(tickets) {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    client.join(user, &queue).await.expect(201);
                    client.leave(&queue, &ticket).await.expect(204);
                    changes += 2;
                }
                changes
            })
        };
        for _ in 0..5 {
            assert_eq!(app.inside(0).verify().await, Vec::<String>::new());
        }
        done.store(true, Ordering::Relaxed);
        assert!(life.await.unwrap() > 20, "nothing has changed meanwhile");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_rebuilt_meanwhile_is_waited_for() {
    with_app(async |app| {
        let users = app.users(MANY, 0).await;
        crowd(&app, &users).await;
        app.settled().await;
        for epoch in 2..5 {
            let (said, ()) = tokio::join!(app.inside(0).verify(), app.lose_redis());
            assert_eq!(said, Vec::<String>::new());
            app.rebuilt(epoch).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_found_is_told_where_a_shard_cannot_be_compared() {
    with_app(async |app| {
        let users = app.users(8, 1_000).await;
        let shards = app.inside(0).journal.shards.clone();
        let of = |user: &User| shards.of(user.id.parse().unwrap());
        let user = users.iter().find(|user| of(user).0 != 1).expect("eight users, four shards");
        app.settled().await;
        let balances = format!("{}:{{{}}}:1:wallet:balances", app.config.prefix, of(user));
        app.redis(&["HINCRBY", &balances, &user.id, "1"]).await;
        app.sql("update journal_cursor set state = 'fenced' where shard = 1").await;
        let mut said = app.inside(0).verify().await;
        app.sql("update journal_cursor set state = 'live' where shard = 1").await;
        app.redis(&["HINCRBY", &balances, &user.id, "-1"]).await;
        said.sort_by_key(|sentence| sentence.starts_with("shard "));
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].ends_with(": Redis has \"1001\", Postgres says \"1000\""), "{said:?}");
        assert!(said[1].starts_with("shard s01 could not be compared to the end: "), "{said:?}");
    })
    .await;
}
