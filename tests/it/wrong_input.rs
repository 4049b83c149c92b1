//! Wrong input on every route of the document: the contract's problem each time, never a 500, and nothing
//! changes.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, TestApp, User, document, good_body, key, with_app};

/// A route of the document.
struct Route {
    method: Method,
    path: String,
    operation: &'static Value,
}

fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase().parse().unwrap();
            routes.push(Route { method, path: path.clone(), operation });
        }
    }
    assert!(routes.len() > 30, "the document lists the routes");
    routes
}

impl Route {
    /// The path with ids that exist nowhere; the caller's own where the path names a user.
    fn url(&self, caller: &User, unknown: &str) -> String {
        let path = self.path.replace("{userId}", &caller.id);
        let parts = path.split('/').map(|part| if part.starts_with('{') { unknown } else { part });
        parts.collect::<Vec<_>>().join("/")
    }

    fn needs_bearer(&self) -> bool {
        self.operation["security"].as_array().unwrap().iter().any(|scheme| !scheme["bearer"].is_null())
    }

    fn needs_ticket(&self) -> bool {
        self.operation["security"].as_array().unwrap().iter().any(|scheme| !scheme["queueToken"].is_null())
    }

    /// The body's schema, where it takes one.
    fn schema(&self) -> Option<&'static Value> {
        let reference =
            self.operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str()?;
        Some(&document()["components"]["schemas"][reference.rsplit('/').next()?])
    }

    async fn send(&self, client: &Client, caller: &User, body: Option<String>, kind: &str) -> Answer {
        let url = self.url(caller, &uuid::Uuid::new_v4().to_string());
        let mut request = client.request(self.method.clone(), &url).bearer_auth(&caller.token);
        request = request.header("Idempotency-Key", key());
        if let Some(body) = body {
            request = request.header("Content-Type", kind).body(body);
        }
        client.send(request).await
    }
}

