//! Clients that never give up: each operation is sent with its key, to any instance, until its answer is
//! final; all that was asked and answered is written down.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::{User, day, key};

/// A client waits so long for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// An operation that has no final answer after this is a violation.
const FINAL_MAX: Duration = Duration::from_secs(90);
/// Requests under way at once, and how long a client waits at most before it asks again: there are no more
/// sockets than this, and a service that was away is not stormed when it is back.
const UNDER_WAY_MAX: usize = 1_500;
const AGAIN_MAX_MS: u64 = 2_000;
/// Seats that everybody wants, and the others.
const HOT_SEATS: u32 = 40;
pub const SEATS: u32 = 4_000;
pub const PRICE: i64 = 100;
pub const POINTS: i64 = 1_000;

/// An operation and its final answer.
#[derive(Clone, Debug)]
pub struct Done {
    pub user: String,
    pub what: What,
    /// When it was first sent and finally answered.
    pub sent: Instant,
    pub answered: Instant,
    pub status: u16,
    pub body: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Charge(i64),
    /// Of a thing that costs one point, so many.
    Order(String, u32),
    Hold(Vec<u32>),
    Pay(String),
    Cancel(String),
    /// Of a campaign.
    Claim(String),
    /// Of an event.
    Reward(String),
}

/// What all clients have seen.
#[derive(Default)]
pub struct History {
    pub done: Mutex<Vec<Done>>,
    pub violations: Mutex<Vec<String>>,
    pub requests: AtomicU64,
    pub unknown: AtomicU64,
}

impl History {
    fn violation(&self, what: String) {
        self.violations.lock().unwrap().push(what);
    }
}

/// Where clients send requests.
pub struct Target {
    pub urls: Vec<String>,
    pub http: reqwest::Client,
    under_way: Semaphore,
    pub history: History,
    /// When the faults were over.
    pub stopped_at: OnceLock<Instant>,
}

