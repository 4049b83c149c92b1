//! Rewards while the service dies: at each point between a request and its end, and anywhere; and after the
//! loss of Redis. Granted once, the stock right.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Build, Client, Program, TestApp, User, free_port, key, program_settings, setting, with_apps, within,
};

/// Where the program dies: a script of the way has answered, or what it did is durable.
const POINTS: [&str; 2] = ["called", "durable"];

/// What a test of crashes begins with: rewards, an event that gives each, and users.
struct Story {
    app: TestApp,
    operator: User,
    users: Vec<User>,
    event: String,
    /// Points, a coupon, a thing.
    rewards: Vec<String>,
    campaign: String,
}

async fn story(users: usize, stock: i64, approval: &str) -> Story {
    let app = TestApp::start(Build::default()).await;
    let (client, operator, users) = (app.client(), app.operator().await, app.users(users, 0).await);
    let campaign = client.campaign(&operator, 1_000_000, json!({})).await;
    let rewards = vec![
        client.reward(&operator, stock, json!({})).await,
        client
            .reward(&operator, stock, json!({"type": "COUPON", "amount": null, "campaignId": campaign}))
            .await,
        client.reward(&operator, stock, json!({"type": "ITEM", "amount": null})).await,
    ];
    let over = json!({"rewardIds": rewards, "approval": approval});
    let event = client.event(&operator, &rewards[0], over).await;
    let app = app.stop_instances().await;
    Story { app, operator, users, event, rewards, campaign }
}

