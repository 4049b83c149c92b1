//! A client that knows the contract: every answer is checked against the OpenAPI document.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{eventually, key, secrets};

/// A user and his access token.
#[derive(Clone, Debug, Default)]
pub struct User {
    pub id: String,
    pub token: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
    pub text: String,
}

impl Answer {
    /// The problem's code; empty on success.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().filter(|_| self.status >= 400).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A member of the body as text.
    pub fn text_of(&self, member: &str) -> String {
        self.body[member].as_str().unwrap_or_else(|| panic!("no {member} in {}", self.text)).to_owned()
    }

    pub fn int_of(&self, member: &str) -> i64 {
        self.body[member].as_i64().unwrap_or_else(|| panic!("no {member} in {}", self.text))
    }

    /// The answer, when it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The answer, when it is this problem.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["type"], format!("/problems/{code}"));
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["requestId"], self.header("x-request-id"));
        assert_eq!([429, 503].contains(&status), !self.header("retry-after").is_empty());
        self
    }
}

impl Answer {
    /// The answer, when it is this problem and says when to ask again.
    #[track_caller]
    pub fn refused_later(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.text);
        assert!(!self.header("retry-after").is_empty());
        self
    }
}

/// A client of one instance.
#[derive(Clone)]
pub struct Client {
    pub url: Arc<str>,
    http: reqwest::Client,
}

impl Client {
    pub fn new(url: &str) -> Self {
        Self { url: url.into(), http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    /// A request to be completed and given to [`send`](Self::send).
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// Sends, reads and checks.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let (method, path) = (request.method().to_string(), request.url().path().to_owned());
        secrets::sent(&request);
        let answer = read(self.http.execute(request).await.expect("the instance answers")).await;
        secrets::told(&answer.body);
        assert_known(&method, &path, &answer);
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn get_as(&self, user: &User, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).bearer_auth(&user.token)).await
    }

    /// A counter by its name with labels; 0 before it is told.
    pub async fn counter(&self, name: &str) -> i64 {
        let text = self.get("/metrics").await.text;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.next().map_or(0, |count| count.parse().unwrap())
    }

    /// A POST of nobody, without a key.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    /// A POST with a fresh key.
    pub async fn post_as(&self, user: &User, path: &str, body: Value) -> Answer {
        self.post_with_key(user, path, body, &key()).await
    }

    pub async fn post_with_key(&self, user: &User, path: &str, body: Value, key: &str) -> Answer {
        let request =
            self.request(Method::POST, path).bearer_auth(&user.token).header("Idempotency-Key", key);
        self.send(request.json(&body)).await
    }