/// The properties of a schema with what its parts add.
fn properties(schema: &Value) -> Vec<String> {
    let own = schema["properties"].as_object().into_iter().flat_map(|all| all.keys().cloned());
    let parts = schema["allOf"].as_array().into_iter().flatten().flat_map(|part| {
        let named = part["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
        properties(named.map_or(part, |name| &document()["components"]["schemas"][name]))
    });
    own.chain(parts).collect()
}

async fn admin(app: &TestApp) -> User {
    app.account(onrush::Role::Admin).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_that_a_path_does_not_have_is_405_and_says_which_it_has() {
    with_app(async |app| {
        let (client, admin) = (app.client(), admin(&app).await);
        for route in routes() {
            let known = document()["paths"][&route.path].as_object().unwrap();
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
                if known.contains_key(&method.to_lowercase()) {
                    continue;
                }
                let url = route.url(&admin, &uuid::Uuid::new_v4().to_string());
                let request = client.request(method.parse().unwrap(), &url).bearer_auth(&admin.token);
                let answer = client.send(request).await.refused(405, "method_not_allowed");
                let allowed = answer.header("allow").to_owned();
                assert!(
                    known.keys().all(|method| allowed.contains(&method.to_uppercase())),
                    "{url}: {allowed}"
                );
            }
        }
        client.get("/v1/nothing").await.refused(404, "not_found");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_and_garbage_are_401_before_anything_else() {
    with_app(async |app| {
        let client = app.client();
        for route in routes() {
            let url = route.url(&User::default(), &uuid::Uuid::new_v4().to_string());
            for token in ["", "x", "eyJhbGciOiJub25lIn0.e30."] {
                let mut request = client.request(route.method.clone(), &url).body("{").bearer_auth(token);
                request = request.header("Queue-Token", "x").header("Content-Type", "text/plain");
                let answer = client.send(request).await;
                match (route.needs_bearer(), route.needs_ticket()) {
                    (true, _) => drop(answer.refused(401, "unauthenticated")),
                    (false, true) => drop(answer.refused(401, "queue_token_invalid")),
                    (false, false) => {
                        assert!(answer.status < 500 || route.path == "/readyz", "{}", answer.text)
                    }
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_are_nobodys_or_no_ids_are_404() {
    with_app(async |app| {
        let (client, admin) = (app.client(), admin(&app).await);
        let with_ids =
            routes().into_iter().filter(|route| route.path.contains("Id}") && !route.needs_ticket());
        for route in with_ids {
            for unknown in
                [&uuid::Uuid::new_v4().to_string(), "x", "%00", "00000000000000000000000000000000", "-1"]
            {
                let nobody = User { id: unknown.to_owned(), ..admin.clone() };
                let url = route.url(&nobody, unknown);
                let mut request = client.request(route.method.clone(), &url).bearer_auth(&admin.token);
                if route.schema().is_some() {
                    request = request.json(&good_body(&route.path));
                } else if !route.operation["requestBody"].is_null() {
                    request = request.header("Content-Type", "text/csv");
                }
                let answer = client.send(request.header("Idempotency-Key", key())).await;
                assert_eq!(answer.status, 404, "{} {url}: {}", route.method, answer.text);
                assert!(answer.code().ends_with("not_found"), "{} {url}: {}", route.method, answer.text);
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_no_json_or_too_large_is_told_so() {
    with_app(async |app| {
        let (client, admin) = (app.client(), admin(&app).await);
        for route in routes().into_iter().filter(|route| route.schema().is_some()) {
            let good = good_body(&route.path).to_string();
            for wrong in
                ["", "{", "nonsense", "[]", "null", "\"x\"", "{\"a\":1}x", "\u{feff}{}", &"[".repeat(5_000)]
            {
                let answer = route.send(&client, &admin, Some(wrong.into()), "application/json").await;
                answer.refused(400, "invalid_request");
            }
            for kind in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"] {
                let answer = route.send(&client, &admin, Some(good.clone()), kind).await;
                answer.refused(415, "unsupported_media_type");
            }
            let bare = route.send(&client, &admin, None, "").await;
            bare.refused(415, "unsupported_media_type");
            let large = format!("{{\"x\":\"{}\"}}", "y".repeat(70_000));
            let answer = route.send(&client, &admin, Some(large), "application/json").await;
            answer.refused(413, "body_too_large");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_of_every_body_refuses_what_it_is_not() {
    with_app(async |app| {
        let (client, admin) = (app.client(), admin(&app).await);
        for route in routes() {
            let Some(schema) = route.schema() else { continue };
            for member in properties(schema) {
                let mut refused = 0;
                let wrongs = [
                    json!({"x": {}}),
                    json!([[]]),
                    json!(true),
                    json!("\u{0}"),
                    json!(-1),
                    json!(1e300),
                    json!(9_223_372_036_854_775_807_i64),
                    json!(18_446_744_073_709_551_615_u64),
                    json!(0.5),
                    json!("2026-02-30"),
                    json!("26-1-1"),
                    json!("x".repeat(5_000)),
                    Value::Null,
                ];
                for wrong in wrongs {
                    let mut body = good_body(&route.path);
                    let shown = wrong.to_string().chars().take(40).collect::<String>();
                    body[&member] = wrong;
                    let answer =
                        route.send(&client, &admin, Some(body.to_string()), "application/json").await;
                    assert!(answer.status < 500, "{} {member}={shown}: {}", route.path, answer.text);
                    if answer.code() == "invalid_request" {
                        refused += 1;
                        let field = answer.body["errors"][0]["field"].as_str().unwrap_or_default();
                        // Where two members exclude each other, either may be named.
                        let named = field.contains(&member) || member.starts_with("seatNumber");
                        assert!(named, "{} {member}={shown}: {}", route.path, answer.text);
                    }
                    if shown.starts_with(['{', '[']) {
                        assert_eq!(answer.status, 400, "{} {member}={shown}: {}", route.path, answer.text);
                    }
                }
                assert!(refused >= 5, "{} {member} refused only {refused} of the wrong values", route.path);
            }
        }
        assert_eq!(app.count("select count(*) from ledger where amount > 1").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_refuse_limits_and_cursors_that_are_none() {
    with_app(async |app| {
        let (client, admin) = (app.client(), admin(&app).await);
        for route in routes() {
            let query = route.operation["parameters"].as_array().unwrap();
            if !query.iter().any(|parameter| parameter["name"] == "cursor") {
                continue;
            }
            let url = route.url(&admin, "");
            client.get_as(&admin, &url).await.expect(200);
            for wrong in ["limit=0", "limit=101", "limit=-1", "limit=x", "limit=", "cursor=%2A", "cursor=eA"]
            {
                let answer = client.get_as(&admin, &format!("{url}?{wrong}")).await;
                answer.refused(400, "invalid_request");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_array_is_no_object() {
    with_app(async |app| {
        let (client, admin) = (app.client(), admin(&app).await);
        for route in routes() {
            if route.schema().is_none() {
                continue;
            }
            let members: Vec<Value> = good_body(&route.path).as_object().unwrap().values().cloned().collect();
            let answer =
                route.send(&client, &admin, Some(json!(members).to_string()), "application/json").await;
            let answer = answer.refused(400, "invalid_request");
            assert_eq!(answer.body["errors"][0]["field"], "body", "{}: {}", route.path, answer.text);
        }
        let state = json!({"state": {"OPEN": null}});
        let queue = client.queue(&admin, json!({})).await;
        client.put_as(&admin, &format!("/v1/queues/{queue}"), state).await.refused(400, "invalid_request");
        let nested = json!({"title": "c", "queue": [5, 10, 60, null]});
        let answer = client.post_as(&admin, "/v1/concerts", nested).await.refused(400, "invalid_request");
        assert_eq!(answer.body["errors"][0]["field"], "queue");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_and_times_are_written_one_way() {
    with_app(async |app| {
        let (client, operator, user) = (app.client(), app.operator().await, app.user(0).await);
        let concert = client.concert(&operator, 5, 100, json!({})).await;
        let token = client.enter(&user, &concert).await;
        let shows = format!("/v1/concerts/{concert}/shows");
        for date in ["2027-1-1", " 2027-01-01", "2027-02-29", "-200000-01-01", "+2027-01-01", "0000-01-01"] {
            let body = json!({"date": date, "price": 1});
            let answer = client.post_as(&operator, &shows, body).await.refused(400, "invalid_request");
            assert_eq!(answer.body["errors"][0]["field"], "date");
            let hold = json!({"concertId": concert, "date": date, "seatNumber": 1});
            let answer = client.post_inside(&user, &token, "/v1/reservations", hold, &key()).await;
            answer.refused(400, "invalid_request");
            let date = date.replace('+', "%2B").replace(' ', "%20");
            let path = format!("/v1/concerts/{concert}/seats?date={date}");
            let seats = client.request(reqwest::Method::GET, &path).bearer_auth(&user.token);
            client.send(seats.header("Queue-Token", &token)).await.refused(400, "invalid_request");
        }
        for time in
            ["-200000-01-01T00:00:00Z", "1969-12-31T00:00:00Z", "+20260-01-01T00:00:00Z", "2026-01-01"]
        {
            for member in ["opensAt", "closesAt"] {
                let body = json!({"date": "2027-01-01", "price": 1, member: time});
                let answer = client.post_as(&operator, &shows, body).await.refused(400, "invalid_request");
                assert_eq!(answer.body["errors"][0]["field"], member);
            }
        }
        assert_eq!(app.count("select count(*) from shows").await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_before_the_body_leaves_the_connection_whole() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    with_app(async |app| {
        let address = app.url(0).trim_start_matches("http://").to_owned();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut answer = async |head: &str, body: &str| {
            // In two segments, as many clients send it; the refusal is clear from the first.
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            stream.write_all(body.as_bytes()).await.unwrap();
            let mut text = vec![0; 4_096];
            let read = stream.read(&mut text).await.unwrap();
            String::from_utf8_lossy(&text[..read]).into_owned()
        };
        for (line, status) in [
            ("POST /nowhere", "404"),
            ("PUT /livez", "405"),
            ("POST /v1/concerts", "401"),
            ("POST /v1/auth/login", "415"),
        ] {
            let head = format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n");
            for _ in 0..3 {
                let text = answer(&head, "{\"a\":1}").await;
                assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{line}: {text}");
                assert!(!text.to_lowercase().contains("connection: close"), "{text}");
            }
        }
        let large = "x".repeat(3_000_000);
        let head = format!("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", large.len());
        assert!(answer(&head, &large).await.starts_with("HTTP/1.1 404"));
    })
    .await;
}
