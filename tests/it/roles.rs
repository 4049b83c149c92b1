//! Who may what: every route of the document, asked by everybody, about one user's things.

use std::collections::BTreeSet;
use std::sync::Arc;

use onrush::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, TestApp, User, day, document, event, good_body, key, with_app};

/// Each route, and what becomes of nobody, the user whose thing it is, another user, OPERATOR, AUDITOR and
/// ADMIN: `y` he may, `1` is 401, `3` is 403, `4` is 404. The contract says so in words; this is its table.
const MATRIX: &[(&str, &str)] = &[
    ("POST /v1/auth/signup", "y y y y y y"),
    ("POST /v1/auth/login", "y y y y y y"),
    ("POST /v1/auth/refresh", "y y y y y y"),
    ("POST /v1/auth/logout", "1 y y y y y"),
    ("GET /v1/auth/me", "1 y y y y y"),
    ("GET /v1/audit", "1 3 3 3 y y"),
    ("GET /v1/users", "1 3 3 y 3 y"),
    ("PUT /v1/users/{userId}/role", "1 3 3 3 3 y"),
    ("POST /v1/users/{userId}/points/charge", "1 y 3 3 3 y"),
    ("GET /v1/users/{userId}/points", "1 y 3 3 3 y"),
    ("GET /v1/users/{userId}/points/transactions", "1 y 3 3 3 y"),
    ("POST /v1/queues", "1 3 3 y 3 y"),
    ("GET /v1/queues/{queueId}", "y y y y y y"),
    ("PUT /v1/queues/{queueId}", "1 3 3 y 3 y"),
    ("POST /v1/queues/{queueId}/tickets", "1 y y y y y"),
    // A ticket is asked for, and no bearer; nobody has none.
    ("GET /v1/queues/{queueId}/tickets/me", "1 y y y y y"),
    ("GET /v1/queues/{queueId}/tickets/me/events", "1 y y y y y"),
    ("DELETE /v1/queues/{queueId}/tickets/me", "1 y y y y y"),
    ("POST /v1/concerts", "1 3 3 y 3 y"),
    ("GET /v1/concerts", "y y y y y y"),
    ("GET /v1/concerts/{concertId}", "y y y y y y"),
    ("POST /v1/concerts/{concertId}/shows", "1 3 3 y 3 y"),
    ("GET /v1/concerts/{concertId}/dates", "1 y y y y y"),
    ("GET /v1/concerts/{concertId}/seats", "1 y y y y y"),
    ("POST /v1/reservations", "1 y y y y y"),
    ("GET /v1/reservations", "1 y y y y y"),
    ("GET /v1/reservations/{reservationId}", "1 y 4 y 4 y"),
    ("DELETE /v1/reservations/{reservationId}", "1 y 4 4 4 y"),
    // Nobody pays for another.
    ("POST /v1/payments", "1 y 4 4 4 4"),
    ("GET /v1/payments", "1 y y y y y"),
    ("GET /v1/payments/{paymentId}", "1 y 4 y 4 y"),
    ("GET /v1/menus/popular", "y y y y y y"),
    ("POST /v1/orders", "1 y y y y y"),
    ("GET /v1/orders", "1 y y y y y"),
    ("GET /v1/orders/{orderId}", "1 y 4 y 4 y"),
    ("GET /v1/menus", "y y y y y y"),
    ("POST /v1/menus", "1 3 3 y 3 y"),
    ("PUT /v1/menus/{menuId}", "1 3 3 y 3 y"),
    ("DELETE /v1/menus/{menuId}", "1 3 3 y 3 y"),
    ("POST /v1/coupon-campaigns", "1 3 3 y 3 y"),
    ("GET /v1/coupon-campaigns", "y y y y y y"),
    ("GET /v1/coupon-campaigns/{campaignId}", "y y y y y y"),
    ("POST /v1/coupon-campaigns/{campaignId}/claims", "1 y y y y y"),
    ("POST /v1/coupon-campaigns/{campaignId}/batches", "1 3 3 y 3 y"),
    ("GET /v1/coupon-batches/{batchId}", "1 3 3 y 3 y"),
    ("GET /v1/coupon-batches/{batchId}/codes", "1 3 3 y 3 y"),
    ("POST /v1/coupon-campaigns/{campaignId}/imports", "1 3 3 y 3 y"),
    ("GET /v1/coupon-imports/{importId}", "1 3 3 y 3 y"),
    ("POST /v1/coupons", "1 3 3 y 3 y"),
    ("GET /v1/coupons", "1 y y y y y"),
    ("GET /v1/coupons/expiring", "1 3 3 y 3 y"),
    ("GET /v1/coupons/{code}", "1 y 4 y 4 y"),
    // Nobody uses another's.
    ("PUT /v1/coupons/{code}/use", "1 y 4 4 4 4"),
    ("DELETE /v1/coupons/{code}/use", "1 y 4 y 4 y"),
    ("PUT /v1/coupons/{code}/assign", "1 3 3 y 3 y"),
    ("DELETE /v1/coupons/{code}", "1 3 3 y 3 y"),
    ("POST /v1/rewards", "1 3 3 y 3 y"),
    ("GET /v1/rewards", "1 3 3 y y y"),
    ("GET /v1/rewards/{rewardId}", "1 3 3 y y y"),
    ("PUT /v1/rewards/{rewardId}", "1 3 3 y 3 y"),
    ("DELETE /v1/rewards/{rewardId}", "1 3 3 y 3 y"),
    ("POST /v1/events", "1 3 3 y 3 y"),
    ("GET /v1/events", "1 3 3 y y y"),
    ("GET /v1/events/open", "1 y y y y y"),
    ("GET /v1/events/{eventId}", "1 3 3 y y y"),
    ("PUT /v1/events/{eventId}", "1 3 3 y 3 y"),
    ("DELETE /v1/events/{eventId}", "1 3 3 y 3 y"),
    ("POST /v1/reward-requests", "1 y y y y y"),
    ("GET /v1/reward-requests/mine", "1 y y y y y"),
    ("GET /v1/reward-requests", "1 3 3 y y y"),
    ("GET /v1/reward-requests/{requestId}", "1 3 3 y y y"),
    ("PUT /v1/reward-requests/{requestId}/approve", "1 3 3 y 3 y"),
    ("PUT /v1/reward-requests/{requestId}/reject", "1 3 3 y 3 y"),
    ("GET /livez", "y y y y y y"),
    ("GET /readyz", "y y y y y y"),
    ("GET /health", "y y y y y y"),
    ("PUT /health", "1 3 3 3 3 y"),
    ("GET /metrics", "y y y y y y"),
    ("GET /openapi.json", "y y y y y y"),
    ("GET /docs", "y y y y y y"),
    ("GET /problems/{code}", "y y y y y y"),
    ("GET /.well-known/jwks.json", "y y y y y y"),
];

