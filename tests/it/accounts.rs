//! Accounts: sign-up, sign-in, refresh, and tokens that are not good.

use onrush::Role;
use serde_json::json;

use crate::harness::{User, at_once, with_app};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_up_signs_in_and_is_a_user() {
    with_app(async |app| {
        let client = app.client();
        let body =
            json!({"email": "Ann@Example.org", "password": "correct horse", "name": "Ann", "role": "ADMIN"});
        let made = client.post("/v1/auth/signup", body.clone()).await.expect(201);
        assert_eq!(
            (made.text_of("role").as_str(), made.text_of("email").as_str()),
            ("USER", "Ann@Example.org")
        );
        assert!(made.body.get("password").is_none());
        client.post("/v1/auth/signup", body).await.refused(409, "email_taken");
        let again = json!({"email": "ann@example.ORG", "password": "another one", "name": "Ann"});
        client.post("/v1/auth/signup", again).await.refused(409, "email_taken");
        let login = json!({"email": "ANN@example.org", "password": "correct horse"});
        let session = client.post("/v1/auth/login", login).await.expect(200);
        assert_eq!(session.body["tokenType"], "Bearer");
        let user = User { id: made.text_of("userId"), token: session.text_of("accessToken") };
        assert_eq!(client.get_as(&user, "/v1/auth/me").await.expect(200).body, made.body);
        for (email, password) in [("ann@example.org", "wrong horse"), ("nobody@example.org", "correct horse")]
        {
            let login = json!({"email": email, "password": password});
            client.post("/v1/auth/login", login).await.refused(401, "credentials_invalid");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_email_signed_up_at_once_is_one_account() {
    with_app(async |app| {
        let client = app.client();
        let signups = (0..20).map(|_| {
            let client = client.clone();
            let body = json!({"email": "one@example.org", "password": "correct horse", "name": "One"});
            async move { client.post("/v1/auth/signup", body).await.status }
        });
        let statuses = at_once(signups).await;
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1);
        assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 19);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signup_with_a_key_may_be_sent_again() {
    with_app(async |app| {
        let client = app.client();
        let signup = |password: &str| {
            let body = json!({"email": "k@example.org", "password": password, "name": "K"});
            let request = client.request(reqwest::Method::POST, "/v1/auth/signup").json(&body);
            client.send(request.header("Idempotency-Key", "k1"))
        };
        let first = signup("correct horse").await.expect(201);
        let again = signup("correct horse").await.expect(201);
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(first.body, again.body);
        signup("another horse").await.refused(422, "idempotency_key_reused");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_has_eight_to_seventy_two_bytes() {
    with_app(async |app| {
        let client = app.client();
        let signup = |at: usize, password: String| {
            let body = json!({"email": format!("p{at}@example.org"), "password": password, "name": "P"});
            client.post("/v1/auth/signup", body)
        };
        for (at, password) in ["short".to_owned(), "x".repeat(73), "비".repeat(25)].into_iter().enumerate() {
            let refused = signup(at, password).await.refused(400, "invalid_request");
            assert_eq!(refused.body["errors"][0]["field"], "password");
        }
        for (at, password) in ["x".repeat(72), "비".repeat(24), "비밀번".into()].into_iter().enumerate() {
            signup(10 + at, password.clone()).await.expect(201);
            let login = json!({"email": format!("p{}@example.org", 10 + at), "password": password});
            client.post("/v1/auth/login", login).await.expect(200);
        }
        // Nothing is cut off: one byte more is another password.
        let login = json!({"email": "p10@example.org", "password": "x".repeat(73)});
        client.post("/v1/auth/login", login).await.refused(401, "credentials_invalid");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_is_spent_for_one_successor() {
    with_app(async |app| {
        let client = app.client();
        let account = json!({"email": "r@example.org", "password": "correct horse", "name": "R"});
        client.post("/v1/auth/signup", account).await.expect(201);
        let login = json!({"email": "r@example.org", "password": "correct horse"});
        let first = client.post("/v1/auth/login", login).await.expect(200).text_of("refreshToken");
        let refresh = |token: &str| client.post("/v1/auth/refresh", json!({"refreshToken": token}));
        let uses = (0..20).map(|_| {
            let (client, body) = (client.clone(), json!({"refreshToken": first}));
            async move { client.post("/v1/auth/refresh", body).await.expect(200).text_of("refreshToken") }
        });
        let successors = at_once(uses).await;
        assert!(successors.iter().all(|token| *token == successors[0]), "two tabs get the same successor");
        let third = refresh(&successors[0]).await.expect(200).text_of("refreshToken");
        // Two generations old: somebody else has it.
        refresh(&first).await.refused(401, "refresh_token_reused");
        refresh(&third).await.refused(401, "refresh_token_invalid");
        for wrong in ["", "x", &format!("{third}A")] {
            refresh(wrong).await.refused(401, "refresh_token_invalid");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bearer_that_is_not_good_is_nobody() {
    with_app(async |app| {
        let (client, user) = (app.client(), app.user(0).await);
        let path = "/v1/auth/me";
        let bare = client.get(path).await.refused(401, "unauthenticated");
        assert_eq!(bare.header("www-authenticate"), "Bearer");
        let last = if user.token.ends_with('A') { 'B' } else { 'A' };
        let forged = format!("{}{last}", &user.token[..user.token.len() - 1]);
        let tokens =
            ["Bearer", "Bearer ", "Bearer x", "Basic eDp5", &format!("Bearer {forged}"), &user.token];
        for header in tokens {
            let request = client.request(reqwest::Method::GET, path).header("Authorization", header);
            client.send(request).await.refused(401, "unauthenticated");
        }
        let (id, session) = (onrush::ids::UserId::mint(), uuid::Uuid::nil());
        let who = onrush::Identity { user: id, role: Role::User, session };
        let other = app.inside(0).tokens.issue(who, 0, chrono::Duration::hours(1));
        let expired = User { token: other.unwrap().0, ..user.clone() };
        client.get_as(&expired, path).await.refused(401, "unauthenticated");
        client.get_as(&user, path).await.expect(200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_operators_list_accounts_page_by_page() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        app.users(120, 0).await;
        client.get_as(&user, "/v1/users").await.refused(403, "forbidden");
        let (mut seen, mut cursor) = (std::collections::BTreeSet::new(), String::new());
        loop {
            let page =
                client.get_as(&operator, &format!("/v1/users?limit=50&cursor={cursor}")).await.expect(200);
            let items = page.body["items"].as_array().unwrap().clone();
            assert!(items.len() <= 50);
            for item in items {
                assert!(
                    seen.insert(item["userId"].as_str().unwrap().to_owned()),
                    "an account is listed twice"
                );
            }
            match page.body["nextCursor"].as_str() {
                Some(next) => cursor = next.into(),
                None => break,
            }
        }
        assert_eq!(seen.len(), 122);
        for wrong in ["limit=0", "limit=101", "limit=x", "cursor=%2a"] {
            client.get_as(&operator, &format!("/v1/users?{wrong}")).await.refused(400, "invalid_request");
        }
    })
    .await;
}
