//! Coupons and the command line: lists that are imported through kills, keys that change.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Program, TestApp, User, eventually, onrush, program_settings, with_app};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_killed_half_way_goes_on_and_is_exact() {
    with_app(async |app| {
        let campaign = app.client().campaign(&app.operator().await, 0, json!({})).await;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let list: String = (0..400_000).map(|at| format!("SALE-{at:08}\n")).collect();
        file.write_all(list.as_bytes()).unwrap();
        file.write_all(b"SALE-00000007\nno code!\n").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let args = ["import", "coupons", &path, "--campaign", &campaign];
        let rows = "select coalesce(max(rows_read), 0) from coupon_imports";
        for kill in 1..=3 {
            let mut command = Program::command(&args);
            program_settings(&mut command, &app).stderr(Stdio::null());
            let program = Program::spawn(command);
            eventually("some rows are stored", || async { app.count(rows).await >= kill * 60_000 }).await;
            program.kill();
            // Until then another run could only be told that one is under way.
            app.sql("update coupon_imports set lease_until = '-infinity'").await;
        }
        let before = app.count(rows).await;
        assert!(before < 400_002, "it was killed too late: {before}");
        let (success, told) = onrush(&app, &args);
        assert!(!success, "a row could not be read: {told}");
        assert!(told.contains("400002 rows read, 400000 inserted, 1 duplicate, 1 invalid"), "{told}");
        assert!(told.contains("line 400002: a code has letters, digits and hyphens"), "{told}");
        assert_eq!(app.count("select count(*) from coupons").await, 400_000);
        let (_, again) = onrush(&app, &args);
        assert_eq!(again, told, "nothing is left to be done");
        let nowhere = uuid::Uuid::new_v4().to_string();
        let (success, told) = onrush(&app, &["import", "coupons", &path, "--campaign", &nowhere]);
        assert!(!success && told.contains("there is no campaign"), "{told}");
        app.sql("truncate coupons").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_new_key_old_codes_stay_good() {
    with_app(async |app| {
        let (client, operator, users) = (app.client(), app.operator().await, app.users(40, 0).await);
        let campaign = client.campaign(&operator, 100, json!({})).await;
        let claim = async |user: &User| client.claim_with_key(user, &campaign, "k").await.expect(201);
        let first = claim(&users[0]).await;
        let (success, told) = onrush(&app, &["keys", "rotate-coupons"]);
        assert!(success && told.starts_with("key 2 makes"), "{told}");
        let made_by = "select coalesce(max(key_version), 0)::bigint from coupon_claims";
        for user in &users[1..] {
            tokio::time::sleep(Duration::from_millis(100)).await;
            claim(user).await;
            if app.count(made_by).await == 2 {
                break;
            }
        }
        assert_eq!(app.count(made_by).await, 2, "the new key is used");
        let again = claim(&users[0]).await;
        assert_eq!((again.header("idempotency-replayed"), &again.body), ("true", &first.body));
        let path = format!("/v1/coupons/{}", first.text_of("code"));
        client.get_as(&users[0], &path).await.expect(200);
        // Another instance, which starts with both, tells the same; and a list may hold none of either.
        let second = claim(&users[1]).await;
        let list = format!("{}\n{}\n", first.text_of("code"), second.text_of("code"));
        let id = client.import(&operator, &campaign, list).await.expect(202).text_of("importId");
        let told = client.get_as(&operator, &format!("/v1/coupon-imports/{id}")).await.expect(200);
        assert_eq!((told.int_of("invalid"), told.int_of("inserted")), (2, 0));
    })
    .await;
}

/// Claims after the backup come back from Redis, with their codes, and the next ones follow them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_who_believes_redis_keeps_campaigns_and_claims() {
    let app = TestApp::start(crate::harness::Build::default()).await;
    let (client, operator, users) = (app.client(), app.operator().await, app.users(5, 0).await);
    let old = client.campaign(&operator, 3, json!({"perUser": 2})).await;
    client.claim(&users[0], &old).await.expect(201);
    crate::backup::take(&app).await;
    let second = client.claim(&users[0], &old).await.expect(201);
    let new = client.campaign(&operator, 2, json!({})).await;
    let third = client.claim_with_key(&users[1], &new, "k").await.expect(201);
    let app = crate::backup::put_back_and_believe_redis(app).await;
    let client = app.client();
    for (user, claimed) in [(&users[0], &second), (&users[1], &third)] {
        let path = format!("/v1/coupons/{}", claimed.text_of("code"));
        assert_eq!(client.get_as(user, &path).await.expect(200).text_of("code"), claimed.text_of("code"));
    }
    let again = client.claim_with_key(&users[1], &new, "k").await.expect(201);
    assert_eq!((again.header("idempotency-replayed"), &again.body), ("true", &third.body));
    client.claim(&users[0], &old).await.refused(409, "coupon_already_claimed");
    assert_eq!(client.claim(&users[2], &old).await.expect(201).int_of("rank"), 3);
    assert_eq!(client.claim(&users[2], &new).await.expect(201).int_of("rank"), 2);
    // A campaign that is made now gets an ordinal of its own.
    let next = client.campaign(&operator, 1, json!({})).await;
    client.claim(&users[3], &next).await.expect(201);
    app.finish().await;
}
