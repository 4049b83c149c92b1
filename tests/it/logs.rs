//! Logs tell nothing that nobody may know. Every test ends with that search; here it is shown to find.

use serde_json::json;

use crate::harness::{key, secrets, with_app};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_and_no_password_is_logged_and_the_search_would_find_one() {
    with_app(async |app| {
        let client = app.client();
        let (email, password) = ("ann@x.test", "correct horse battery");
        let body = json!({"email": email, "password": password, "name": "Ann"});
        client.post("/v1/auth/signup", body).await.expect(201);
        let session = client.post("/v1/auth/login", json!({"email": email, "password": password})).await;
        let queue = client.queue(&app.operator().await, json!({})).await;
        let user = app.user(10).await;
        let ticket = client.join(&user, &queue).await.text_of("token");
        client.poll(&queue, &ticket).await.expect(200);
        client.charge(&user, 1, &key()).await.expect(201);
        // Wrong ones are secrets as well: a typing error away from the right one.
        client.post("/v1/auth/login", json!({"email": email, "password": "correct mule battery"})).await;
        client.poll(&queue, &format!("{ticket}x")).await.expect(401);
        client.post("/v1/auth/refresh", json!({"refreshToken": format!("{ticket}y")})).await.expect(401);
        let (known, logged) = secrets::seen();
        assert!(known >= 8 && logged > 10_000, "{known} secrets, {logged} bytes of log");
        // The end of every test asserts that none of them was logged. That search, on a log that tells:
        let (refresh, access) = (session.text_of("refreshToken"), session.text_of("accessToken"));
        let claims = access.split('.').nth(1).unwrap();
        for told in [&refresh, &ticket, &access, password, claims] {
            for line in [format!("x {told}."), format!("a|b|{told}|c"), format!("\\n{told}\\n")] {
                assert!(!secrets::found_in(&line).is_empty(), "{line} is not found");
            }
        }
        assert!(secrets::found_in("a line that tells nothing").is_empty());
    })
    .await;
}
