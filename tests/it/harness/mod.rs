//! What tests stand on: real servers, an application with its own prefix and schema, a client that checks
//! every answer against the OpenAPI document, and the proof at the end of each test that nothing was lost.

mod app;
mod bodies;
mod client;
mod events;
mod program;
mod raw;
pub mod receiver;
mod rewards;
pub mod secrets;
mod servers;

pub use app::{Build, TestApp, with_app, with_apps};
pub use bodies::{event, good_body};
pub use client::{Answer, Client, User, document};
pub use program::{Program, onrush, settings as program_settings};
pub use rewards::by_status;
pub use servers::{database_url_of, servers};

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Waits until something holds; fails, saying what, after ten seconds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl FnMut() -> F) {
    within(Duration::from_secs(10), what, holds).await;
}

/// The same, with a patience of its own.
pub async fn within<F: Future<Output = bool>>(patience: Duration, what: &str, mut holds: impl FnMut() -> F) {
    let until = Instant::now() + patience;
    while !holds().await {
        assert!(Instant::now() < until, "not in {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs all at once, and gives the results in order.
pub async fn at_once<T: Send + 'static>(
    jobs: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let running: Vec<_> = jobs.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::with_capacity(running.len());
    for job in running {
        results.push(job.await.expect("a job panicked"));
    }
    results
}

/// A future day, as the contract writes it.
pub fn day(ahead: u64) -> String {
    let today = chrono::Utc::now().with_timezone(&chrono_tz::Asia::Seoul).date_naive();
    (today + chrono::Days::new(ahead)).to_string()
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    onrush::servers::free_port().expect("a free port")
}

/// A Redis command, on a connection of its own: the beginning of the raw answer.
pub async fn redis_at(address: SocketAddr, command: &[&str]) -> String {
    let answer = redis_raw(address, command).await;
    assert!(!answer.starts_with('-'), "redis refused {command:?}: {answer}");
    answer
}

/// The same, whatever it is.
pub async fn redis_raw(address: SocketAddr, command: &[&str]) -> String {
    String::from_utf8_lossy(&redis_bytes(address, command).await).into_owned()
}

/// The same, of words and answers that are no text.
pub async fn redis_bytes(address: SocketAddr, command: &[impl AsRef<[u8]>]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut request = format!("*{}\r\n", command.len()).into_bytes();
    for word in command.iter().map(AsRef::as_ref) {
        request.extend([format!("${}\r\n", word.len()).as_bytes(), word, b"\r\n"].concat());
    }
    stream.write_all(&request).await.unwrap();
    let mut answer = vec![0; 16_384];
    let read = stream.read(&mut answer).await.unwrap();
    answer.truncate(read);
    answer
}

/// Every server of a Redis URL.
pub fn redis_nodes(url: &str) -> Vec<SocketAddr> {
    let rest = url.split_once("://").unwrap().1;
    let (first, more) = rest.split_once('?').unwrap_or((rest, ""));
    let nodes = more.split('&').filter_map(|node| node.strip_prefix("node="));
    std::iter::once(first).chain(nodes).map(|node| node.parse().unwrap()).collect()
}

/// A number from the environment, for runs longer than the usual one.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// A fresh idempotency key.
pub fn key() -> String {
    uuid::Uuid::new_v4().to_string()
}
