//! Campaigns and claims: what a client sees, and what races cannot break.

use std::collections::BTreeSet;

use onrush::sabotage::Sabotage;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Build, Client, TestApp, User, at_once, eventually, key, with_app, with_apps};

/// Each user claims once, at once, on all instances in turn.
async fn claims_at_once(clients: &[Client], users: &[User], campaign: &str) -> Vec<Answer> {
    let jobs = users.iter().cloned().enumerate().map(|(at, user)| {
        let (client, campaign) = (clients[at % clients.len()].clone(), campaign.to_owned());
        // Whose shard is behind, or does not know yet, is asked again with the same key.
        async move {
            let key = key();
            loop {
                let answer = client.claim_with_key(&user, &campaign, &key).await;
                if answer.status < 500 {
                    break answer;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    });
    at_once(jobs.collect::<Vec<_>>()).await
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// Claims that Redis was asked for.
async fn scripts(client: &Client) -> i64 {
    let text = client.get("/metrics").await.text;
    let counts = text
        .lines()
        .filter(|line| line.starts_with("onrush_script_seconds_count") && line.contains("coupons/claim"));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<i64>().unwrap()).sum()
}

/// How many campaigns each instance knows to be sold out.
fn latched(app: &TestApp, instances: usize) -> Vec<usize> {
    (0..instances).map(|at| app.inside(at).latch.count()).collect()
}

async fn campaign(client: &Client, id: &str) -> Value {
    client.get(&format!("/v1/coupon-campaigns/{id}")).await.expect(200).body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coupon_is_claimed_read_and_told_again() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let body = json!({"name": "쿠폰 100% | a, b", "quantity": 3, "expiresAt": "2099-01-01T00:00:00Z"});
        let made =
            client.post_with_key(&operator, "/v1/coupon-campaigns", body.clone(), "k").await.expect(201);
        assert_eq!(made.header("onrush-durability"), "postgres");
        let id = made.text_of("campaignId");
        let expected = json!({
            "campaignId": id, "name": "쿠폰 100% | a, b", "quantity": 3, "claimed": 0, "remaining": 3,
            "used": 0, "expiresAt": "2099-01-01T00:00:00.000Z", "opensAt": null, "closesAt": null,
            "perUser": 1,
        });
        assert_eq!((&made.body, campaign(&client, &id).await), (&expected, expected.clone()));
        let again = client.post_with_key(&operator, "/v1/coupon-campaigns", body, "k").await.expect(201);
        assert_eq!((again.header("idempotency-replayed"), &again.body), ("true", &made.body));

        let claimed = client.claim_with_key(&user, &id, "mine").await.expect(201);
        assert_eq!(claimed.header("onrush-durability"), "postgres");
        let code = claimed.text_of("code");
        assert_eq!(code.len(), 21, "sixteen characters in groups of four, and a check symbol: {code}");
        let mut rest = claimed.body.clone();
        rest.as_object_mut().unwrap().remove("code");
        assert_eq!(
            rest,
            json!({"campaignId": id, "number": 1, "rank": 1, "remaining": 2, "status": "ASSIGNED",
                   "expiresAt": "2099-01-01T00:00:00.000Z"})
        );
        let again = client.claim_with_key(&user, &id, "mine").await.expect(201);
        assert_eq!((again.header("idempotency-replayed"), &again.body), ("true", &claimed.body));
        client.claim(&user, &id).await.refused(409, "coupon_already_claimed");

        let coupon = client.get_as(&user, &format!("/v1/coupons/{code}")).await.expect(200);
        assert_eq!(
            (coupon.body["status"].as_str(), &coupon.body["userId"]),
            (Some("ASSIGNED"), &json!(user.id))
        );
        // However it is written.
        let ways = [code.to_lowercase(), code.replace('-', ""), code.replace('0', "o").replace('1', "L")];
        for way in ways {
            let read = client.get_as(&user, &format!("/v1/coupons/{way}")).await.expect(200);
            assert_eq!(read.body, coupon.body);
        }
        let own = client.get_as(&user, "/v1/coupons").await.expect(200);
        assert_eq!(own.body, json!({"items": [coupon.body], "nextCursor": null}));
        let of = format!("/v1/coupons?userId={}", user.id);
        assert_eq!(client.get_as(&operator, &of).await.expect(200).body, own.body);
        let other = app.user(0).await;
        client.get_as(&other, &of).await.refused(403, "forbidden");
        client.get_as(&other, &format!("/v1/coupons/{code}")).await.refused(404, "coupon_not_found");
        assert_eq!(campaign(&client, &id).await["claimed"], 1);
        let listed = client.get("/v1/coupon-campaigns").await.expect(200);
        assert_eq!(listed.body["items"][0]["campaignId"], json!(id));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_claimed_is_refused_and_changes_nothing() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        client.claim(&user, &key()).await.refused(404, "campaign_not_found");
        let later = client.campaign(&operator, 1, json!({"opensAt": "2098-01-01T00:00:00Z"})).await;
        client.claim(&user, &later).await.refused(409, "campaign_not_open");
        for wrong in ["userId=x", "userId=a&userId=b", "cursor=MCAA"] {
            let answer = client.get_as(&user, &format!("/v1/coupons?{wrong}")).await;
            answer.refused(400, "invalid_request");
        }
        let over = json!({"opensAt": "2020-01-01T00:00:00Z", "closesAt": "2020-01-02T00:00:00Z"});
        let over = client.campaign(&operator, 1, over).await;
        client.claim(&user, &over).await.refused(409, "campaign_not_open");
        let none = client.campaign(&operator, 0, json!({})).await;
        client.claim(&user, &none).await.refused(410, "coupon_sold_out");
        let path = format!("/v1/coupon-campaigns/{none}/claims");
        let request = client.request(Method::POST, &path).bearer_auth(&user.token);
        client.send(request).await.refused(400, "idempotency_key_missing");
        assert_eq!(app.count("select count(*) from coupons").await, 0);
        for (member, wrong) in [
            ("quantity", json!(10_000_000_001_i64)),
            ("quantity", json!(-1)),
            ("perUser", json!(0)),
            ("perUser", json!(101)),
            ("expiresAt", json!("2020-01-01T00:00:00Z")),
            ("name", json!(" ")),
        ] {
            let mut body = json!({"name": "c", "quantity": 1, "expiresAt": "2099-01-01T00:00:00Z"});
            body[member] = wrong;
            client.post_as(&operator, "/v1/coupon-campaigns", body).await.refused(400, "invalid_request");
        }
    })
    .await;
}

/// A key of which nobody knows any more makes no second campaign of the same id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_forgotten_resets_no_campaign() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let body = json!({"name": "c", "quantity": 3, "expiresAt": "2099-01-01T00:00:00Z"});
        let path = "/v1/coupon-campaigns";
        let id =
            client.post_with_key(&operator, path, body.clone(), "k").await.expect(201).text_of("campaignId");
        client.claim(&user, &id).await.expect(201);
        app.settled().await;
        app.sql("delete from operations").await;
        for shard in 0..4 {
            app.redis(&["DEL", &app.journal_key(shard).replace(":journal", ":ops")]).await;
        }
        let again = client.post_with_key(&operator, path, body, "k").await;
        again.refused(422, "idempotency_key_reused");
        assert_eq!(campaign(&client, &id).await["claimed"], 1);
    })
    .await;
}