    pub async fn put_as(&self, user: &User, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path).bearer_auth(&user.token).json(&body)).await
    }

    pub async fn delete_as(&self, user: &User, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path).bearer_auth(&user.token)).await
    }

    pub async fn charge(&self, user: &User, amount: i64, key: &str) -> Answer {
        self.post_with_key(
            user,
            &format!("/v1/users/{}/points/charge", user.id),
            json!({"amount": amount}),
            key,
        )
        .await
    }

    pub async fn balance(&self, user: &User) -> i64 {
        self.get_as(user, &format!("/v1/users/{}/points", user.id)).await.expect(200).int_of("balance")
    }

    /// The status of a GET; `None` when nobody answers.
    pub async fn try_get(&self, path: &str) -> Option<u16> {
        self.request(Method::GET, path).send().await.ok().map(|answer| answer.status().as_u16())
    }

    /// The status of a charge; `None` when the connection broke.
    pub async fn try_charge(&self, user: &User, amount: i64, key: &str) -> Option<u16> {
        self.try_charge_text(user, amount, key).await.map(|(status, _)| status)
    }

    /// A charge; `None` when the connection broke.
    pub async fn try_charge_text(&self, user: &User, amount: i64, key: &str) -> Option<(u16, String)> {
        self.try_post(
            user,
            "",
            &format!("/v1/users/{}/points/charge", user.id),
            json!({"amount": amount}),
            key,
        )
        .await
    }

    /// A POST; `None` when the connection broke before all of the answer was read.
    pub async fn try_post(
        &self,
        user: &User,
        token: &str,
        path: &str,
        body: Value,
        key: &str,
    ) -> Option<(u16, String)> {
        let request = self.request(Method::POST, path).bearer_auth(&user.token).header("Queue-Token", token);
        whole(request.header("Idempotency-Key", key).json(&body)).await
    }

    /// A PUT without a body; `None` when the connection broke.
    pub async fn try_put(&self, user: &User, path: &str, key: &str) -> Option<(u16, String)> {
        let request = self.request(Method::PUT, path).bearer_auth(&user.token);
        whole(request.header("Idempotency-Key", key)).await
    }

    /// A poll; `None` when the connection broke.
    pub async fn try_poll(&self, queue: &str, token: &str) -> Option<(u16, String)> {
        let path = format!("/v1/queues/{queue}/tickets/me");
        whole(self.request(Method::GET, &path).header("Queue-Token", token)).await
    }

    /// A queue that stands alone.
    pub async fn queue(&self, operator: &User, settings: Value) -> String {
        let mut body = json!({"name": "q", "admitPerSecond": 1000, "maxActive": 1000, "activeSeconds": 300});
        merge(&mut body, settings);
        self.post_as(operator, "/v1/queues", body).await.expect(201).text_of("queueId")
    }

    /// A concert with one show tomorrow; `over` changes the concert's body.
    pub async fn concert(&self, operator: &User, seats: u32, price: i64, over: Value) -> String {
        let mut body = json!({
            "title": "c",
            "queue": {"admitPerSecond": 10000, "maxActive": 100000, "activeSeconds": 300},
        });
        merge(&mut body, over);
        let concert = self.post_as(operator, "/v1/concerts", body).await.expect(201).text_of("concertId");
        let show = json!({"date": super::day(1), "price": price, "seatCount": seats});
        self.post_as(operator, &format!("/v1/concerts/{concert}/shows"), show).await.expect(201);
        concert
    }

    /// Something on the menu.
    pub async fn menu(&self, operator: &User, name: &str, price: i64) -> String {
        let body = json!({"name": name, "price": price});
        self.post_as(operator, "/v1/menus", body).await.expect(201).text_of("menuId")
    }

    /// A campaign that opens at once; `over` changes its settings.
    pub async fn campaign(&self, operator: &User, quantity: i64, over: Value) -> String {
        let mut body = json!({"name": "c", "quantity": quantity, "expiresAt": "2099-01-01T00:00:00Z"});
        for (member, value) in over.as_object().unwrap() {
            body[member] = value.clone();
        }
        self.post_as(operator, "/v1/coupon-campaigns", body).await.expect(201).text_of("campaignId")
    }

    /// Claims with a key of its own.
    pub async fn claim(&self, user: &User, campaign: &str) -> Answer {
        self.claim_with_key(user, campaign, &key()).await
    }

    pub async fn claim_with_key(&self, user: &User, campaign: &str, key: &str) -> Answer {
        let request = self.request(Method::POST, &format!("/v1/coupon-campaigns/{campaign}/claims"));
        self.send(request.bearer_auth(&user.token).header("Idempotency-Key", key)).await
    }

    /// A change of a coupon that takes no body, without a key.
    pub async fn change_coupon(&self, method: Method, user: &User, path: &str) -> Answer {
        self.send(self.request(method, &format!("/v1/coupons/{path}")).bearer_auth(&user.token)).await
    }

    /// Sends a list of codes.
    pub async fn import(&self, operator: &User, campaign: &str, list: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, &format!("/v1/coupon-campaigns/{campaign}/imports"));
        let request = request.bearer_auth(&operator.token).header("Content-Type", "text/csv");
        self.send(request.body(list)).await
    }

    pub async fn join(&self, user: &User, queue: &str) -> Answer {
        self.send(self.request(Method::POST, &format!("/v1/queues/{queue}/tickets")).bearer_auth(&user.token))
            .await
    }

    pub async fn poll(&self, queue: &str, token: &str) -> Answer {
        let path = format!("/v1/queues/{queue}/tickets/me");
        self.send(self.request(Method::GET, &path).header("Queue-Token", token)).await
    }

    pub async fn leave(&self, queue: &str, token: &str) -> Answer {
        let path = format!("/v1/queues/{queue}/tickets/me");
        self.send(self.request(Method::DELETE, &path).header("Queue-Token", token)).await
    }

    /// Joins, and waits until the turn has come: the ticket's token. Who is told to come back does, as
    /// clients do: a thousand who join at once can be more than a busy machine bears.
    pub async fn enter(&self, user: &User, queue: &str) -> String {
        let mut joined = self.join(user, queue).await;
        for _ in 0..5 {
            if joined.status == 503 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                joined = self.join(user, queue).await;
            }
        }
        let token = joined.text_of("token");
        eventually("the turn has come", || async {
            self.poll(queue, &token).await.body["status"] == "ACTIVE"
        })
        .await;
        token
    }

    /// A GET behind the queue.
    pub async fn get_inside(&self, user: &User, token: &str, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).bearer_auth(&user.token).header("Queue-Token", token)).await
    }

    /// A POST behind the queue.
    pub async fn post_inside(&self, user: &User, token: &str, path: &str, body: Value, key: &str) -> Answer {
        let request = self.request(Method::POST, path).bearer_auth(&user.token).header("Queue-Token", token);
        self.send(request.header("Idempotency-Key", key).json(&body)).await
    }

    pub async fn reserve(&self, user: &User, token: &str, concert: &str, seats: &[u32]) -> Answer {
        let body = json!({"concertId": concert, "date": super::day(1), "seatNumbers": seats});
        self.post_inside(user, token, "/v1/reservations", body, &key()).await
    }

    pub async fn pay(&self, user: &User, token: &str, reservation: &str, key: &str) -> Answer {
        self.post_inside(user, token, "/v1/payments", json!({"reservationId": reservation}), key).await
    }
}