/// With one key until he is told.
async fn until_told(client: &Client, user: &User, event: &str, reward: &str) -> Value {
    let (key, body) = (key(), json!({"eventId": event, "rewardId": reward}));
    loop {
        match client.try_post(user, "", "/v1/reward-requests", body.clone(), &key).await {
            Some((201, text)) => return serde_json::from_str(&text).unwrap(),
            Some((410, _)) => return Value::Null,
            Some((status, text)) if status < 500 && !text.contains("idempotency_in_progress") => {
                panic!("{status}: {text}")
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The program on the story's data, which dies at this point.
fn doomed(app: &TestApp, port: u16, point: &str) -> Program {
    let mut command = Program::command(&["serve"]);
    program_settings(&mut command, app)
        .env("ONRUSH_LISTEN", format!("127.0.0.1:{port}"))
        .env("ONRUSH_DIES_AT", point)
        .stderr(std::process::Stdio::null());
    Program::spawn(command)
}

async fn is_up(client: &Client) {
    within(Duration::from_secs(60), "the program serves", || async {
        client.try_get("/readyz").await == Some(200)
    })
    .await;
}

/// Whether the program died where it should, as it does unless it was so slow that who asked was told to ask
/// again, and its answer then came by another way.
async fn died(mut program: Program, is_told: impl Fn() -> bool) -> bool {
    let mut has_ended = false;
    within(Duration::from_secs(60), "it dies where it should", || {
        has_ended = program.has_ended();
        let over = has_ended || is_told();
        async move { over }
    })
    .await;
    program.kill();
    has_ended
}

/// Asks until the connection breaks: who is told "later" asks again, who is told nothing never does. True
/// when there was an answer.
async fn until_broken(ask: impl AsyncFn() -> Option<(u16, String)>) -> bool {
    while let Some((status, text)) = ask().await {
        if status < 500 {
            assert!(status < 300, "{status}: {text}");
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

/// Each time a request makes the program die at the point; half of those who asked ask again, of the others
/// recovery alone knows. In the end all have one reward.
async fn dies_at(script: &str, reward: usize) {
    let wanted = setting("REWARD_DEATHS", 3) as usize;
    let story = story(wanted * POINTS.len(), 1_000_000, "AUTO").await;
    let (app, port) = (&story.app, free_port());
    let client = Client::new(&format!("http://127.0.0.1:{port}"));
    let (mut asking, mut deaths) = (Vec::new(), 0);
    for (at, user) in story.users.iter().enumerate() {
        let program = doomed(app, port, &format!("{}:{script}", POINTS[at % 2]));
        // A client of this life: connections of the one before are broken.
        let client = Client::new(&client.url);
        is_up(&client).await;
        let (event, reward) = (story.event.clone(), story.rewards[reward].clone());
        let user = user.clone();
        deaths += usize::from(if at % 4 < 2 {
            let told = tokio::spawn(async move { until_told(&client, &user, &event, &reward).await });
            let died = died(program, || told.is_finished()).await;
            asking.push(told);
            died
        } else {
            let (key, body) = (key(), json!({"eventId": event, "rewardId": reward}));
            let path = "/v1/reward-requests";
            let told =
                until_broken(async || client.try_post(&user, "", path, body.clone(), &key).await).await;
            died(program, || told).await
        });
    }
    println!("{deaths} deaths at {script}");
    assert!(deaths * 2 > story.users.len(), "it died {deaths} times");
    let program = Program::serve(app, port);
    for told in asking {
        assert_eq!(told.await.unwrap()["status"], "GRANTED");
    }
    is_up(&client).await;
    let granted = "/v1/reward-requests?status=GRANTED&limit=1";
    within(Duration::from_secs(60), "all are granted", || async {
        let told = client.get_as(&story.operator, granted).await;
        told.body["counts"]["PENDING"] == 0 && told.body["counts"]["GRANTED"].as_u64() >= Some(1)
    })
    .await;
    assert_eq!(program.terminate(), Some(0));
    check(story, reward).await;
}

/// Who asked has one reward, and what he has is what is counted.
async fn check(story: Story, reward: usize) {
    let Story { app, operator, users, rewards, campaign, .. } = story;
    let app = app.start_instances().await;
    let client = app.client();
    let count = app.count("select count(*) from reward_requests where state = 'GRANTED'").await;
    // One whose request died before it was durable, and who never asked again, has none.
    assert!(count >= users.len() as i64 / 2 && count <= users.len() as i64, "{count} were granted");
    assert_eq!(app.count("select count(*) from reward_requests").await, count);
    let told = client.get_as(&operator, &format!("/v1/rewards/{}", rewards[reward])).await.expect(200);
    assert_eq!(told.int_of("stock") - told.int_of("remaining"), count);
    let points = app.count("select coalesce(sum(balance), 0)::bigint from balances").await;
    let claimed = client.get(&format!("/v1/coupon-campaigns/{campaign}")).await.expect(200).int_of("claimed");
    let wanted = [(10 * count, 0), (0, count), (0, 0)][reward];
    assert_eq!((points, claimed), wanted);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_the_request_of_points_grants_them_once() {
    dies_at("rewards/request", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_the_grant_of_points_grants_them_once() {
    dies_at("wallet/reward", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_the_end_of_points_grants_them_once() {
    dies_at("rewards/settle", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_the_grant_of_a_coupon_grants_it_once() {
    dies_at("coupons/grant", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_the_end_of_a_thing_grants_it_once() {
    dies_at("rewards/settle", 2).await;
}

/// An operator's leave is given, and the program dies before it is followed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_the_leave_grants_once() {
    let wanted = setting("REWARD_DEATHS", 3) as usize;
    let story = story(wanted * POINTS.len(), 1_000_000, "MANUAL").await;
    let mut deaths = 0;
    let (app, port) = (&story.app, free_port());
    let client = Client::new(&format!("http://127.0.0.1:{port}"));
    let program = Program::serve(app, port);
    is_up(&client).await;
    let mut requests = Vec::new();
    for user in &story.users {
        requests
            .push(client.ask(user, &story.event, &story.rewards[0]).await.expect(201).text_of("requestId"));
    }
    assert_eq!(program.terminate(), Some(0));
    for (at, request) in requests.iter().enumerate() {
        let program = doomed(app, port, &format!("{}:rewards/approve", POINTS[at % 2]));
        let client = Client::new(&client.url);
        is_up(&client).await;
        let (key, path) = (key(), format!("/v1/reward-requests/{request}/approve"));
        let told = until_broken(async || client.try_put(&story.operator, &path, &key).await).await;
        deaths += usize::from(died(program, || told).await);
    }
    println!("{deaths} deaths at the leave");
    assert!(deaths * 2 > requests.len(), "it died {deaths} times");
    let program = Program::serve(app, port);
    is_up(&client).await;
    for request in &requests {
        // A leave that was not durable may be lost; then it is given again. One that was is followed.
        let path = format!("/v1/reward-requests/{request}");
        within(Duration::from_secs(60), "it is granted", || async {
            let approve = client.request(reqwest::Method::PUT, &format!("{path}/approve"));
            let again = client.send(approve.bearer_auth(&story.operator.token)).await;
            assert!([200, 409].contains(&again.status) || again.status >= 500, "{}", again.text);
            client.get_as(&story.operator, &path).await.body["status"] == "GRANTED"
        })
        .await;
    }
    assert_eq!(program.terminate(), Some(0));
    check(story, 0).await;
}

/// Points, coupons and things of which there are too few, and ten deaths at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_ten_times_under_load_each_is_granted_once() {
    const STOCK: usize = 300;
    let story = story(1_200, STOCK as i64, "AUTO").await;
    let (app, port) = (&story.app, free_port());
    let client = Client::new(&format!("http://127.0.0.1:{port}"));
    let mut program = Program::serve(app, port);
    let (told, next) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let asking: Vec<_> = (0..12)
        .map(|_| {
            let (client, users, event) = (client.clone(), story.users.clone(), story.event.clone());
            let (rewards, told, next) = (story.rewards.clone(), told.clone(), next.clone());
            tokio::spawn(async move {
                let mut granted = 0;
                while let Some(user) = users.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for reward in &rewards {
                        let answer = until_told(&client, user, &event, reward).await;
                        granted += usize::from(answer["status"] == "GRANTED");
                        told.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                granted
            })
        })
        .collect();
    for kill in 1..=10 {
        let enough = kill * STOCK * 3 / 12;
        within(Duration::from_secs(60), "more are told", || async { told.load(Ordering::Relaxed) >= enough })
            .await;
        program.kill();
        program = Program::serve(app, port);
    }
    let mut granted = 0;
    for asking in asking {
        granted += asking.await.unwrap();
    }
    assert_eq!(granted, 3 * STOCK, "so many were told that it is theirs");
    assert_eq!(program.terminate(), Some(0));
    let app = story.app.start_instances().await;
    assert_eq!(app.count("select coalesce(sum(balance), 0)::bigint from balances").await, 10 * STOCK as i64);
    assert_eq!(app.count("select claimed from coupon_campaigns").await, STOCK as i64);
    assert_eq!(app.count("select min(taken) from rewards").await, STOCK as i64);
    app.finish().await;
}

/// Stock, marks and requests that wait come back from Postgres.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_loss_requests_go_on_where_they_were() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(3, 0).await);
        let id = client.reward(&operator, 2, json!({})).await;
        let event = client.event(&operator, &id, json!({})).await;
        let manual = client.event(&operator, &id, json!({"approval": "MANUAL"})).await;
        client.ask(&users[0], &event, &id).await.expect(201);
        let waits = client.ask(&users[1], &manual, &id).await.expect(201).text_of("requestId");
        app.lose_redis().await;
        within(Duration::from_secs(30), "the reward is there again", || async {
            client.ask(&users[0], &event, &id).await.status != 503
        })
        .await;
        client.ask(&users[0], &event, &id).await.refused(409, "reward_already_requested");
        client.ask(&users[1], &manual, &id).await.refused(409, "reward_already_requested");
        client.ask(&users[2], &event, &id).await.refused(410, "reward_out_of_stock");
        // The shard of his points may be on its way back: asked again with its key, the leave is one.
        let path = format!("/v1/reward-requests/{waits}/approve");
        within(Duration::from_secs(60), "it is granted", || async {
            let told = client.try_put(&operator, &path, "leave").await;
            told.is_some_and(|(status, text)| status == 200 && text.contains("GRANTED"))
        })
        .await;
        assert_eq!(client.balance(&users[1]).await, 10);
    })
    .await;
}

/// What was asked, granted and rejected after the backup is so again, and is granted to nobody twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_who_believes_redis_keeps_rewards_and_requests() {
    let app = TestApp::start(Build::default()).await;
    let (client, operator, users) = (app.client(), app.operator().await, app.users(5, 0).await);
    let campaign = client.campaign(&operator, 9, json!({})).await;
    let points = client.reward(&operator, 5, json!({})).await;
    let coupon = json!({"type": "COUPON", "amount": null, "campaignId": campaign});
    let coupon = client.reward(&operator, 5, coupon).await;
    let event = client.event(&operator, &points, json!({"rewardIds": [points, coupon]})).await;
    let manual = client.event(&operator, &points, json!({"approval": "MANUAL"})).await;
    client.ask(&users[0], &event, &points).await.expect(201);
    let waits = client.ask(&users[1], &manual, &points).await.expect(201).text_of("requestId");
    crate::backup::take(&app).await;
    let body = |reward: &str| json!({"eventId": event, "rewardId": reward});
    let mut later = Vec::new();
    for reward in [&points, &coupon] {
        later.push(
            client.post_with_key(&users[2], "/v1/reward-requests", body(reward), reward).await.expect(201),
        );
    }
    client.decide(&operator, &waits, "approve", Value::Null).await.expect(200);
    let rejected = client.ask(&users[3], &manual, &points).await.expect(201).text_of("requestId");
    client.decide(&operator, &rejected, "reject", json!({"reason": "no"})).await.expect(200);
    let undecided = client.ask(&users[4], &manual, &points).await.expect(201).text_of("requestId");
    let new = client.reward(&operator, 1, json!({"name": "new"})).await;
    let app = crate::backup::put_back_and_believe_redis(app).await;
    let client = app.client();
    for (reward, told) in [&points, &coupon].into_iter().zip(&later) {
        let again =
            client.post_with_key(&users[2], "/v1/reward-requests", body(reward), reward).await.expect(201);
        assert_eq!((again.header("idempotency-replayed"), &again.body), ("true", &told.body));
        client.ask(&users[2], &event, reward).await.refused(409, "reward_already_requested");
    }
    for (request, status) in [(&waits, "GRANTED"), (&rejected, "REJECTED"), (&undecided, "PENDING")] {
        let told = client.get_as(&operator, &format!("/v1/reward-requests/{request}")).await.expect(200);
        assert_eq!(told.text_of("status"), status);
        assert_eq!(told.body["reason"] == "no", status == "REJECTED");
    }
    let balances = [client.balance(&users[1]).await, client.balance(&users[2]).await];
    assert_eq!(balances, [10, 10]);
    client.decide(&operator, &undecided, "approve", Value::Null).await.expect(200);
    let told = client.get_as(&operator, &format!("/v1/rewards/{points}")).await.expect(200);
    assert_eq!(told.int_of("remaining"), 1);
    let told = client.get_as(&operator, &format!("/v1/rewards/{new}")).await.expect(200);
    assert_eq!(told.text_of("name"), "new");
    app.finish().await;
}