/// Ten billion take as long, and as much space, as one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_of_ten_billion_is_made_at_once_and_takes_no_space() {
    with_app(async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(2, 0).await);
        let memory = async |id: &str| {
            let key = app.journal_key(0).replace("{s00}", &format!("{{{}}}", shard_of(&app, id)));
            app.redis_int(&["MEMORY", "USAGE", &key.replace(":journal", &format!(":coupons:{id}:campaign"))])
                .await
        };
        let small = client.campaign(&operator, 1, json!({})).await;
        let id = client.campaign(&operator, 10_000_000_000, json!({"perUser": 2})).await;
        let (small, big) = (memory(&small).await, memory(&id).await);
        assert!(big < small + 64, "{big} bytes beside {small}");
        assert_eq!(app.count("select count(*) from coupons").await, 0);
        let mut codes = BTreeSet::new();
        for (at, user) in users.iter().chain(&users).enumerate() {
            let claimed = client.claim(user, &id).await.expect(201);
            assert_eq!(claimed.int_of("remaining"), 9_999_999_999 - at as i64);
            codes.insert(claimed.text_of("code"));
        }
        assert_eq!(codes.len(), 4);
        client.claim(&users[0], &id).await.refused(409, "coupon_already_claimed");
    })
    .await;
}

fn shard_of(app: &TestApp, id: &str) -> String {
    app.inside(0).journal.shards.of(id.parse().unwrap()).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_claims_at_once_give_out_a_thousand() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (operator, users) = (app.operator().await, app.users(20_000, 0).await);
        let id = app.client().campaign(&operator, 1_000, json!({})).await;
        let clients = [app.client(), app.client_of(1)];
        let mut answers = Vec::new();
        // Two thousand requests under way at a time: more would find no sockets.
        for part in users.chunks(2_000) {
            answers.extend(claims_at_once(&clients, part, &id).await);
        }
        let other = answers.iter().find(|answer| ![201, 410].contains(&answer.status));
        assert!(other.is_none(), "{}", other.unwrap().text);
        assert_eq!((count(&answers, 201), count(&answers, 410)), (1_000, 19_000));
        let won: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 201).collect();
        let ranks: BTreeSet<i64> = won.iter().map(|answer| answer.int_of("rank")).collect();
        assert_eq!((ranks.len(), ranks.first(), ranks.last()), (1_000, Some(&1), Some(&1_000)));
        let codes: BTreeSet<String> = won.iter().map(|answer| answer.text_of("code")).collect();
        assert_eq!(codes.len(), 1_000);
        let told = campaign(&clients[0], &id).await;
        assert_eq!((told["claimed"].as_i64(), told["remaining"].as_i64()), (Some(1_000), Some(0)));
        // Who has one is told his own, however late; who has none costs Redis nothing any more.
        eventually("both have noticed", || async {
            let asked = claims_at_once(&clients, &users[19_000..19_010], &id).await;
            assert_eq!(count(&asked, 410), 10);
            latched(&app, 2) == [1, 1]
        })
        .await;
        let winner = users.iter().zip(&answers).find(|(_, answer)| answer.status == 201).unwrap().0;
        clients[1].claim(winner, &id).await.refused(409, "coupon_already_claimed");
        // But for those who look like a winner, which is one in a hundred.
        let before = scripts(&clients[0]).await;
        let losers = answers.iter().zip(&users).filter(|(answer, _)| answer.status == 410);
        let losers: Vec<User> = losers.map(|(_, user)| user.clone()).take(2_000).collect();
        let asked = claims_at_once(&clients, &losers, &id).await;
        assert_eq!(count(&asked, 410), 2_000);
        let cost = scripts(&clients[0]).await - before;
        assert!(cost < 100, "{cost} scripts for two thousand losers");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_a_hundred_times_at_once_gets_one() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (operator, user) = (app.operator().await, app.user(0).await);
        let id = app.client().campaign(&operator, 1_000, json!({})).await;
        let clients = [app.client(), app.client_of(1)];
        let same = vec![user.clone(); 100];
        let answers = claims_at_once(&clients, &same, &id).await;
        assert_eq!((count(&answers, 201), count(&answers, 409)), (1, 99));
        // With one key all are told the same.
        let other = app.user(0).await;
        let jobs = (0..100).map(|at| {
            let (client, id, other) = (clients[at % 2].clone(), id.clone(), other.clone());
            async move { client.claim_with_key(&other, &id, "one").await.expect(201).text_of("code") }
        });
        let codes: BTreeSet<String> = at_once(jobs.collect::<Vec<_>>()).await.into_iter().collect();
        assert_eq!(codes.len(), 1);
        assert_eq!(app.count("select count(*) from coupons").await, 2);
    })
    .await;
}

