//! The server is killed twenty times under load, while Redis and Postgres live on: nothing that was
//! acknowledged is missing, and nothing happened twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Build, Client, Program, TestApp, User, eventually, free_port, key};

const KILLS: usize = 20;
const CHARGERS: usize = 12;
const BUYERS: usize = 40;

/// What a client asks again and again until it is told.
enum Ask {
    Post { path: String, body: serde_json::Value, key: String },
    Poll,
}

/// A client of one user, with his ticket where he has one.
struct Asker {
    client: Client,
    user: User,
    queue: String,
    token: String,
    told: Arc<AtomicUsize>,
}

impl Asker {
    /// Asks until there is an answer that is final; who gets none asks again with the same key.
    async fn until_told(&self, ask: &Ask) -> (u16, String) {
        loop {
            let answer = match ask {
                Ask::Post { path, body, key } => {
                    self.client.try_post(&self.user, &self.token, path, body.clone(), key).await
                }
                Ask::Poll => self.client.try_poll(&self.queue, &self.token).await,
            };
            match answer {
                Some((status, text)) if status < 500 && !text.contains("idempotency_in_progress") => {
                    return (status, text);
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn post(&self, path: &str, body: serde_json::Value) -> (u16, serde_json::Value) {
        let (status, text) = self.until_told(&Ask::Post { path: path.into(), body, key: key() }).await;
        if status == 201 {
            self.told.fetch_add(1, Ordering::Relaxed);
        }
        (status, serde_json::from_str(&text).unwrap())
    }

    /// Charges one point at a time, each with its key, until told to stop: how many were acknowledged.
    async fn charge(self, stop: Arc<AtomicBool>) -> i64 {
        let mut acknowledged = 0;
        let path = format!("/v1/users/{}/points/charge", self.user.id);
        while !stop.load(Ordering::Relaxed) {
            let (status, answer) = self.post(&path, json!({"amount": 1})).await;
            assert_eq!(status, 201, "{answer}");
            acknowledged += 1;
        }
        acknowledged
    }

    /// The whole way: join, wait, hold a seat, pay. The seat and its payment, if it was to be had.
    async fn buy(mut self, seat: u32) -> Option<(u32, String)> {
        let (_, place) = self.post(&format!("/v1/queues/{}/tickets", self.queue), json!({})).await;
        self.token = place["token"].as_str().unwrap().to_owned();
        loop {
            let (status, text) = self.until_told(&Ask::Poll).await;
            assert_eq!(status, 200, "a place that is polled is kept: {text}");
            if text.contains("\"ACTIVE\"") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let body = json!({"concertId": self.queue, "date": crate::harness::day(1), "seatNumber": seat});
        let (status, held) = self.post("/v1/reservations", body).await;
        if status == 409 {
            assert_eq!(held["code"], "seat_taken");
            return None;
        }
        assert_eq!(status, 201, "{held}");
        let body = json!({"reservationId": held["reservationId"]});
        // A payment that was given up half-way asks for a new key.
        loop {
            let (status, paid) = self.post("/v1/payments", body.clone()).await;
            if status == 201 {
                return Some((seat, paid["paymentId"].as_str().unwrap().to_owned()));
            }
            assert_eq!(paid["code"], "payment_aborted", "{paid}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_under_load_lose_nothing_and_double_nothing() {
    // An instance in this process makes the data and verifies; it is stopped while the program runs.
    let app = TestApp::start(Build { shards: 4, ..Build::default() }).await;
    let operator = app.operator().await;
    let concert = app.client().concert(&operator, BUYERS as u32 / 2, 100, json!({})).await;
    let chargers = app.users(CHARGERS, 0).await;
    let buyers = app.users(BUYERS, 1_000).await;
    let app = app.stop_instances().await;

    let port = free_port();
    let client = Client::new(&format!("http://127.0.0.1:{port}"));
    let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut program = Program::serve(&app, port);
    let started = Instant::now();
    let asker = |user: &User| Asker {
        client: client.clone(),
        user: user.clone(),
        queue: concert.clone(),
        token: String::new(),
        told: told.clone(),
    };
    let charging: Vec<_> =
        chargers.iter().map(|user| tokio::spawn(asker(user).charge(stop.clone()))).collect();
    let buying: Vec<_> = buyers
        .iter()
        .enumerate()
        .map(|(at, user)| {
            // Two buyers for each seat; they come one after the other through all of the kills.
            let asker = asker(user);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(at as u64 * 700)).await;
                asker.buy(at as u32 / 2 + 1).await
            })
        })
        .collect();
    for _ in 0..KILLS {
        // Killed in the middle of work: some writes were told since the last start.
        let before = told.load(Ordering::Relaxed);
        eventually("writes are told again", || async { told.load(Ordering::Relaxed) > before + 100 }).await;
        program.kill();
        program = Program::serve(&app, port);
    }
    let mut bought = Vec::new();
    for buyer in buying {
        bought.extend(buyer.await.unwrap());
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for charger in charging {
        acknowledged.push(charger.await.unwrap());
    }
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(program.terminate(), Some(0));

    let writes = told.load(Ordering::Relaxed);
    let app = app.start_instances().await;
    for (user, charges) in chargers.iter().zip(acknowledged) {
        // Every key was answered before the next was made: as many points as answers, exactly.
        assert_eq!(app.client().balance(user).await, charges, "charges of {}", user.id);
    }
    let mut seats: Vec<u32> = bought.iter().map(|(seat, _)| *seat).collect();
    seats.sort_unstable();
    assert_eq!(
        seats,
        (1..=BUYERS as u32 / 2).collect::<Vec<_>>(),
        "each seat was sold to one of its two buyers"
    );
    assert_eq!(app.count("select count(*) from payments").await, bought.len() as i64);
    for (_, payment) in bought {
        app.client().get_as(&operator, &format!("/v1/payments/{payment}")).await.expect(200);
    }
    println!("{writes} writes were acknowledged in {seconds:.1} s over {KILLS} kills");
    app.finish().await;
}
