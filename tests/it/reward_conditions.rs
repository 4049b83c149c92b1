//! What events ask of users, at the boundaries: the event's begin and end, midnight in the zone, one less
//! than asked for, changed versions.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeZone, Utc};
use chrono_tz::Asia::Seoul;
use serde_json::{Value, json};

use crate::harness::{Answer, Build, Client, TestApp, User, key, with_apps};

/// A moment in Seoul.
fn seoul(day: u32, hour: u32, minute: u32) -> DateTime<Utc> {
    Seoul.with_ymd_and_hms(2030, 3, day, hour, minute, 0).unwrap().to_utc()
}

fn text(time: DateTime<Utc>) -> String {
    onrush::clock::rfc3339(time)
}

/// When the events of these tests begin, and end.
fn begin() -> DateTime<Utc> {
    seoul(2, 10, 0)
}
fn end() -> DateTime<Utc> {
    seoul(2, 10, 5)
}
const MILLISECOND: chrono::TimeDelta = chrono::TimeDelta::milliseconds(1);

/// An application whose clock stands a minute before.
async fn before<Fut: Future<Output = ()>>(
    begin: DateTime<Utc>,
    test: impl FnOnce(std::sync::Arc<TestApp>, std::sync::Arc<AtomicI64>) -> Fut,
) {
    let (build, clock) = Build::default().with_test_clock(begin.timestamp_millis() - 60_000);
    with_apps(build, async |app| test(app, clock).await).await;
}

/// Moves the clock, slowly enough for what looks at it.
async fn go(app: &TestApp, clock: &AtomicI64, to: DateTime<Utc>) {
    let left = to.timestamp_millis() - clock.load(Ordering::SeqCst);
    app.pass_time(clock, left, 30_000).await;
    assert_eq!(clock.load(Ordering::SeqCst), to.timestamp_millis());
}

/// An event from `begin` to `end`, unless `over` says otherwise.
async fn event(client: &Client, operator: &User, reward: &str, over: Value) -> String {
    let mut body = json!({"startsAt": text(begin()), "endsAt": text(end())});
    over.as_object().unwrap().iter().for_each(|(member, value)| body[member] = value.clone());
    client.event(operator, reward, body).await
}

