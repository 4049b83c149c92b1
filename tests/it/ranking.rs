//! What is ordered most, as time goes by and after losses.

use std::collections::BTreeMap;

use onrush::sabotage::Sabotage;
use serde_json::{Value, json};

use crate::harness::{Build, Client, TestApp, User, eventually, key, with_app, with_apps};

const HOUR_MS: i64 = 3_600_000;
/// A Thursday, half past an hour.
const START_MS: i64 = 1_800_000_000_000 - 1_800_000_000_000 % HOUR_MS + HOUR_MS / 2;

/// Waits until the ranking's items are these: (name, orders, quantity).
async fn told(client: &Client, expected: &[(&str, i64, i64)]) -> Value {
    let expected: Vec<Value> = expected
        .iter()
        .enumerate()
        .map(|(at, (name, orders, quantity))| json!([at + 1, name, orders, quantity]))
        .collect();
    let mut last = Value::Null;
    for _ in 0..300 {
        last = client.get("/v1/menus/popular").await.expect(200).body;
        let items = last["items"].as_array().unwrap().iter();
        let items: Vec<Value> = items
            .map(|item| json!([item["rank"], item["name"], item["orderCount"], item["quantity"]]))
            .collect();
        if items == expected {
            return last;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("told {last}\nnot {expected:?}");
}

async fn order(client: &Client, user: &User, lines: &[(&str, u32)]) {
    let lines: Vec<Value> =
        lines.iter().map(|(menu, quantity)| json!({"menuId": menu, "quantity": quantity})).collect();
    client.post_as(user, "/v1/orders", json!({"items": lines})).await.expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_count_then_quantity_then_name_and_only_what_is_on_the_menu() {
    with_app(async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(5, 1_000).await);
        told(&client, &[]).await;
        let mut menus = BTreeMap::new();
        for name in ["a", "b", "c", "d", "e"] {
            menus.insert(name, client.menu(&operator, name, 1).await);
        }
        // Users of several shards: the third of all is not the third of any shard.
        for user in &users {
            order(&client, user, &[(&menus["c"], 1), (&menus["b"], 1), (&menus["b"], 1)]).await;
        }
        order(&client, &users[0], &[(&menus["d"], 9)]).await;
        order(&client, &users[1], &[(&menus["a"], 9)]).await;
        order(&client, &users[2], &[(&menus["e"], 8)]).await;
        let popular = told(&client, &[("b", 5, 10), ("c", 5, 5), ("a", 1, 9)]).await;
        assert_eq!(popular["items"][0]["menuId"], json!(menus["b"]));
        assert_eq!(popular["items"][0]["price"], 1);
        let from = chrono::DateTime::parse_from_rfc3339(popular["from"].as_str().unwrap()).unwrap();
        let as_of = chrono::DateTime::parse_from_rfc3339(popular["asOf"].as_str().unwrap()).unwrap();
        assert_eq!(from.timestamp_millis() % HOUR_MS, 0);
        let age_ms = (as_of - from).num_milliseconds();
        assert!((7 * 24 * HOUR_MS..7 * 24 * HOUR_MS + HOUR_MS).contains(&age_ms), "{popular}");
        // A menu's name and price are today's; what is off the menu is not told.
        let path = format!("/v1/menus/{}", menus["c"]);
        client.put_as(&operator, &path, json!({"name": "C", "price": 7})).await.expect(200);
        assert_eq!(told(&client, &[("b", 5, 10), ("C", 5, 5), ("a", 1, 9)]).await["items"][1]["price"], 7);
        client.delete_as(&operator, &format!("/v1/menus/{}", menus["b"])).await.expect(204);
        told(&client, &[("C", 5, 5), ("a", 1, 9), ("d", 1, 9)]).await;
    })
    .await;
}

/// Somebody whose token outlives the test's days.
async fn rich(app: &TestApp) -> User {
    let user = app.account(onrush::Role::User).await;
    app.client().charge(&user, 1_000_000, &key()).await.expect(201);
    user
}

/// What was ordered, by hand: (hour, menu, quantity).
struct Log(Vec<(i64, usize, i64)>);

impl Log {
    fn top(&self, hour: i64, names: &[String]) -> Vec<(String, i64, i64)> {
        let mut counts = vec![(0, 0); names.len()];
        for (_, menu, quantity) in self.0.iter().filter(|(at, ..)| *at >= hour - 7 * 24) {
            counts[*menu].0 += 1;
            counts[*menu].1 += quantity;
        }
        let mut ranked: Vec<_> = names
            .iter()
            .zip(counts)
            .map(|(name, (orders, quantity))| (name.clone(), orders, quantity))
            .collect();
        ranked.retain(|(_, orders, _)| *orders > 0);
        ranked.sort_by(|a, b| (b.1, b.2, &a.0).cmp(&(a.1, a.2, &b.0)));
        ranked.truncate(3);
        ranked
    }
}

async fn told_as(client: &Client, log: &Log, hour: i64, names: &[String]) {
    let top = log.top(hour, names);
    let top: Vec<(&str, i64, i64)> =
        top.iter().map(|(n, orders, quantity)| (n.as_str(), *orders, *quantity)).collect();
    told(client, &top).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_eight_days_each_hour_leaves_once() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (build, clock) = Build { shards: 2, ..Build::default() }.with_test_clock(START_MS);
    with_apps(build, async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let mut users = Vec::new();
        for _ in 0..3 {
            users.push(rich(&app).await);
        }
        let (mut menus, mut names) = (Vec::new(), Vec::new());
        for at in 0..5 {
            names.push(format!("menu {at}"));
            menus.push(client.menu(&operator, &names[at], 1).await);
        }
        let mut log = Log(Vec::new());
        // Eight days in steps of some hours, and two more in which all that was ordered leaves.
        let mut hours = 0;
        while hours < 16 * 24 {
            let hour = (START_MS + hours * HOUR_MS) / HOUR_MS;
            if hours < 8 * 24 {
                for _ in 0..random.usize(0..4) {
                    let (user, menu, quantity) = (random.usize(0..3), random.usize(0..5), random.u32(1..5));
                    order(&client, &users[user], &[(&menus[menu], quantity)]).await;
                    log.0.push((hour, menu, i64::from(quantity)));
                }
            }
            told_as(&client, &log, hour, &names).await;
            if hours == 4 * 24 {
                app.lose_redis().await;
                eventually("it is back", || async { client.get("/readyz").await.status == 200 }).await;
                told_as(&client, &log, hour, &names).await;
            }
            if hours % 24 < 6 {
                app.settled().await;
            }
            let step = random.i64(1..11);
            hours += step;
            app.pass_time(&clock, step * HOUR_MS, step * HOUR_MS).await;
        }
        told(&client, &[]).await;
        assert_eq!(app.ranking_size().await, 0, "nothing is left behind in Redis");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_that_no_tick_has_taken_out_yet_is_not_told() {
    // Ticks take out nothing.
    let idle = Sabotage::default().change_script(
        "ranking/subtract",
        "for i = 1, #old do",
        "old = {} for i = 1, #old do",
    );
    let (build, clock) = Build { sabotage: idle, ..Build::default() }.with_test_clock(START_MS);
    with_apps(build, async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, rich(&app).await);
        let menu = client.menu(&operator, "m", 1).await;
        order(&client, &user, &[(&menu, 2)]).await;
        app.pass_time(&clock, 7 * 24 * HOUR_MS, 24 * HOUR_MS).await;
        told(&client, &[("m", 1, 2)]).await;
        order(&client, &user, &[(&menu, 3)]).await;
        app.pass_time(&clock, HOUR_MS, HOUR_MS).await;
        told(&client, &[("m", 1, 3)]).await;
        assert_eq!(app.ranking_size().await, 2, "both hours are still there");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_loss_of_redis_the_ranking_is_what_it_was() {
    with_app(async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(8, 1_000_000).await);
        let mut menus = Vec::new();
        for at in 0..6 {
            menus.push(client.menu(&operator, &format!("menu {at}"), 1).await);
        }
        for (at, user) in users.iter().enumerate() {
            for menu in &menus[..at % 6 + 1] {
                order(&client, user, &[(menu, at as u32 + 1)]).await;
            }
        }
        let before = told(&client, &[("menu 0", 8, 36), ("menu 1", 6, 28), ("menu 2", 4, 18)]).await;
        app.lose_redis().await;
        eventually("the shards are rebuilt", || async {
            app.count("select min(epoch) from journal_cursor where state = 'live'").await == 2
                && client.get("/readyz").await.status == 200
        })
        .await;
        let after = told(&client, &[("menu 0", 8, 36), ("menu 1", 6, 28), ("menu 2", 4, 18)]).await;
        assert_eq!(before["items"], after["items"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_an_order_that_is_not_counted_is_found_by_verify() {
    let forgets = Sabotage::default().change_script(
        "orders/place",
        "redis.call('ZINCRBY', menu_quantity, quantity, menu)",
        "if quantity ~= '7' then redis.call('ZINCRBY', menu_quantity, quantity, menu) end",
    );
    let app = TestApp::start(Build { sabotage: forgets, ..Build::default() }).await;
    let (client, operator, user) = (app.client(), app.operator().await, app.user(1_000).await);
    let menu = client.menu(&operator, "m", 1).await;
    order(&client, &user, &[(&menu, 6)]).await;
    app.settled().await;
    order(&client, &user, &[(&menu, 7)]).await;
    let differences = app.inside(0).verify().await;
    assert_eq!(differences.len(), 1, "{differences:?}");
    assert!(differences[0].contains("ranking:quantity"), "{differences:?}");
    // And an hour in Postgres that is not what the orders say.
    app.sql("update popular_hours set orders = orders + 1").await;
    let differences = app.inside(0).verify().await;
    assert!(
        differences.iter().any(|one| one.contains("3 orders are counted, 2 were placed")),
        "{differences:?}"
    );
}
