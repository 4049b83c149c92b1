//! Coupons in bulk: batches that survive their makers, lists that are read as they come.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::harness::{Build, Client, TestApp, User, at_once, eventually, key, with_app, with_apps, within};

async fn import_of(client: &Client, operator: &User, id: &str) -> Value {
    client.get_as(operator, &format!("/v1/coupon-imports/{id}")).await.expect(200).body
}

async fn batch_of(client: &Client, operator: &User, id: &str) -> Value {
    client.get_as(operator, &format!("/v1/coupon-batches/{id}")).await.expect(200).body
}

/// Begins a batch.
async fn batch(client: &Client, operator: &User, campaign: &str, count: i64) -> String {
    let path = format!("/v1/coupon-campaigns/{campaign}/batches");
    client.post_as(operator, &path, json!({"count": count})).await.expect(202).text_of("batchId")
}

/// Codes that are certainly not ours, from this number on.
fn list(from: usize, count: usize) -> String {
    (from..from + count).map(|at| format!("SALE-{at:08}\n")).collect()
}

/// A body that comes in pieces, and breaks off where an error stands.
fn pieces(parts: Vec<Result<Bytes, &'static str>>) -> reqwest::Body {
    let parts = parts.into_iter().map(|part| part.map_err(std::io::Error::other));
    let slowly = futures::stream::iter(parts).then(|part| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        part
    });
    reqwest::Body::wrap_stream(slowly)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_makes_its_coupons_in_the_background() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let campaign = client.campaign(&operator, 10, json!({})).await;
        let path = format!("/v1/coupon-campaigns/{campaign}/batches");
        let begun = client.post_with_key(&operator, &path, json!({"count": 250_000}), "k").await.expect(202);
        let again = app.client_of(1).post_with_key(&operator, &path, json!({"count": 250_000}), "k").await;
        assert_eq!((again.header("idempotency-replayed"), &again.body), ("true", &begun.body));
        let id = begun.text_of("batchId");
        within(Duration::from_secs(60), "the batch is made", || async {
            let told = batch_of(&client, &operator, &id).await;
            told == json!({"state": "DONE", "done": 250_000, "count": 250_000})
        })
        .await;
        let codes = client.get_as(&operator, &format!("/v1/coupon-batches/{id}/codes")).await.expect(200);
        assert_eq!(codes.header("content-type"), "text/csv; charset=utf-8");
        let different: BTreeSet<&str> = codes.text.lines().collect();
        assert_eq!((different.len(), codes.text.lines().count()), (250_000, 250_000));
        let one = codes.text.lines().nth(123_456).unwrap();
        let found = client.get_as(&operator, &format!("/v1/coupons/{one}")).await.expect(200);
        assert_eq!((found.text_of("code"), found.text_of("status")), (one.to_owned(), "CREATED".into()));
        // They are beside the quantity, and a claim never gets one of them.
        let counted = client.get(&format!("/v1/coupon-campaigns/{campaign}")).await.expect(200);
        assert_eq!((counted.int_of("claimed"), counted.int_of("remaining")), (0, 10));
        let user = app.user(0).await;
        let claimed = client.claim(&user, &campaign).await.expect(201).text_of("code");
        assert!(!different.contains(claimed.as_str()));
        client.get_as(&operator, &format!("/v1/coupon-batches/{}", key())).await.refused(404, "not_found");
        for count in [0, 10_000_001] {
            client.post_as(&operator, &path, json!({"count": count})).await.refused(400, "invalid_request");
        }
    })
    .await;
}

