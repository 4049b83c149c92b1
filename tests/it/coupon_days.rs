//! Coupons that expire on a day: listed at any length, and their holders told once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::TimeZone;
use chrono_tz::Asia::Seoul;
use serde_json::{Value, json};

use crate::harness::receiver::Receiver;
use crate::harness::{Build, Client, TestApp, User, eventually, with_app, with_apps, within};

/// A moment in Seoul.
fn seoul(day: u32, hour: u32, minute: u32) -> chrono::DateTime<chrono::Utc> {
    Seoul.with_ymd_and_hms(2030, 3, day, hour, minute, 0).unwrap().to_utc()
}

/// A user's coupon that expires then.
async fn held(
    client: &Client,
    operator: &User,
    user: &User,
    expires: chrono::DateTime<chrono::Utc>,
) -> String {
    let body = json!({"count": 1, "expiresAt": onrush::clock::rfc3339(expires)});
    let made = client.post_as(operator, "/v1/coupons", body).await.expect(201);
    let code = made.body["codes"][0].as_str().unwrap().to_owned();
    let path = format!("/v1/coupons/{code}/assign");
    client.put_as(operator, &path, json!({"userId": user.id})).await.expect(200);
    code
}

async fn listed(client: &Client, operator: &User, day: &str, accept: &str) -> String {
    let request = client.request(reqwest::Method::GET, &format!("/v1/coupons/expiring?date={day}"));
    let request = request.bearer_auth(&operator.token).header("Accept", accept);
    client.send(request).await.expect(200).text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_days_coupons_are_listed_in_every_way() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let first = held(&client, &operator, &user, seoul(7, 0, 0)).await;
        let last = held(&client, &operator, &user, seoul(8, 0, 0) - chrono::TimeDelta::milliseconds(1)).await;
        for beside in [seoul(7, 0, 0) - chrono::TimeDelta::milliseconds(1), seoul(8, 0, 0)] {
            held(&client, &operator, &user, beside).await;
        }
        let used = held(&client, &operator, &user, seoul(7, 12, 0)).await;
        client.change_coupon(reqwest::Method::PUT, &user, &format!("{used}/use")).await.expect(200);
        let path = "/v1/coupons/expiring?date=2030-03-07";
        let page = client.get_as(&operator, path).await.expect(200);
        let codes: Vec<&str> =
            page.body["items"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
        assert_eq!(codes, [&first, &last]);
        let start = client.get_as(&operator, &format!("{path}&limit=1")).await.expect(200);
        let next = format!("{path}&limit=1&cursor={}", start.text_of("nextCursor"));
        let rest = client.get_as(&operator, &next).await.expect(200);
        assert_eq!(
            (&rest.body["items"][0], &rest.body["nextCursor"]),
            (&page.body["items"][1], &Value::Null)
        );
        let csv = listed(&client, &operator, "2030-03-07", "text/csv").await;
        let mut lines = csv.split("\r\n");
        assert_eq!(lines.next(), Some("code,campaignId,userId,expiresAt,assignedAt"));
        let row = format!("{},,{},2030-03-06T15:00:00.000Z,", first, user.id);
        assert!(lines.next().unwrap().starts_with(&row), "{csv}");
        let json = listed(&client, &operator, "2030-03-07", "application/x-ndjson").await;
        let rows: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(json!(rows), page.body["items"]);
        client.get_as(&operator, "/v1/coupons/expiring?date=2030-3-7").await.refused(400, "invalid_request");
        client.get_as(&operator, "/v1/coupons/expiring").await.expect(200);
        client.get_as(&user, "/v1/coupons/expiring").await.refused(403, "forbidden");
    })
    .await;
}

/// Many more than one page; read by the index of that day alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_any_length_is_streamed_and_does_not_scan_all() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        app.sql(
            "insert into coupons (code, ordinal, number, status, user_id, expires_at, assigned_at)
             select 'T' || lpad(n::text, 9, '0'), 0, null, 1, gen_random_uuid(),
                 '2030-01-01T12:00:00+09:00'::timestamptz + (n / 12345) * interval '1 day', now()
             from generate_series(0, 123449) n",
        )
        .await;
        let csv = listed(&client, &operator, "2030-01-03", "text/csv").await;
        assert_eq!(csv.lines().count(), 12_346);
        let plan: Vec<String> = sqlx::query_scalar(
            "explain select code from coupons where status = 1 and expires_at >= '2030-01-03T00:00:00+09:00'
                 and expires_at < '2030-01-04T00:00:00+09:00' and (expires_at, code) > ('2030-01-03', '')
             order by expires_at, code limit 500",
        )
        .fetch_all(&app.inside(0).pool)
        .await
        .unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains("expires_at_code_idx") && !plan.contains("Seq Scan"), "{plan}");
        app.sql("truncate coupons").await;
    })
    .await;
}