const ACTORS: [&str; 6] = ["nobody", "the owner", "another user", "OPERATOR", "AUDITOR", "ADMIN"];

/// One user's things, and a concert.
struct World {
    app: Arc<TestApp>,
    client: Client,
    concert: String,
    owner: User,
    /// The owner's pass.
    ticket: String,
    reservation: String,
    order: String,
    payment: String,
    menu: String,
    campaign: String,
    /// A coupon of the owner's.
    coupon: String,
    batch: String,
    import: String,
    reward: String,
    event: String,
    /// The owner's, for an operator to decide.
    request: String,
    seats: std::ops::RangeFrom<u32>,
}

impl World {
    async fn new(app: &Arc<TestApp>) -> Self {
        let (client, operator) = (app.client(), app.operator().await);
        let concert = client.concert(&operator, 1_000, 1, json!({"maxSeatsPerUser": 1_000})).await;
        let nothing = String::new;
        let (ticket, reservation, payment) = (nothing(), nothing(), nothing());
        let (menu, order) = (nothing(), nothing());
        let owner = User::default();
        let campaign = client.campaign(&operator, 1_000, json!({"perUser": 100})).await;
        let path = format!("/v1/coupon-campaigns/{campaign}");
        let batch = client.post_as(&operator, &format!("{path}/batches"), json!({"count": 1})).await;
        let (batch, coupon) = (batch.expect(202).text_of("batchId"), nothing());
        let import = client.import(&operator, &campaign, "code\nABCD1234\n").await.text_of("importId");
        let (app, seats) = (app.clone(), (1..));
        let (reward, event, request) = (nothing(), nothing(), nothing());
        let mut world = Self {
            app,
            client,
            concert,
            owner,
            ticket,
            reservation,
            order,
            payment,
            menu,
            campaign,
            coupon,
            batch,
            import,
            reward,
            event,
            request,
            seats,
        };
        world.renew().await;
        world
    }