impl Target {
    pub fn new(urls: Vec<String>) -> Arc<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        let http = http.pool_max_idle_per_host(UNDER_WAY_MAX / 2).build().unwrap();
        let under_way = Semaphore::new(UNDER_WAY_MAX);
        Arc::new(Self { urls, http, under_way, history: History::default(), stopped_at: OnceLock::new() })
    }

    /// A request to one of the instances.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = &self.urls[fastrand::usize(..self.urls.len())];
        self.http.request(method, format!("{url}{path}"))
    }

    /// Sends until the answer is final: anything but silence, "later" and "unknown".
    async fn settle(&self, what: &str, build: impl Fn() -> RequestBuilder) -> Option<(u16, Value)> {
        let until = Instant::now() + FINAL_MAX;
        let (mut last, mut pause) = (String::new(), 100);
        while Instant::now() < until {
            let under_way = self.under_way.acquire().await.unwrap();
            self.history.requests.fetch_add(1, Ordering::Relaxed);
            // An answer that was cut off is none.
            let answer = async {
                let answer = build().send().await?;
                Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.text().await?))
            };
            let (status, text) = answer.await.unwrap_or_else(|error| (0, error.to_string()));
            drop(under_way);
            let body: Value = serde_json::from_str(&text).unwrap_or_default();
            let again = status == 0 || status >= 502 || body["code"] == "idempotency_in_progress";
            if status == 500 {
                self.history.violation(format!("{what}: {text}"));
            }
            if !again && (status < 300 || body["code"].is_string()) {
                return Some((status, body));
            }
            self.history.unknown.fetch_add(1, Ordering::Relaxed);
            last = format!("{status} {text}");
            tokio::time::sleep(Duration::from_millis(fastrand::u64(pause / 2..pause * 2))).await;
            pause = (pause * 3 / 2).min(AGAIN_MAX_MS);
        }
        self.history.violation(format!("{what} has no final answer; the last was {last}"));
        None
    }

    async fn write(
        &self,
        user: &User,
        ticket: &str,
        what: What,
        build: impl Fn() -> RequestBuilder,
    ) -> Option<Done> {
        let (key, sent) = (key(), Instant::now());
        let name = format!("{what:?} of {}", user.id);
        let with_all = || {
            let request = build().bearer_auth(&user.token).header("Idempotency-Key", &key);
            if ticket.is_empty() { request } else { request.header("Queue-Token", ticket) }
        };
        let (status, body) = self.settle(&name, with_all).await?;
        let done = Done { user: user.id.clone(), what, sent, answered: Instant::now(), status, body };
        self.history.done.lock().unwrap().push(done.clone());
        Some(done)
    }

    /// Points for a user; always taken.
    pub async fn charge(&self, user: &User, amount: i64) {
        let path = format!("/v1/users/{}/points/charge", user.id);
        let build = || self.request(Method::POST, &path).json(&json!({"amount": amount}));
        if let Some(done) = self.write(user, "", What::Charge(amount), build).await
            && done.status != 201
        {
            self.history.violation(format!("a charge was refused: {done:?}"));
        }
    }

    /// So many of something, where there are points for it.
    pub async fn order(&self, user: &User, menu: &str, quantity: u32) {
        let body = json!({"items": [{"menuId": menu, "quantity": quantity}]});
        let build = || self.request(Method::POST, "/v1/orders").json(&body);
        if let Some(done) = self.write(user, "", What::Order(menu.to_owned(), quantity), build).await
            && done.status != 201
            && done.body["code"] != "balance_insufficient"
        {
            self.history.violation(format!("an order was refused: {done:?}"));
        }
    }

    /// A coupon, where one is left for this user.
    pub async fn claim(&self, user: &User, campaign: &str) {
        let build = || self.request(Method::POST, &format!("/v1/coupon-campaigns/{campaign}/claims"));
        if let Some(done) = self.write(user, "", What::Claim(campaign.to_owned()), build).await
            && done.status != 201
            && !["coupon_already_claimed", "coupon_sold_out"].contains(&done.body["code"].as_str().unwrap())
        {
            self.history.violation(format!("a claim was refused: {done:?}"));
        }
    }

    /// A reward of an event, where one is left and he has not asked before.
    pub async fn reward(&self, user: &User, (event, reward): &(String, String)) {
        let body = json!({"eventId": event, "rewardId": reward});
        let build = || self.request(Method::POST, "/v1/reward-requests").json(&body);
        let may = ["reward_already_requested", "reward_out_of_stock"];
        if let Some(done) = self.write(user, "", What::Reward(reward.clone()), build).await
            && done.body["status"] != "GRANTED"
            && !may.contains(&done.body["code"].as_str().unwrap_or_default())
        {
            self.history.violation(format!("a reward was refused: {done:?}"));
        }
    }

    /// The way of a buyer who is in: a seat, and then he pays, gives it up or forgets it.
    pub async fn buy(&self, user: &User, concert: &str, ticket: &str) {
        for _ in 0..5 {
            let hot = fastrand::u32(..4) == 0;
            let seat = if hot { fastrand::u32(1..=HOT_SEATS) } else { fastrand::u32(HOT_SEATS + 1..SEATS) };
            let seats = if fastrand::bool() { vec![seat] } else { vec![seat, seat + 1] };
            let body = json!({"concertId": concert, "date": day(1), "seatNumbers": seats});
            let build = || self.request(Method::POST, "/v1/reservations").json(&body);
            let Some(held) = self.write(user, ticket, What::Hold(seats), build).await else { return };
            match (held.status, held.body["code"].as_str().unwrap_or_default()) {
                (201, _) => {
                    return self.end(user, ticket, held.body["reservationId"].as_str().unwrap()).await;
                }
                (409, "seat_taken") => {}
                _ => return self.history.violation(format!("a hold was refused: {held:?}")),
            }
        }
    }

    async fn end(&self, user: &User, ticket: &str, reservation: &str) {
        let path = format!("/v1/reservations/{reservation}");
        match fastrand::u32(..10) {
            0 => {}
            1 | 2 => {
                let build = || self.request(Method::DELETE, &path);
                let what = What::Cancel(reservation.to_owned());
                if let Some(done) = self.write(user, "", what, build).await
                    && done.status != 204
                {
                    self.history.violation(format!("a hold could not be given up: {done:?}"));
                }
            }
            _ => {
                for _ in 0..10 {
                    let body = json!({"reservationId": reservation});
                    let build = || self.request(Method::POST, "/v1/payments").json(&body);
                    let what = What::Pay(reservation.to_owned());
                    match self.write(user, ticket, what, build).await {
                        Some(done) if done.body["code"] == "payment_aborted" => {}
                        Some(done) if done.status != 201 => {
                            return self.history.violation(format!("a payment was refused: {done:?}"));
                        }
                        _ => return,
                    }
                }
            }
        }
    }

    /// A place in line, new or the one that he has.
    async fn join(&self, user: &User, concert: &str) -> Option<Value> {
        let path = format!("/v1/queues/{concert}/tickets");
        let join = || self.request(Method::POST, &path).bearer_auth(&user.token);
        let (status, place) = self.settle("a join", join).await?;
        if status != 201 && status != 200 {
            self.history.violation(format!("a join was refused: {status} {place}"));
            return None;
        }
        Some(place)
    }

    /// Something asked of a ticket's place.
    async fn ask(&self, what: &str, method: Method, concert: &str, ticket: &str) -> Option<(u16, Value)> {
        let me = format!("/v1/queues/{concert}/tickets/me");
        self.settle(what, || self.request(method.clone(), &me).header("Queue-Token", ticket)).await
    }

    /// Joins, polls a few times, leaves: the place is the same all the while.
    pub async fn visit(&self, user: &User, concert: &str) {
        let Some(mut place) = self.join(user, concert).await else { return };
        let mut ticket = place["token"].as_str().unwrap().to_owned();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(300..900))).await;
            let polled = self.ask("a poll", Method::GET, concert, &ticket).await;
            let Some((status, mut polled)) = polled else { return };
            if status == 410 {
                // Leaving is soft. Where it was lost together with the joining that followed it, the earlier
                // place is back, and of two places the lower wins: he stands further ahead than he knew.
                let Some(found) = self.join(user, concert).await else { return };
                if found["number"].as_i64() < place["number"].as_i64() {
                    (place, polled) = (found.clone(), found);
                }
            }
            if polled["number"] != place["number"] {
                let what = format!("a visitor's place is gone: {place} {status} {polled}");
                return self.history.violation(what);
            }
            if let Some(token) = polled["token"].as_str() {
                ticket = token.to_owned();
            }
        }
        match self.ask("leaving", Method::DELETE, concert, &ticket).await {
            // An earlier try that got no answer may have been the one.
            None | Some((204 | 410, _)) => {}
            Some((status, body)) => self.history.violation(format!("leaving was refused: {status} {body}")),
        }
    }

    /// Joins and polls until in; a place must not get lost on the way.
    pub async fn enter(&self, user: &User, concert: &str) -> Option<String> {
        let mut place = self.join(user, concert).await?;
        let (mut ticket, number) = (place["token"].as_str().unwrap().to_owned(), place["number"].clone());
        while place["status"] != "ACTIVE" {
            if self.stopped_at.get().is_some_and(|stopped| stopped.elapsed() > FINAL_MAX) {
                self.history.violation(format!("place {number} was never let in: {place}"));
                return None;
            }
            tokio::time::sleep(Duration::from_millis(place["pollAfterMs"].as_u64().unwrap_or(1_000))).await;
            let (status, polled) = self.ask("a poll", Method::GET, concert, &ticket).await?;
            if status != 200 || polled["number"] != number {
                self.history.violation(format!("place {number} is gone: {status} {polled}"));
                return None;
            }
            if let Some(token) = polled["token"].as_str() {
                ticket = token.to_owned();
            }
            place = polled;
        }
        Some(ticket)
    }
}
