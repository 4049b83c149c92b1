//! Sessions: logout, changed roles, signing keys that are others now, and tokens that somebody forged.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use onrush::Role;
use serde_json::{Value, json};

use crate::harness::{
    Answer, Build, Client, Program, TestApp, User, at_once, eventually, key, program_settings, with_app,
    with_apps,
};

/// A user who signed up and in: himself, and his refresh token.
async fn signed_in(client: &Client, name: &str) -> (User, String) {
    let body = json!({"email": format!("{name}@example.org"), "password": "correct horse", "name": name});
    let id = client.post("/v1/auth/signup", body.clone()).await.expect(201).text_of("userId");
    let session = client.post("/v1/auth/login", body).await.expect(200);
    (User { id, token: session.text_of("accessToken") }, session.text_of("refreshToken"))
}

async fn is_in(client: &Client, user: &User) -> bool {
    client.get_as(user, "/v1/auth/me").await.status == 200
}

async fn log_out(client: &Client, user: &User) -> Answer {
    client.send(client.request(reqwest::Method::POST, "/v1/auth/logout").bearer_auth(&user.token)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_holds_here_at_once_and_elsewhere_within_a_second() {
    let app = TestApp::start(Build { instances: 2, ..Build::default() }).await;
    let clients = [app.client_of(0), app.client_of(1)];
    let (ann, refresh) = signed_in(&clients[0], "ann").await;
    let login = json!({"email": "ann@example.org", "password": "correct horse"});
    let other = clients[0].post("/v1/auth/login", login).await.expect(200).text_of("accessToken");
    let other = User { token: other, ..ann.clone() };
    assert!(is_in(&clients[1], &ann).await);
    log_out(&clients[0], &ann).await.expect(204);
    clients[0].get_as(&ann, "/v1/auth/me").await.refused(401, "unauthenticated");
    log_out(&clients[0], &ann).await.refused(401, "unauthenticated");
    let started = std::time::Instant::now();
    eventually("the other instance knows", || async { !is_in(&clients[1], &ann).await }).await;
    println!("elsewhere after {:?}", started.elapsed());
    let body = json!({"refreshToken": refresh});
    clients[1].post("/v1/auth/refresh", body).await.refused(401, "refresh_token_invalid");
    assert!(is_in(&clients[0], &other).await, "another sign-in of the same user goes on");
    // A restart forgets nothing.
    let app = app.stop_instances().await.start_instances().await;
    let client = app.client();
    assert!(!is_in(&client, &ann).await);
    assert!(is_in(&client, &other).await, "the key that signed it is known");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_role_holds_for_tokens_that_are_out() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let clients = [app.client_of(0), app.client_of(1)];
        let (admin, operator) = (app.account(Role::Admin).await, app.operator().await);
        let (ann, _) = signed_in(&clients[0], "ann").await;
        let path = format!("/v1/users/{}/role", ann.id);
        let to = |role: &str| json!({ "role": role });
        clients[0].put_as(&ann, &path, to("ADMIN")).await.refused(403, "forbidden");
        clients[0].put_as(&operator, &path, to("ADMIN")).await.refused(403, "forbidden");
        clients[0].put_as(&admin, &path, to("KING")).await.refused(400, "invalid_request");
        let nobody = format!("/v1/users/{}/role", key());
        clients[0].put_as(&admin, &nobody, to("USER")).await.refused(404, "user_not_found");
        let changed = clients[0].put_as(&admin, &path, to("OPERATOR")).await.expect(200);
        assert_eq!(changed.body["role"], "OPERATOR");
        clients[0].get_as(&ann, "/v1/users").await.expect(200);
        eventually("elsewhere too", || async { clients[1].get_as(&ann, "/v1/users").await.status == 200 })
            .await;
        clients[1].put_as(&admin, &path, to("USER")).await.expect(200);
        clients[1].get_as(&ann, "/v1/users").await.refused(403, "forbidden");
        eventually("and back", || async { clients[0].get_as(&ann, "/v1/users").await.status == 403 }).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refresh_token_used_a_hundred_times_at_once_has_one_successor() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let (ann, refresh) = signed_in(&app.client(), "ann").await;
        let uses = (0..100).map(|at| {
            let (client, body) = (app.client_of(at % 2), json!({"refreshToken": refresh}));
            async move { client.post("/v1/auth/refresh", body).await.expect(200).text_of("refreshToken") }
        });
        let successors = at_once(uses).await;
        assert!(successors.iter().all(|token| *token == successors[0]));
        let client = app.client();
        let second = json!({"refreshToken": successors[0]});
        let session = client.post("/v1/auth/refresh", second).await.expect(200);
        // A thief comes with the first: the family ends, and with it the access tokens that are out.
        let stolen = json!({"refreshToken": refresh});
        client.post("/v1/auth/refresh", stolen).await.refused(401, "refresh_token_reused");
        let out = User { token: session.text_of("accessToken"), ..ann };
        client.get_as(&out, "/v1/auth/me").await.refused(401, "unauthenticated");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_and_nobody_is_logged_out() {
    with_apps(Build { instances: 2, ..Build::default() }, async |app| {
        let clients = [app.client_of(0), app.client_of(1)];
        let (ann, refresh) = signed_in(&clients[0], "ann").await;
        let rotate = |more: &[&str]| {
            let mut command = Program::command(&[&["keys", "rotate"], more].concat());
            let told = program_settings(&mut command, &app).output().unwrap();
            assert!(told.status.success(), "{told:?}");
            String::from_utf8(told.stdout).unwrap().split(' ').next().unwrap().to_owned()
        };
        let kid = rotate(&[]);
        eventually("both sign with the new key", || async {
            let mut both = true;
            for client in &clients {
                let login = json!({"email": "ann@example.org", "password": "correct horse"});
                let token = client.post("/v1/auth/login", login).await.expect(200).text_of("accessToken");
                both &= decode_header(&token).unwrap().kid.as_deref() == Some(kid.as_str());
            }
            both
        })
        .await;
        assert!(is_in(&clients[0], &ann).await && is_in(&clients[1], &ann).await);
        // Others can verify, with what is published, tokens of both keys.
        let keys = clients[1].get("/.well-known/jwks.json").await.expect(200).body["keys"].clone();
        let named = |kid: &str| keys.as_array().unwrap().iter().find(|key| key["kid"] == kid).cloned();
        let old = named(&decode_header(&ann.token).unwrap().kid.unwrap()).expect("the old key is published");
        let verifier = DecodingKey::from_ed_components(old["x"].as_str().unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&["onrush"]);
        let claims = decode::<Value>(&ann.token, &verifier, &validation).unwrap().claims;
        assert_eq!(claims["sub"], json!(ann.id));
        assert!(named(&kid).is_some());
        // A stolen key is dropped: what it signed is good no more, and a refresh helps.
        rotate(&["--drop-old"]);
        for client in &clients {
            eventually("the old token is refused", || async { !is_in(client, &ann).await }).await;
        }
        let session = clients[0].post("/v1/auth/refresh", json!({"refreshToken": refresh})).await.expect(200);
        assert!(is_in(&clients[1], &User { token: session.text_of("accessToken"), ..ann }).await);
    })
    .await;
}

/// Whatever a token says of its algorithm, its type or its key, only a key of ours that it names counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_tokens_are_nobodys() {
    with_app(async |app| {
        let client = app.client();
        let (ann, refresh) = signed_in(&client, "ann").await;
        let parts: Vec<&str> = ann.token.split('.').collect();
        let read =
            |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
        let (header, claims) = (read(parts[0]), read(parts[1]));
        assert_eq!((&header["alg"], &header["typ"]), (&json!("EdDSA"), &json!("at+jwt")));
        assert!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() == 600, "ten minutes");
        let keys = client.get("/.well-known/jwks.json").await.expect(200).body;
        let public = URL_SAFE_NO_PAD.decode(keys["keys"][0]["x"].as_str().unwrap()).unwrap();
        let kid = header["kid"].as_str().unwrap();
        // Somebody else's key.
        let rng = aws_lc_rs::rand::SystemRandom::new();
        let own = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&rng).unwrap();
        let own = EncodingKey::from_ed_der(own.as_ref());
        let named = |alg| Header { typ: Some("at+jwt".into()), kid: Some(kid.into()), ..Header::new(alg) };
        let secret = "tests sign with this and nobody else does";
        let with = |change: &dyn Fn(&mut Value)| {
            let mut header = header.clone();
            change(&mut header);
            let header = URL_SAFE_NO_PAD.encode(header.to_string());
            format!("{header}.{}.{}", parts[1], parts[2])
        };
        let none = URL_SAFE_NO_PAD.encode(json!({"alg": "none", "typ": "at+jwt", "kid": kid}).to_string());
        let forged = [
            ("no signature", format!("{none}.{}.", parts[1])),
            ("the public key as a secret", {
                encode(&named(Algorithm::HS256), &claims, &EncodingKey::from_secret(&public)).unwrap()
            }),
            ("the service's secret", {
                encode(&named(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret.as_bytes()))
                    .unwrap()
            }),
            ("another's key under our name", encode(&named(Algorithm::EdDSA), &claims, &own).unwrap()),
            ("another's key under his name", {
                let header = Header { kid: Some("mine".into()), ..named(Algorithm::EdDSA) };
                encode(&header, &claims, &own).unwrap()
            }),
            ("a key that it brings along by URL", {
                let header = Header { jku: Some("https://x.invalid/jwks".into()), ..named(Algorithm::EdDSA) };
                encode(&header, &claims, &own).unwrap()
            }),
            ("a certificate by URL", {
                let header = Header { x5u: Some("https://x.invalid/c".into()), ..named(Algorithm::EdDSA) };
                encode(&header, &claims, &own).unwrap()
            }),
            ("no key's name", {
                encode(&Header { kid: None, ..named(Algorithm::EdDSA) }, &claims, &own).unwrap()
            }),
            ("another type", with(&|header| header["typ"] = json!("JWT"))),
            ("our signature with a URL added", with(&|header| header["jku"] = json!("https://x.invalid"))),
            ("another role", {
                let mut admin = claims.clone();
                admin["role"] = json!("ADMIN");
                let admin = URL_SAFE_NO_PAD.encode(admin.to_string());
                format!("{}.{admin}.{}", parts[0], parts[2])
            }),
            ("a refresh token", refresh),
            ("five parts", format!("{0}.{0}.{0}.{0}.{0}", parts[0])),
        ];
        for (what, token) in forged {
            let forged = User { token, ..ann.clone() };
            assert!(!is_in(&client, &forged).await, "{what} is believed");
        }
        assert!(is_in(&client, &ann).await);
    })
    .await;
}