    /// Another owner, with a reservation that is paid and one that is not.
    async fn renew(&mut self) {
        let (client, seat) = (&self.client, self.seats.nth(1).unwrap());
        self.owner = self.app.user(1_000).await;
        self.ticket = client.enter(&self.owner, &self.concert).await;
        let paid = client.reserve(&self.owner, &self.ticket, &self.concert, &[seat]).await.expect(201);
        let paid = paid.text_of("reservationId");
        self.payment =
            client.pay(&self.owner, &self.ticket, &paid, &key()).await.expect(201).text_of("paymentId");
        self.ticket = client.enter(&self.owner, &self.concert).await;
        let held = client.reserve(&self.owner, &self.ticket, &self.concert, &[seat + 1]).await.expect(201);
        self.reservation = held.text_of("reservationId");
        self.new_menu().await;
        let order = self.client.post_as(&self.owner, "/v1/orders", self.body("/v1/orders")).await;
        self.order = order.expect(201).text_of("orderId");
        let asked = self.client.ask(&self.owner, &self.event, &self.reward).await;
        self.request = asked.expect(201).text_of("requestId");
        self.coupon = self.client.claim(&self.owner, &self.campaign).await.expect(201).text_of("code");
    }

    /// A menu, a reward and an event to be removed.
    async fn new_menu(&mut self) {
        let operator = self.app.operator().await;
        self.menu = self.client.menu(&operator, "m", 1).await;
        let reward = json!({"type": "ITEM", "amount": null});
        self.reward = self.client.reward(&operator, 1_000, reward).await;
        self.event = self.client.event(&operator, &self.reward, json!({"approval": "MANUAL"})).await;
    }

    async fn actors(&self) -> [Option<User>; 6] {
        let app = &self.app;
        let other = app.account(Role::User).await;
        let staff = (app.operator().await, app.account(Role::Auditor).await, app.account(Role::Admin).await);
        [None, Some(self.owner.clone()), Some(other), Some(staff.0), Some(staff.1), Some(staff.2)]
    }

    fn url(&self, path: &str) -> String {
        let code = if path.starts_with("/problems") { "forbidden" } else { &self.coupon };
        let path = path.replace("{userId}", &self.owner.id).replace("{code}", code);
        let path = path.replace("{campaignId}", &self.campaign).replace("{batchId}", &self.batch);
        let path = path.replace("{importId}", &self.import);
        let path = path.replace("{queueId}", &self.concert).replace("{concertId}", &self.concert);
        let path = path.replace("{menuId}", &self.menu).replace("{rewardId}", &self.reward);
        let path = path.replace("{eventId}", &self.event).replace("{requestId}", &self.request);
        let path = path.replace("{reservationId}", &self.reservation).replace("{paymentId}", &self.payment);
        let path = path.replace("{orderId}", &self.order);
        if path.ends_with("/seats") { format!("{path}?date={}", day(1)) } else { path }
    }

    fn body(&self, path: &str) -> Value {
        match path {
            "/v1/reservations" => {
                json!({"concertId": self.concert, "date": day(1), "seatNumber": fastrand::u32(951..1_000)})
            }
            "/v1/events" | "/v1/events/{eventId}" => event(&self.reward),
            "/v1/reward-requests" => json!({"eventId": self.event, "rewardId": self.reward}),
            "/v1/payments" => json!({"reservationId": self.reservation}),
            "/v1/orders" => json!({"items": [{"menuId": self.menu, "quantity": 1}]}),
            "/v1/users/{userId}/role" => json!({"role": "USER"}),
            "/v1/concerts/{concertId}/shows" => {
                json!({"date": day(fastrand::u64(2..300)), "price": 1})
            }
            "/v1/auth/signup" => {
                json!({"email": format!("{}@x.test", key()), "password": "12345678", "name": "x"})
            }
            _ => good_body(path),
        }
    }

