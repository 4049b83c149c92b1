//! What tests send and get that nobody may find in a log: tokens and passwords. All that the applications of
//! a test, and the programs that it starts, log (ours at every level, others' from debug up) is kept, and
//! searched when the test ends.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{LazyLock, Mutex, MutexGuard, Once};
use std::thread::JoinHandle;

use reqwest::Request;
use reqwest::header::AUTHORIZATION;
use serde_json::Value;

/// Members of bodies that are secret.
const MEMBERS: &[&str] = &["password", "refreshToken", "accessToken", "token"];
/// Shorter ones are words that logs may hold by chance.
const SHORTEST: usize = 8;

static SECRETS: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
static LOG: LazyLock<Mutex<String>> = LazyLock::new(Mutex::default);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Keeps what this process logs from now on.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = tracing_subscriber::EnvFilter::new("debug,onrush=trace");
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Keep);
        subscriber.json().init();
    });
}

struct Keep;

impl Write for Keep {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&LOG).push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps what a program writes, until it ends.
pub fn listen_to(errors: impl Read + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            let mut log = lock(&LOG);
            log.push_str(&line);
            log.push('\n');
        }
    })
}

/// Remembers the secrets of a request.
pub fn sent(request: &Request) {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    keep(text(AUTHORIZATION.as_str()).trim_start_matches("Bearer "));
    keep(text("queue-token"));
    let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
    told(&serde_json::from_slice(body).unwrap_or_default());
}

/// Remembers the secrets of a body.
pub fn told(body: &Value) {
    MEMBERS.iter().filter_map(|member| body[member].as_str()).for_each(keep);
}

fn keep(secret: &str) {
    if secret.len() >= SHORTEST {
        lock(&SECRETS).insert(secret.to_owned());
    }
}

/// The secrets that a log tells, up to ten. A token counts by its last part, wherever it stands.
pub fn found_in(log: &str) -> Vec<String> {
    let secrets = lock(&SECRETS);
    let log = log.replace("\\n", "\n");
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let words: HashSet<&str> = log.split(|c| !is_part(c)).filter(|word| word.len() >= SHORTEST).collect();
    let told = |secret: &&String| {
        // Tokens are words; a password may be anything, and there are few.
        let is_token = secret.len() > 40 && secret.chars().all(|c| is_part(c) || ".|".contains(c));
        let last = secret.rsplit(['.', '|']).next().unwrap_or_default();
        if is_token && last.len() >= SHORTEST { words.contains(last) } else { log.contains(secret.as_str()) }
    };
    let of_any = words.iter().filter(|word| word.starts_with("eyJ") && word.len() > 20);
    let of_any = of_any.map(|word| (*word).to_owned());
    secrets.iter().filter(told).cloned().chain(of_any).take(10).collect()
}

/// How many secrets are known, and how much was logged.
pub fn seen() -> (usize, usize) {
    (lock(&SECRETS).len(), lock(&LOG).len())
}

/// What was logged since the last time that it was searched.
pub fn log() -> String {
    lock(&LOG).clone()
}

/// Fails when a secret was logged since the last time.
pub fn assert_none_logged() {
    let log = std::mem::take(&mut *lock(&LOG));
    let found = found_in(&log);
    assert!(found.is_empty(), "secrets were logged: {found:?}");
}