async fn whole(request: RequestBuilder) -> Option<(u16, String)> {
    let (http, request) = request.build_split();
    let request = request.unwrap();
    secrets::sent(&request);
    let answer = http.execute(request).await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

pub(super) fn merge(body: &mut Value, over: Value) {
    for (member, value) in over.as_object().cloned().unwrap_or_default() {
        body[member] = value;
    }
}

async fn read(response: reqwest::Response) -> Answer {
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let text = response.text().await.unwrap_or_default();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer { status, headers, body, text }
}

/// The document as the program prints it.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        let printed =
            std::process::Command::new(env!("CARGO_BIN_EXE_onrush")).arg("openapi").output().unwrap();
        serde_json::from_slice(&printed.stdout).expect("`onrush openapi` prints JSON")
    });
    &DOCUMENT
}

/// The operation of a path; `None` where no route has it.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let paths = document()["paths"].as_object().unwrap();
    let fits = |template: &str| {
        let (wanted, got): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        wanted.len() == got.len()
            && wanted.iter().zip(got).all(|(want, got)| want.starts_with('{') || *want == got)
    };
    let mut found: Vec<&String> = paths.keys().filter(|template| fits(template)).collect();
    found.sort_by_key(|template| template.matches('{').count());
    paths[found.first()?.as_str()].get(method.to_ascii_lowercase())
}

/// Every answer must be one that the document promises: its status, and its code where it is a problem.
fn assert_known(method: &str, path: &str, answer: &Answer) {
    assert_ne!(answer.status, 500, "{method} {path} made a 500: {}", answer.text);
    assert!(!answer.header("x-request-id").is_empty(), "{method} {path} answers without a request id");
    let Some(operation) = operation(method, path) else { return };
    let response = &operation["responses"][answer.status.to_string()];
    assert!(!response.is_null(), "{method} {path}: {} is not documented: {}", answer.status, answer.text);
    if let Some(codes) = response["x-codes"].as_array() {
        let known = codes.iter().any(|code| code == answer.code());
        assert!(
            known,
            "{method} {path}: the code {:?} is not documented for {}",
            answer.code(),
            answer.status
        );
    }
    let durability = &response["headers"]["Onrush-Durability"]["schema"]["const"];
    if let Some(durability) = durability.as_str() {
        assert_eq!(answer.header("onrush-durability"), durability, "{method} {path}");
    }
}