    async fn ask(&self, route: &str, who: Option<&User>) -> Answer {
        let (method, path) = route.split_once(' ').unwrap();
        let mut request = self.client.request(method.parse().unwrap(), &self.url(path));
        let operation = &document()["paths"][path][method.to_lowercase()];
        if !operation["requestBody"]["content"]["text/csv"].is_null() {
            request = request.header("Content-Type", "text/csv");
        } else if !operation["requestBody"].is_null() {
            request = request.json(&self.body(path));
        }
        if operation["parameters"].as_array().unwrap().iter().any(|one| one["name"] == "Idempotency-Key") {
            request = request.header("Idempotency-Key", key());
        }
        if operation["parameters"].as_array().unwrap().iter().any(|one| one["name"] == "If-Match") {
            request = request.header("If-Match", "*");
        }
        let Some(who) = who else { return self.client.send(request).await };
        let security = operation["security"].as_array().unwrap();
        if security.iter().any(|scheme| !scheme["queueToken"].is_null()) {
            let ticket = if who.id == self.owner.id {
                self.ticket.clone()
            } else {
                self.client.enter(who, &self.concert).await
            };
            request = request.header("Queue-Token", ticket);
        }
        self.client.send(request.bearer_auth(&who.token)).await
    }
}

/// What became of the request, in the table's letters.
fn verdict(answer: &Answer) -> char {
    match answer.code() {
        "unauthenticated" | "queue_token_invalid" => '1',
        "forbidden" => '3',
        code if code.ends_with("_not_found") => '4',
        _ => 'y',
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_lets_in_whom_the_table_says_and_nobody_else() {
    with_app(async |app| {
        let mut world = World::new(&app).await;
        let mut broken = Vec::new();
        for (route, expected) in MATRIX {
            let expected: Vec<char> = expected.chars().filter(|letter| *letter != ' ').collect();
            for (at, who) in world.actors().await.iter().enumerate() {
                world.new_menu().await;
                let answer = world.ask(route, who.as_ref()).await;
                if verdict(&answer) != expected[at] {
                    let expected = expected[at];
                    broken.push(format!("{route} as {}: not {expected:?}: {}", ACTORS[at], answer.text));
                }
            }
            let spends =
                ["POST /v1/payments", "DELETE /v1/reservations", "DELETE /v1/queues", "POST /v1/auth"];
            if spends.iter().any(|spent| route.starts_with(spent)) {
                world.renew().await;
            }
        }
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    })
    .await;
}

#[test]
fn every_route_has_a_row() {
    let mut told = BTreeSet::new();
    for (path, operations) in document()["paths"].as_object().unwrap() {
        told.extend(operations.as_object().unwrap().keys().map(|m| format!("{} {path}", m.to_uppercase())));
    }
    let rows: BTreeSet<String> = MATRIX.iter().map(|(route, _)| (*route).to_owned()).collect();
    assert_eq!(rows.len(), MATRIX.len(), "a route stands there twice");
    assert_eq!(rows, told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anothers_thing_answers_like_one_that_is_not_there() {
    with_app(async |app| {
        let world = World::new(&app).await;
        let other = app.account(Role::User).await;
        let nowhere = uuid::Uuid::new_v4().to_string();
        let client = &world.client;
        for (method, folder, id) in [
            (Method::GET, "reservations", &world.reservation),
            (Method::DELETE, "reservations", &world.reservation),
            (Method::GET, "payments", &world.payment),
            (Method::GET, "orders", &world.order),
            (Method::GET, "coupons", &world.coupon),
        ] {
            let mut told = Vec::new();
            for id in [id, &nowhere] {
                let request = client.request(method.clone(), &format!("/v1/{folder}/{id}"));
                let mut answer = client.send(request.bearer_auth(&other.token)).await.expect(404);
                answer.body["requestId"] = Value::Null;
                told.push(answer.body);
            }
            assert_eq!(told[0], told[1], "{method} {folder}");
        }
        // Points: 403 whoever the path names, be there such a user or not.
        for id in [&world.owner.id, &nowhere] {
            let path = format!("/v1/users/{id}/points");
            client.get_as(&other, &path).await.refused(403, "forbidden");
        }
        // A ticket does not let another in who found it.
        let path = format!("/v1/concerts/{}/dates", world.concert);
        client.get_inside(&other, &world.ticket, &path).await.refused(403, "forbidden");
    })
    .await;
}