fn lacks(answer: &Answer, actual: i64) {
    let answer = answer.clone().refused(409, "condition_not_met");
    let progress = &answer.body["progress"];
    assert_eq!((&progress["actual"], &progress["met"]), (&json!(actual), &json!(false)), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_open_from_its_begin_until_its_end() {
    before(begin(), async |app, clock| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(3, 0).await);
        let id = client.reward(&operator, 9, json!({})).await;
        let event = event(&client, &operator, &id, json!({})).await;
        go(&app, &clock, begin() - MILLISECOND).await;
        client.ask(&users[0], &event, &id).await.refused(409, "event_not_open");
        go(&app, &clock, begin()).await;
        client.ask(&users[0], &event, &id).await.expect(201);
        go(&app, &clock, end() - MILLISECOND).await;
        client.ask(&users[1], &event, &id).await.expect(201);
        go(&app, &clock, end()).await;
        client.ask(&users[2], &event, &id).await.refused(409, "event_not_open");
        assert_eq!(client.get_as(&users[2], "/v1/events/open").await.expect(200).body["items"], json!([]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_and_points_count_from_the_begin_and_one_less_is_not_enough() {
    before(begin(), async |app, clock| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(1_000).await);
        let menu = client.menu(&operator, "m", 30).await;
        let order = async || {
            let body = json!({"items": [{"menuId": menu, "quantity": 1}]});
            client.post_as(&user, "/v1/orders", body).await.expect(201);
        };
        let id = client.reward(&operator, 9, json!({})).await;
        let orders = json!({"condition": {"type": "ORDER_COUNT", "count": 2}});
        let orders = event(&client, &operator, &id, orders).await;
        let points = json!({"condition": {"type": "POINTS_SPENT", "amount": 60}});
        let points = event(&client, &operator, &id, points).await;
        go(&app, &clock, begin() - MILLISECOND).await;
        order().await;
        go(&app, &clock, begin()).await;
        lacks(&client.ask(&user, &orders, &id).await, 0);
        order().await;
        lacks(&client.ask(&user, &orders, &id).await, 1);
        lacks(&client.ask(&user, &points, &id).await, 30);
        // Orders are more than one shape of spending: what was charged meanwhile is none.
        client.charge(&user, 1_000, &key()).await.expect(201);
        lacks(&client.ask(&user, &points, &id).await, 30);
        order().await;
        let asked = client.ask(&user, &orders, &id).await.expect(201);
        assert_eq!(
            asked.body["evidence"],
            json!({"type": "ORDER_COUNT", "required": 2, "actual": 2, "met": true})
        );
        client.ask(&user, &points, &id).await.expect(201);
        // A reward's points are not spent; nor do they make another user rich.
        let other = app.user(0).await;
        lacks(&client.ask(&other, &orders, &id).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seats_count_when_they_are_paid_and_by_their_concert() {
    before(begin(), async |app, clock| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(1_000).await);
        let show = json!({"date": "2030-04-01", "price": 10, "seatCount": 9});
        let mut concerts = Vec::new();
        for _ in 0..2 {
            let queue = json!({"admitPerSecond": 1000, "maxActive": 1000, "activeSeconds": 300});
            let body = json!({"title": "c", "queue": queue, "maxSeatsPerUser": 4});
            let made = client.post_as(&operator, "/v1/concerts", body).await.expect(201).text_of("concertId");
            client.post_as(&operator, &format!("/v1/concerts/{made}/shows"), show.clone()).await.expect(201);
            concerts.push(made);
        }
        let id = client.reward(&operator, 9, json!({})).await;
        let of = |condition: Value| json!({"condition": condition});
        let any = event(&client, &operator, &id, of(json!({"type": "TICKETS_BOUGHT", "count": 3}))).await;
        let one = json!({"type": "TICKETS_BOUGHT", "count": 2, "concertId": concerts[0]});
        let one = event(&client, &operator, &id, of(one)).await;
        let spent = event(&client, &operator, &id, of(json!({"type": "POINTS_SPENT", "amount": 30}))).await;
        go(&app, &clock, begin()).await;
        let hold = async |concert: &str, seats: &[u32]| {
            let ticket = client.join(&user, concert).await.text_of("token");
            app.inside(0).tick().await.unwrap();
            let body = json!({"concertId": concert, "date": "2030-04-01", "seatNumbers": seats});
            let held = client.post_inside(&user, &ticket, "/v1/reservations", body, &key()).await.expect(201);
            (ticket, held.text_of("reservationId"))
        };
        let (ticket, held) = hold(&concerts[0], &[1, 2]).await;
        lacks(&client.ask(&user, &one, &id).await, 0);
        client.pay(&user, &ticket, &held, &key()).await.expect(201);
        lacks(&client.ask(&user, &any, &id).await, 2);
        lacks(&client.ask(&user, &spent, &id).await, 20);
        client.ask(&user, &one, &id).await.expect(201);
        let (ticket, held) = hold(&concerts[1], &[1]).await;
        client.pay(&user, &ticket, &held, &key()).await.expect(201);
        client.ask(&user, &any, &id).await.expect(201);
        client.ask(&user, &spent, &id).await.expect(201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coupon_counts_while_it_is_used() {
    before(begin(), async |app, clock| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let campaigns =
            [client.campaign(&operator, 9, json!({})).await, client.campaign(&operator, 9, json!({})).await];
        let id = client.reward(&operator, 9, json!({})).await;
        let condition = json!({"condition": {"type": "COUPON_USED", "campaignId": campaigns[0]}});
        let event = event(&client, &operator, &id, condition).await;
        let claim = async |campaign: &str| client.claim(&user, campaign).await.expect(201).text_of("code");
        let (wanted, other) = (claim(&campaigns[0]).await, claim(&campaigns[1]).await);
        let change = async |method: reqwest::Method, code: &str| {
            client.change_coupon(method, &user, &format!("{code}/use")).await.expect(200);
        };
        // Used a moment too early, and taken back.
        go(&app, &clock, begin() - MILLISECOND).await;
        change(reqwest::Method::PUT, &wanted).await;
        go(&app, &clock, begin()).await;
        change(reqwest::Method::PUT, &other).await;
        lacks(&client.ask(&user, &event, &id).await, 0);
        change(reqwest::Method::DELETE, &wanted).await;
        lacks(&client.ask(&user, &event, &id).await, 0);
        change(reqwest::Method::PUT, &wanted).await;
        client.ask(&user, &event, &id).await.expect(201);
        // Who has it and takes the use back is told that he has it.
        change(reqwest::Method::DELETE, &wanted).await;
        client.ask(&user, &event, &id).await.refused(409, "reward_already_requested");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_of_sign_ins_are_those_of_the_zone_and_of_the_event() {
    let (begin, midnight) = (seoul(2, 23, 58), seoul(3, 0, 0));
    before(begin, async |app, clock| {
        let (client, operator) = (app.client(), app.operator().await);
        let login = json!({"email": "d@example.org", "password": "correct horse"});
        let mut account = login.clone();
        account["name"] = json!("d");
        client.post("/v1/auth/signup", account).await.expect(201);
        let sign_in = async || {
            let session = client.post("/v1/auth/login", login.clone()).await.expect(200);
            let token = session.text_of("accessToken");
            User { id: String::new(), token }
        };
        let id = client.reward(&operator, 9, json!({})).await;
        let body = json!({
            "condition": {"type": "LOGIN_DAYS", "days": 2},
            "startsAt": text(begin), "endsAt": text(midnight + chrono::TimeDelta::minutes(2)),
        });
        let event = event(&client, &operator, &id, body).await;
        // The day of the begin, a moment too early.
        go(&app, &clock, begin - MILLISECOND).await;
        let user = sign_in().await;
        go(&app, &clock, begin).await;
        lacks(&client.ask(&user, &event, &id).await, 0);
        sign_in().await;
        sign_in().await;
        lacks(&client.ask(&user, &event, &id).await, 1);
        go(&app, &clock, midnight - MILLISECOND).await;
        let user = sign_in().await;
        lacks(&client.ask(&user, &event, &id).await, 1);
        // Midnight in Seoul, three in the afternoon in UTC.
        go(&app, &clock, midnight).await;
        lacks(&client.ask(&user, &event, &id).await, 1);
        sign_in().await;
        let open = client.get_as(&user, "/v1/events/open").await.expect(200);
        assert_eq!(open.body["items"][0]["progress"]["actual"], 2);
        client.ask(&user, &event, &id).await.expect(201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_stand_in_one_another() {
    before(begin(), async |app, clock| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(1_000).await);
        let menu = client.menu(&operator, "m", 30).await;
        let id = client.reward(&operator, 9, json!({})).await;
        let orders = json!({"type": "ORDER_COUNT", "count": 1});
        let points = json!({"type": "POINTS_SPENT", "amount": 60});
        let of = |word: &str| json!({"condition": {"type": word, "of": [orders, points]}});
        let all = event(&client, &operator, &id, of("ALL")).await;
        let any = event(&client, &operator, &id, of("ANY")).await;
        let none = json!({"type": "NONE"});
        let none = json!({"type": "ANY", "of": [{"type": "ALL", "of": [points, none]}, none]});
        let none = json!({"condition": none});
        let nested = event(&client, &operator, &id, none).await;
        go(&app, &clock, begin()).await;
        client.ask(&user, &nested, &id).await.expect(201);
        client.ask(&user, &any, &id).await.refused(409, "condition_not_met");
        let body = json!({"items": [{"menuId": menu, "quantity": 1}]});
        client.post_as(&user, "/v1/orders", body.clone()).await.expect(201);
        let asked = client.ask(&user, &any, &id).await.expect(201);
        let parts = &asked.body["evidence"]["of"];
        assert_eq!((&parts[0]["met"], &parts[1]["met"]), (&json!(true), &json!(false)));
        assert_eq!(parts[1]["actual"], 30);
        let refused = client.ask(&user, &all, &id).await.refused(409, "condition_not_met");
        assert_eq!(refused.body["progress"]["of"][1]["actual"], 30);
        client.post_as(&user, "/v1/orders", body).await.expect(201);
        client.ask(&user, &all, &id).await.expect(201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daily_event_gives_again_after_midnight_in_the_zone() {
    let (begin, midnight) = (seoul(2, 23, 58), seoul(3, 0, 0));
    before(begin, async |app, clock| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(2, 0).await);
        let id = client.reward(&operator, 9, json!({})).await;
        let body = json!({"recurrence": "DAILY", "startsAt": text(begin), "endsAt": text(seoul(9, 0, 0))});
        let event = event(&client, &operator, &id, body).await;
        go(&app, &clock, midnight - MILLISECOND).await;
        assert_eq!(client.ask(&users[0], &event, &id).await.expect(201).text_of("period"), "2030-03-02");
        client.ask(&users[0], &event, &id).await.refused(409, "reward_already_requested");
        go(&app, &clock, midnight).await;
        assert_eq!(client.ask(&users[0], &event, &id).await.expect(201).text_of("period"), "2030-03-03");
        client.ask(&users[0], &event, &id).await.refused(409, "reward_already_requested");
        // An instance whose clock is behind: the day is Redis' day.
        clock.store((midnight - chrono::TimeDelta::milliseconds(5)).timestamp_millis(), Ordering::SeqCst);
        assert_eq!(client.ask(&users[1], &event, &id).await.expect(201).text_of("period"), "2030-03-03");
        clock.store(midnight.timestamp_millis(), Ordering::SeqCst);
        client.ask(&users[1], &event, &id).await.refused(409, "reward_already_requested");
        assert_eq!(client.balance(&users[0]).await, 20);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_keeps_the_version_in_which_it_was_made() {
    before(begin(), async |app, clock| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(2, 0).await);
        let id = client.reward(&operator, 9, json!({})).await;
        let manual = event(&client, &operator, &id, json!({"approval": "MANUAL"})).await;
        go(&app, &clock, begin()).await;
        let asked = client.ask(&users[0], &manual, &id).await.expect(201);
        let path = format!("/v1/events/{manual}");
        let mut body = client.get_as(&operator, &path).await.expect(200).body;
        body["condition"] = json!({"type": "ORDER_COUNT", "count": 1});
        client.put_version(&operator, &path, "\"1\"", body).await.expect(200);
        client.ask(&users[1], &manual, &id).await.refused(409, "condition_not_met");
        client.delete_version(&operator, &path, "\"2\"").await.expect(204);
        // He was let in by the version before, and the event's end does not take that away.
        let request = asked.text_of("requestId");
        let approve = client.request(reqwest::Method::PUT, &format!("/v1/reward-requests/{request}/approve"));
        let approved = client.send(approve.bearer_auth(&operator.token)).await.expect(200);
        assert_eq!((approved.int_of("eventVersion"), approved.text_of("status").as_str()), (1, "GRANTED"));
        assert_eq!(approved.body["evidence"], asked.body["evidence"]);
    })
    .await;
}

/// A crowd that comes daily does not fill Redis: what was asked on days that are over is known to Postgres.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_of_days_that_are_over_are_forgotten() {
    with_apps(Build { shards: 1, ..Build::default() }, async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(2, 0).await);
        let id = client.reward(&operator, 9, json!({})).await;
        let daily = client.event(&operator, &id, json!({"recurrence": "DAILY"})).await;
        let over = json!({"recurrence": "DAILY", "approval": "MANUAL"});
        let manual = client.event(&operator, &id, over).await;
        let today = client.ask(&users[0], &daily, &id).await.expect(201).text_of("period");
        let waits = client.ask(&users[1], &manual, &id).await.expect(201).text_of("requestId");
        let part = |part: &str| app.journal_key(0).replace(":journal", &format!(":rewards{part}"));
        let marks = |day: &str| part(&format!(":{id}:marks-{day}"));
        let count = async |day: &str| app.redis_int(&["HLEN", &marks(day)]).await;
        app.inside(0).forget_days().await.unwrap();
        assert_eq!(count(&today).await, 2, "today is not over");
        // As if all of it had been long ago.
        let then = "2020-01-01";
        app.redis(&["RENAME", &marks(&today), &marks(then)]).await;
        app.redis(&["SADD", &part(":days"), &format!("{id}|{then}")]).await;
        let record = "local was = redis.call('HGET', KEYS[1], ARGV[1])
            return redis.call('HSET', KEYS[1], ARGV[1], (string.gsub(was, ARGV[2], ARGV[3])))";
        let open = part(&format!(":{id}:open"));
        app.redis(&["EVAL", record, "1", &open, &waits, &today.replace('-', "%-"), then]).await;
        app.sql("update reward_requests set period = '2020-01-01'").await;
        app.inside(0).forget_days().await.unwrap();
        assert_eq!((count(then).await, app.redis_int(&["SCARD", &part(":days")]).await), (0, 1));
        // Who asked then may ask today; what waits since then is still decided, and leaves no mark behind.
        client.ask(&users[0], &daily, &id).await.expect(201);
        client.decide(&operator, &waits, "approve", Value::Null).await.expect(200);
        assert_eq!((count(then).await, count(&today).await), (0, 1));
        app.settled().await;
        app.lose_redis().await;
        crate::harness::within(std::time::Duration::from_secs(30), "the shard lives again", || async {
            client.ask(&users[0], &daily, &id).await.code() == "reward_already_requested"
        })
        .await;
        assert_eq!((count(then).await, count(&today).await), (0, 1));
    })
    .await;
}