/// Without the script's own check Postgres still refuses, and nobody was told yes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_script_that_gives_out_too_many_meets_the_wall() {
    let sabotage = Sabotage::default().change_script(
        "coupons/claim",
        "if number > quantity",
        "if number > quantity + 9",
    );
    let app = TestApp::start(Build { sabotage, ack_timeout_ms: 1_500, ..Build::default() }).await;
    let (client, operator, users) = (app.client(), app.operator().await, app.users(4, 0).await);
    let id = client.campaign(&operator, 2, json!({})).await;
    for user in &users[..2] {
        client.claim(user, &id).await.expect(201);
    }
    let third = client.claim(&users[2], &id).await;
    assert!(third.status >= 500, "{}", third.text);
    eventually("it is kept apart", || async { app.count("select count(*) from quarantine").await > 0 }).await;
    assert_eq!(app.count("select claimed from coupon_campaigns").await, 2);
    app.stop_instances().await;
}

/// A read before a write would give two users one number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_claim_that_does_not_count_is_caught_by_verify() {
    let sabotage = Sabotage::default().change_script(
        "coupons/claim",
        "redis.call('HSET', claimants, user, mine == '' and coupon or mine .. ',' .. coupon)",
        "",
    );
    let app = TestApp::start(Build { sabotage, ..Build::default() }).await;
    let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
    let id = client.campaign(&operator, 2, json!({})).await;
    client.claim(&user, &id).await.expect(201);
    let differences = app.inside(0).verify().await;
    assert!(differences.iter().any(|one| one.contains("claimants")), "{differences:?}");
    app.stop_instances().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_loss_claims_go_on_where_they_were() {
    with_app(async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(6, 0).await);
        let id = client.campaign(&operator, 5, json!({"perUser": 2})).await;
        let mut first = Vec::new();
        for user in &users[..3] {
            first.push(client.claim_with_key(user, &id, "one").await.expect(201));
        }
        app.lose_redis().await;
        app.ready().await;
        for (user, claimed) in users.iter().zip(&first) {
            eventually("it is told again", || async {
                let again = client.claim_with_key(user, &id, "one").await;
                again.status == 201 && again.body == claimed.body
            })
            .await;
        }
        eventually("its shard lives", || async { client.claim(&users[0], &id).await.status == 201 }).await;
        assert_eq!(campaign(&client, &id).await["claimed"], 4);
        client.claim(&users[0], &id).await.refused(409, "coupon_already_claimed");
        assert_eq!(client.claim(&users[3], &id).await.expect(201).int_of("rank"), 5);
        client.claim(&users[4], &id).await.refused(410, "coupon_sold_out");
        // Latched in one epoch, and found again in the next.
        eventually("it is noticed", || async {
            client.claim(&users[4], &id).await.refused(410, "coupon_sold_out");
            latched(&app, 1) == [1]
        })
        .await;
        app.lose_redis().await;
        app.ready().await;
        eventually("the shards live", || async {
            client.claim(&users[5], &id).await.code() == "coupon_sold_out"
        })
        .await;
    })
    .await;
}