/// What the receiver was told, by code; each once.
fn told(receiver: &Receiver) -> Vec<String> {
    let all = receiver.arrivals();
    let codes =
        all.iter().filter(|one| one.accepted).map(|one| one.body["code"].as_str().unwrap().to_owned());
    let mut codes: Vec<String> = codes.collect();
    codes.sort();
    codes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_nine_three_days_ahead_each_holder_is_told_once() {
    let receiver = Receiver::start(&["coupon.expiring"], json!({})).await;
    let start = seoul(4, 8, 0).timestamp_millis();
    let build = Build { instances: 2, delivery: receiver.file(), ..Build::default() };
    let (build, clock) = build.with_test_clock(start);
    with_apps(build, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(3, 0).await);
        let mut due = Vec::new();
        for (user, hour) in users.iter().zip([0, 9, 23]) {
            due.push(held(&client, &operator, user, seoul(7, hour, 0)).await);
        }
        for beside in [seoul(6, 23, 59), seoul(8, 0, 0)] {
            held(&client, &operator, &users[0], beside).await;
        }
        due.sort();
        let step = 59 * 60_000;
        clock.fetch_add(step, Ordering::SeqCst);
        tell(&app).await;
        // Of 6 March it was told on the 3rd, and of no other yet.
        assert_eq!(told(&receiver), Vec::<String>::new());
        clock.fetch_add(75_000, Ordering::SeqCst);
        tell(&app).await;
        within(Duration::from_secs(20), "all are told", || async { told(&receiver) == due }).await;
        let one = &receiver.arrivals()[0];
        assert_eq!(
            (one.kind.as_str(), &one.body["message"]),
            ("coupon.expiring", &json!("쿠폰이 3일 후 만료됩니다."))
        );
        assert_eq!(one.aggregate, one.body["userId"].as_str().unwrap());
        // Who gets one after nine is not told of it, and nobody is told twice.
        held(&client, &operator, &users[0], seoul(7, 12, 0)).await;
        tell(&app).await;
        assert_eq!(told(&receiver), due);
        assert_eq!(app.count("select sum(told)::bigint from coupon_reminders").await, 3);
    })
    .await;
}

/// As the schedule does, on both instances at once, until nothing is left.
async fn tell(app: &TestApp) {
    loop {
        let both = tokio::join!(app.inside(0).tell_of_expiring(), app.inside(1).tell_of_expiring());
        if both.0.unwrap() + both.1.unwrap() == 0 {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_that_were_missed_are_caught_up() {
    let receiver = Receiver::start(&["coupon.expiring"], json!({})).await;
    let build = Build { instances: 2, delivery: receiver.file(), ..Build::default() };
    let (build, clock) = build.with_test_clock(seoul(4, 8, 0).timestamp_millis());
    with_apps(build, async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let gone = held(&client, &operator, &user, seoul(5, 12, 0)).await;
        let mut due = Vec::new();
        for day in [7, 8, 9] {
            due.push(held(&client, &operator, &user, seoul(day, 12, 0)).await);
        }
        due.sort();
        tell(&app).await;
        assert_eq!(told(&receiver), Vec::<String>::new(), "5 March was due on the 2nd, before it was given");
        // Nobody was there on the 4th and the 5th.
        clock.store(seoul(6, 10, 0).timestamp_millis(), Ordering::SeqCst);
        tell(&app).await;
        within(Duration::from_secs(20), "all are told", || async { told(&receiver) == due }).await;
        assert!(!told(&receiver).contains(&gone));
        eventually("the shards follow the clock", || async { app.inside(0).tick().await.is_ok() }).await;
    })
    .await;
}

/// Six pages of notices, told by instances that end in between: each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_morning_of_notices_survives_those_who_tell() {
    let receiver = Receiver::start(&["coupon.expiring"], json!({})).await;
    let now = chrono::Utc::now();
    let today = now.with_timezone(&Seoul).date_naive();
    let build = Build { delivery: receiver.file(), ..Build::default() };
    let app = TestApp::start(build).await;
    let mut app = app.stop_instances().await;
    let pool = sqlx::PgPool::connect(&app.config.database_url).await.unwrap();
    // Yesterday's run is due in any case.
    let expires = (today + chrono::Days::new(2)).and_hms_opt(12, 0, 0).unwrap();
    let expires = Seoul.from_local_datetime(&expires).unwrap().to_utc();
    sqlx::query(
        "insert into coupons (code, ordinal, status, user_id, expires_at, assigned_at)
         select 'T' || lpad(n::text, 9, '0'), 0, 1, gen_random_uuid(), $1, now() - interval '9 days'
         from generate_series(1, 3000) n",
    )
    .bind(expires)
    .execute(&pool)
    .await
    .unwrap();
    // The instance that was there had nothing to tell, and has noted that.
    sqlx::query("delete from coupon_reminders").execute(&pool).await.unwrap();
    for _ in 0..4 {
        app = app.start_instances().await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        app = app.stop_instances().await;
    }
    let app = app.start_instances().await;
    let counts = "select sum(told)::bigint from coupon_reminders";
    within(Duration::from_secs(60), "all are noted", || async { app.count(counts).await == 3_000 }).await;
    let left = "select count(*) from deliveries where state <> 'DELIVERED'";
    within(Duration::from_secs(60), "all are told", || async { app.count(left).await == 0 }).await;
    let codes = told(&receiver);
    let different: std::collections::BTreeSet<&String> = codes.iter().collect();
    assert_eq!(different.len(), 3_000);
    assert_eq!(app.count("select sum(told)::bigint from coupon_reminders").await, 3_000);
    assert_eq!(app.count("select count(*) from deliveries").await, 3_000);
    app.finish().await;
}
