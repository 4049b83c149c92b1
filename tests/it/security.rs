//! What SECURITY.md says and no other test shows.

use reqwest::Method;

use crate::harness::{document, with_app};

/// Delivery asks the addresses of its configuration; nothing else asks anybody.
#[test]
fn nothing_asks_an_address_that_a_client_named() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let built = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let names: Vec<&str> = built.lines().filter_map(|line| line.split_once(" = ")).map(|(n, _)| n).collect();
    assert!(names.contains(&"axum"), "{names:?}");
    for client in ["ureq", "curl", "isahc", "attohttpc", "awc", "surf"] {
        assert!(!names.contains(&client), "{client} can ask other servers");
    }
    // hyper and its helpers serve; asking is a feature of theirs.
    let lines = built.lines().filter(|line| line.starts_with("hyper") || line.starts_with("tower"));
    lines.for_each(|line| assert!(!line.contains("\"client"), "{line}"));
}

/// Neither a browser's guess nor another site's frame; and no answer with somebody's data is kept by a proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_taken_for_what_it_is_not() {
    with_app(async |app| {
        let (client, user) = (app.client(), app.user(1).await);
        for path in document()["paths"].as_object().unwrap().keys().filter(|path| !path.contains('{')) {
            let answer = client.request(Method::GET, path).bearer_auth(&user.token).send().await.unwrap();
            let headers = answer.headers();
            assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
            assert_eq!(headers["content-security-policy"], "frame-ancestors 'none'", "{path}");
        }
        let nowhere = client.get("/v1/nowhere").await.refused(404, "not_found");
        assert_eq!(nowhere.header("x-content-type-options"), "nosniff");
        for path in ["/v1/auth/me".to_owned(), format!("/v1/users/{}/points", user.id)] {
            let answer = client.get_as(&user, &path).await.expect(200);
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        }
    })
    .await;
}
