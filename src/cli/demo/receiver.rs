//! The demo's data platform: receives what happens, checks the signature and shows it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::json;
use tokio::net::TcpListener;

use super::{random_text, write_private};
use crate::delivery::notice::KINDS;

const FILE: &str = "delivery.json";
/// Lines that may wait to be shown; what comes beyond is received and not shown.
const LINES_MAX: usize = 1_000;

/// What a request needs.
#[derive(Clone)]
struct Desk {
    checker: Arc<standardwebhooks::Webhook>,
    lines: SyncSender<String>,
}

/// Shows lines from a thread of its own: whoever does not read what the demo prints must not stop it.
fn shown() -> anyhow::Result<SyncSender<String>> {
    let (lines, told) = sync_channel::<String>(LINES_MAX);
    std::thread::Builder::new().name("receiver".into()).spawn(move || {
        // Who closed the pipe has seen enough.
        told.iter().for_each(|line| drop(writeln!(std::io::stdout(), "{line}")));
    })?;
    Ok(lines)
}

/// Listens on a free loopback port and writes the file that says so.
pub struct Receiver {
    listener: TcpListener,
    desk: Desk,
    /// For `ONRUSH_DELIVERY`.
    pub file: PathBuf,
    /// Where it listens.
    pub url: String,
}

impl Receiver {
    /// Binds; nothing is answered yet.
    pub async fn bind(folder: &Path) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for the demo's receiver")?;
        let url = format!("http://{}/", listener.local_addr()?);
        let secret = format!("whsec_{}", random_text(32)?);
        let webhook = json!({"url": url, "secret": secret, "allowPrivate": true});
        let endpoint = json!({"name": "demo", "kinds": KINDS, "to": {"webhook": webhook}});
        let file = folder.join(FILE);
        write_private(&file, json!({"endpoints": [endpoint]}).to_string().as_bytes())?;
        let checker = Arc::new(standardwebhooks::Webhook::new(&secret)?);
        Ok(Self { listener, desk: Desk { checker, lines: shown()? }, file, url })
    }

    /// Answers until dropped.
    pub async fn serve(self) {
        let router = Router::new().route("/", post(receive)).with_state(self.desk);
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::warn!(%error, "the demo's receiver has ended");
        }
    }
}

async fn receive(State(desk): State<Desk>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if let Err(error) = desk.checker.verify(&body, &headers) {
        tracing::warn!(%error, "somebody else asked the demo's receiver");
        return StatusCode::UNAUTHORIZED;
    }
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
    let (kind, id) = (header("onrush-kind"), header(standardwebhooks::HEADER_WEBHOOK_ID));
    drop(desk.lines.try_send(format!("received {kind} {id} {}", String::from_utf8_lossy(&body))));
    StatusCode::NO_CONTENT
}