/// Who guesses is told to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_are_counted() {
    let few = ["--limit-reads", "user=0.001/5", "--limit-writes", "user=0.001/5"];
    with_apps(crate::limits::limits(&few), async |app| {
        let (client, user) = (app.client(), app.user(0).await);
        for _ in 0..5 {
            client.get_as(&user, "/v1/coupons/ABCD1234").await.refused(404, "coupon_not_found");
            let used = client.change_coupon(Method::PUT, &user, "ABCD1234/use").await;
            used.refused(404, "coupon_not_found");
        }
        client.get_as(&user, "/v1/coupons/ABCD1234").await.refused(429, "rate_limited");
        client.change_coupon(Method::PUT, &user, "ABCD1234/use").await.refused(429, "rate_limited");
    })
    .await;
}

/// Codes that nobody was given are refused alike: random ones, and real ones with one character changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_find_nothing() {
    const SYMBOLS: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let id = client.campaign(&operator, 10, json!({})).await;
        let code = client.claim(&user, &id).await.expect(201).text_of("code").replace('-', "");
        let mut guesses: Vec<String> =
            (0..10_000).map(|_| (0..17).map(|_| SYMBOLS[fastrand::usize(..32)] as char).collect()).collect();
        for at in 0..17 {
            let others =
                SYMBOLS.iter().map(|symbol| *symbol as char).filter(|other| !code[at..].starts_with(*other));
            guesses.extend(others.map(|other| format!("{}{other}{}", &code[..at], &code[at + 1..])));
        }
        let reader = operator.clone();
        for part in guesses.chunks(500) {
            let asked = part.iter().map(|guess| {
                let (client, reader, path) = (client.clone(), reader.clone(), format!("/v1/coupons/{guess}"));
                async move { client.get_as(&reader, &path).await }
            });
            for answer in at_once(asked.collect::<Vec<_>>()).await {
                answer.refused(404, "coupon_not_found");
            }
        }
        for wrong in ["x", "a b", "%00", "ABCD-*-EFGH", &"A".repeat(300), "쿠폰"] {
            client.get_as(&reader, &format!("/v1/coupons/{wrong}")).await.refused(404, "coupon_not_found");
        }
        client.get_as(&reader, &format!("/v1/coupons/{code}")).await.expect(200);
    })
    .await;
}
