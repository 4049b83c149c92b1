//! A system that is told what happens: as good or as bad as a test wants it. It reads requests by itself, so
//! that it can also hang, reset and die between receiving and answering.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::secrets;

const SECRET: &str = "whsec_b25ydXNoIHRlc3RzIHNpZ24gd2l0aCB0aGlzIGtleQ==";

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It is answered with this status.
    Answer(u16),
    /// It is answered with a redirection.
    Redirect(u16),
    /// It is never answered.
    Hang,
    /// The connection is reset before the request is read.
    Reset,
    /// The request is received, and then the receiver dies.
    Die,
}

/// A message that came.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub id: String,
    pub kind: String,
    pub aggregate: String,
    pub body: Value,
    /// It was told that it arrived.
    pub accepted: bool,
}

type Decide = dyn Fn(&Arrival) -> Behaviour + Send + Sync;

struct State {
    arrivals: Mutex<Vec<Arrival>>,
    decide: Mutex<Arc<Decide>>,
}

/// The receiver, on a port of its own.
pub struct Receiver {
    pub port: u16,
    state: Arc<State>,
    serving: Option<tokio::task::JoinHandle<()>>,
    _folder: tempfile::TempDir,
    file: PathBuf,
}

impl Receiver {
    /// One that accepts whatever comes; `over` changes the settings of delivery.
    pub async fn start(kinds: &[&str], over: Value) -> Self {
        secrets::told(&json!({"token": SECRET}));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("delivery.json");
        let always: Arc<Decide> = Arc::new(|_: &Arrival| Behaviour::Answer(204));
        let state = Arc::new(State { arrivals: Mutex::default(), decide: Mutex::new(always) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let webhook =
            json!({"url": format!("http://127.0.0.1:{port}/told"), "secret": SECRET, "allowPrivate": true});
        let mut settings = json!({
            "endpoints": [{"name": "platform", "kinds": kinds, "to": {"webhook": webhook}}],
            "timeoutMs": 500, "connectTimeoutMs": 500, "breakerSeconds": 0.1,
        });
        for (member, value) in over.as_object().unwrap() {
            settings[member] = value.clone();
        }
        std::fs::write(&file, settings.to_string()).unwrap();
        let serving = Some(tokio::spawn(serve(listener, state.clone())));
        Self { port, state, serving, _folder: folder, file }
    }

    /// For `Build::delivery`.
    pub fn file(&self) -> Option<PathBuf> {
        Some(self.file.clone())
    }

    /// From now on it behaves so.
    pub fn behave(&self, decide: impl Fn(&Arrival) -> Behaviour + Send + Sync + 'static) {
        *self.state.decide.lock().unwrap() = Arc::new(decide);
    }

    /// Nobody listens any more.
    pub async fn go_down(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            drop(serving.await);
        }
    }

    /// It listens again, where it did.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.serving = Some(tokio::spawn(serve(listener, self.state.clone())));
    }

    /// All that came, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state.arrivals.lock().unwrap().clone()
    }

    /// What was accepted first, by aggregate, in order of its first arrival.
    pub fn by_aggregate(&self) -> BTreeMap<String, Vec<Arrival>> {
        let mut found: BTreeMap<String, Vec<Arrival>> = BTreeMap::new();
        for arrival in self.arrivals() {
            let known = found.entry(arrival.aggregate.clone()).or_default();
            match known.iter_mut().find(|one| one.id == arrival.id) {
                Some(again) => {
                    assert_eq!(again.body, arrival.body, "one id, one message");
                    again.accepted |= arrival.accepted;
                }
                None => {
                    let waits = known.iter().find(|one| !one.accepted);
                    assert!(waits.is_none(), "{arrival:?} came before {waits:?} had arrived");
                    known.push(arrival);
                }
            }
        }
        found
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.take().into_iter().for_each(|serving| serving.abort());
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    // They end with the receiver.
    let mut open = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        open.spawn(answer(stream, state.clone()));
    }
}

/// Reads requests of one connection, until one is treated badly.
async fn answer(stream: TcpStream, state: Arc<State>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (headers, body) = read(&mut stream).await?;
        let text = |name: &str| headers[name].to_str().unwrap().to_owned();
        let checker = standardwebhooks::Webhook::new(SECRET).unwrap();
        checker.verify(&body, &headers).expect("it is signed");
        assert_eq!(headers["content-type"], "application/json");
        let mut arrival = Arrival {
            id: text("webhook-id"),
            kind: text("onrush-kind"),
            aggregate: text("onrush-aggregate"),
            body: serde_json::from_slice(&body).unwrap(),
            accepted: false,
        };
        let decide = state.decide.lock().unwrap().clone();
        let behaviour = decide(&arrival);
        arrival.accepted = matches!(behaviour, Behaviour::Answer(200..=299));
        if behaviour == Behaviour::Reset {
            // Unread bytes make the kernel answer with a reset.
            stream.get_ref().set_zero_linger().ok();
            return None;
        }
        state.arrivals.lock().unwrap().push(arrival);
        match behaviour {
            Behaviour::Answer(status) => {
                let head = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(head.as_bytes()).await.ok()?;
            }
            Behaviour::Redirect(port) => {
                let to = format!("Location: http://127.0.0.1:{port}/\r\nContent-Length: 0");
                stream.write_all(format!("HTTP/1.1 307 x\r\n{to}\r\n\r\n").as_bytes()).await.ok()?;
            }
            Behaviour::Hang => tokio::time::sleep(Duration::from_secs(60)).await,
            Behaviour::Reset | Behaviour::Die => return None,
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<(HeaderMap, Vec<u8>)> {
    let mut headers = HeaderMap::new();
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|count| *count > 0)?;
    assert_eq!(line, "POST /told HTTP/1.1\r\n");
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok().filter(|count| *count > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        let name: HeaderName = name.parse().unwrap();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    let length = headers["content-length"].to_str().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((headers, body))
}