/// Whoever works on it goes away half-way, several times; each coupon is made once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_maker_goes_away_is_finished_by_another() {
    let app = TestApp::start(Build::default()).await;
    let operator = app.operator().await;
    let campaign = app.client().campaign(&operator, 0, json!({})).await;
    let id = batch(&app.client(), &operator, &campaign, 500_000).await;
    let mut app = app.stop_instances().await;
    for _ in 0..2 {
        app = app.start_instances().await;
        // The lease of who went away is over at once.
        app.sql("update coupon_batches set lease_until = '-infinity'").await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        app = app.stop_instances().await;
    }
    let app = app.start_instances().await;
    app.sql("update coupon_batches set lease_until = '-infinity'").await;
    let client = app.client();
    within(Duration::from_secs(60), "the batch is made", || async {
        batch_of(&client, &operator, &id).await["state"] == "DONE"
    })
    .await;
    assert_eq!(app.count("select count(*) from coupons").await, 500_000);
    assert_eq!(app.count("select count(distinct number) from coupons").await, 500_000);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_imported_with_all_that_is_wrong_about_it() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let campaign = client.campaign(&operator, 5, json!({})).await;
        let ours = client.claim(&user, &campaign).await.expect(201).text_of("code");
        let lines = [
            "\u{feff}code,expiresAt",
            "spring-2030-ILO,2030-01-01T00:00:00+09:00",
            "\"AUTUMN-1\",\"\"",
            "autumn1",
            "=cmd()",
            &ours,
            "",
            "ABCD1234,tomorrow",
            "WINTER1,2030-01-01T00:00:00Z,more",
            "AB",
            "WINTER-2",
        ];
        let body = lines.join("\r\n");
        let id = client.import(&operator, &campaign, body.clone()).await.expect(202).text_of("importId");
        let told = import_of(&client, &operator, &id).await;
        let counts =
            ["rowsRead", "inserted", "duplicate", "invalid"].map(|name| told[name].as_i64().unwrap());
        assert_eq!((told["state"].as_str(), counts), (Some("DONE"), [9, 3, 1, 5]), "{told}");
        let errors: Vec<(i64, &str)> = told["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| (error["line"].as_i64().unwrap(), error["reason"].as_str().unwrap()))
            .collect();
        assert_eq!(errors.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [5, 6, 8, 9, 10], "{errors:?}");
        // Its check symbol may be none that a foreign code can have.
        let ours = ["it could be a code of ours", "a code has letters, digits and hyphens"];
        assert!(ours.contains(&errors[1].1), "{errors:?}");
        // It is shown as it was written, and found however it is written.
        let found = client.get_as(&operator, "/v1/coupons/SPRING-2030-1L0").await.expect(200);
        assert_eq!(found.text_of("code"), "spring-2030-ILO");
        assert_eq!(found.text_of("expiresAt"), "2029-12-31T15:00:00.000Z");
        let found = client.get_as(&operator, "/v1/coupons/winter2").await.expect(200);
        assert_eq!(found.text_of("expiresAt"), "2099-01-01T00:00:00.000Z", "the campaign's");
        assert_eq!(
            (found.text_of("status"), &found.body["campaignId"]),
            ("CREATED".into(), &json!(campaign))
        );
        // Sent again it is the same import, and nothing is done twice.
        let again = client.import(&operator, &campaign, body).await.expect(202);
        assert_eq!((again.text_of("importId"), again.header("idempotency-replayed")), (id.clone(), "true"));
        assert_eq!(import_of(&client, &operator, &id).await, told);
        // Another list with the same rows is another import: all are there.
        let twice = client.import(&operator, &campaign, "WINTER-2\nwinter2\n").await.text_of("importId");
        let told = import_of(&client, &operator, &twice).await;
        assert_eq!((told["inserted"].as_i64(), told["duplicate"].as_i64()), (Some(0), Some(2)));
        let nothing = client.import(&operator, &campaign, "").await.text_of("importId");
        assert_eq!(import_of(&client, &operator, &nothing).await["state"], "DONE");
        client
            .get_as(&operator, &format!("/v1/coupon-imports/{}", key()))
            .await
            .refused(404, "import_not_found");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_list_is_refused() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let campaign = client.campaign(&operator, 5, json!({})).await;
        let path = format!("/v1/coupon-campaigns/{campaign}/imports");
        let json = client.post_as(&operator, &path, json!({"code": "x"})).await;
        json.refused(415, "unsupported_media_type");
        client.import(&operator, &key(), "ABCD1234\n").await.refused(404, "campaign_not_found");
        // Whoever may not is told so, also after sending much.
        client.import(&user, &campaign, list(0, 50_000)).await.refused(403, "forbidden");
        let utf16: Vec<u8> =
            [0xff, 0xfe].into_iter().chain("ABCD1234\n".bytes().flat_map(|b| [b, 0])).collect();
        client.import(&operator, &campaign, utf16).await.refused(400, "invalid_request");
        assert_eq!(app.count("select count(*) from coupons").await, 0);
        // A line without an end is one row that is too long.
        let long: Vec<Result<Bytes, _>> = (0..512).map(|_| Ok(Bytes::from(vec![b'A'; 65_536]))).collect();
        let id = client.import(&operator, &campaign, pieces(long)).await.expect(202).text_of("importId");
        let told = import_of(&client, &operator, &id).await;
        assert_eq!((told["rowsRead"].as_i64(), told["invalid"].as_i64()), (Some(1), Some(1)));
        // The first thousand mistakes are kept.
        let wrong = "no code!\n".repeat(1_500);
        let id = client.import(&operator, &campaign, wrong).await.text_of("importId");
        let told = import_of(&client, &operator, &id).await;
        assert_eq!(
            (told["invalid"].as_i64(), told["errors"].as_array().unwrap().len()),
            (Some(1_500), 1_000)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_was_cut_off_goes_on_where_it_was() {
    with_app(async |app| {
        let (client, operator) = (app.client(), app.operator().await);
        let campaign = client.campaign(&operator, 5, json!({})).await;
        let whole = list(0, 70_000);
        let path = format!("/v1/coupon-campaigns/{campaign}/imports");
        let send = async |body: reqwest::Body| {
            let request = client.request(reqwest::Method::POST, &path).bearer_auth(&operator.token);
            let request = request.header("Content-Type", "text/csv").header("Idempotency-Key", "list");
            request.body(body).send().await
        };
        let half = Bytes::copy_from_slice(&whole.as_bytes()[..whole.len() / 4 * 3]);
        let cut = send(pieces(vec![Ok(half), Err("the line is dead")])).await;
        assert!(cut.is_err() || cut.unwrap().status() == 400);
        let first = "select coalesce(max(rows_read), -1) from coupon_imports where state = 'FAILED'";
        eventually("it has failed", || async { app.count(first).await == 40_000 }).await;
        assert_eq!(app.count("select count(*) from coupons").await, 40_000);
        // Other rows cannot go on with it.
        let other = send(list(1, 70_000).into()).await.unwrap();
        assert_eq!(other.status(), 422);
        assert_eq!(app.count("select count(*) from coupons").await, 40_000);
        // Nor do fewer rows end it.
        let few = send(list(0, 10).into()).await.unwrap();
        assert_eq!(few.status(), 422);
        assert_eq!(app.count("select count(*) from coupon_imports where state = 'DONE'").await, 0);
        let id: Value = send(whole.clone().into()).await.unwrap().json().await.unwrap();
        let told = import_of(&client, &operator, id["importId"].as_str().unwrap()).await;
        let expected = json!({
            "state": "DONE", "rowsRead": 70_000, "inserted": 70_000, "duplicate": 0, "invalid": 0,
            "errors": [],
        });
        assert_eq!(told, expected);
        assert_eq!(app.count("select count(*) from coupons").await, 70_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_list_sent_twice_at_once_is_read_once() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let operator = app.operator().await;
        let campaign = app.client().campaign(&operator, 5, json!({})).await;
        let jobs = (0..6).map(|at| {
            let (client, operator, campaign) = (app.client_of(at % 2), operator.clone(), campaign.clone());
            async move { client.import(&operator, &campaign, list(0, 60_000)).await }
        });
        let answers = at_once(jobs.collect::<Vec<_>>()).await;
        for answer in &answers {
            assert!(answer.status == 202 || answer.code() == "idempotency_in_progress", "{}", answer.text);
        }
        assert_eq!(app.count("select count(*) from coupons").await, 60_000);
        assert_eq!(app.count("select sum(inserted)::bigint from coupon_imports").await, 60_000);
        assert_eq!(app.count("select sum(duplicate)::bigint from coupon_imports").await, 0);
    })
    .await;
}
