//! HTTP/1.1 by hand on one connection: a request is written into a buffer that is kept, an answer is read as
//! far as its status, its length and its bytes. Answers in chunks are not understood; Onrush sends none but
//! for streams.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Room for an answer; most need a tenth of it.
const ANSWER_BYTES: usize = 16 * 1024;

/// Where requests go.
#[derive(Clone)]
pub struct Server {
    address: SocketAddr,
    host: String,
}

impl Server {
    /// Of a URL such as `http://127.0.0.1:8080`.
    pub fn parse(url: &str) -> anyhow::Result<Server> {
        let host = url.strip_prefix("http://").context("a URL begins with http://")?.trim_end_matches('/');
        ensure!(!host.contains('/'), "{url} has a path");
        let named = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let found = named.to_socket_addrs().with_context(|| format!("cannot find {host}"))?.next();
        Ok(Server {
            address: found.with_context(|| format!("{host} has no address"))?,
            host: host.to_owned(),
        })
    }
}

/// What the server said.
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// What stands between `before` and the next quotation mark: with `"token":"` the token. Not a parser of
    /// JSON, but what it looks for are words and ids, in which nothing is escaped.
    pub fn text(&self, before: &str) -> Option<&'a str> {
        self.after(before)?.split('"').next()
    }

    /// The number behind `before`, such as `"pollAfterMs":`.
    pub fn number(&self, before: &str) -> Option<u64> {
        let rest = self.after(before)?;
        let end = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    }

    /// Whether it holds this.
    pub fn has(&self, text: &str) -> bool {
        self.after(text).is_some()
    }

    fn after(&self, text: &str) -> Option<&'a str> {
        let body = std::str::from_utf8(self.body).ok()?;
        body.find(text).map(|at| &body[at + text.len()..])
    }
}

/// A connection that stays open, the request to be sent on it, the answer to the last one.
pub struct Connection {
    server: Server,
    stream: Option<TcpStream>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    /// Connected, so that the first request is as fast as the others.
    pub async fn open(server: &Server) -> anyhow::Result<Connection> {
        let mut connection = Connection {
            server: server.clone(),
            stream: None,
            request: Vec::with_capacity(2048),
            answer: Vec::with_capacity(ANSWER_BYTES),
        };
        let stream = connection.connect().await;
        connection.stream = Some(stream.with_context(|| format!("cannot connect to {}", server.host))?);
        Ok(connection)
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.server.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Begins a request; `headers` and `json` or `empty` follow.
    pub fn begin(&mut self, method: &str, path: &[&str]) -> &mut Connection {
        self.request.clear();
        self.put(&[method, " "]).put(path);
        let Connection { server, request, .. } = self;
        request.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        request.extend_from_slice(server.host.as_bytes());
        request.extend_from_slice(b"\r\n");
        self
    }

    /// A header.
    pub fn header(&mut self, name: &str, value: &[&str]) -> &mut Connection {
        self.put(&[name, ": "]).put(value).put(&["\r\n"])
    }

    /// The key of a request that nobody has sent before.
    pub fn key(&mut self, run: &str, kind: &str, turn: u64) -> &mut Connection {
        // Writing into memory cannot fail.
        let _ = write!(self.request, "Idempotency-Key: {run}-{kind}-{turn}\r\n");
        self
    }

    /// Ends a request that has no body.
    pub fn empty(&mut self) {
        let length = if self.request.starts_with(b"GET ") { "" } else { "Content-Length: 0\r\n" };
        self.put(&[length, "\r\n"]);
    }

    /// Ends a request with a body.
    pub fn json(&mut self, body: &[&str]) {
        let length: usize = body.iter().map(|part| part.len()).sum();
        let _ = write!(self.request, "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        self.put(body);
    }

    fn put(&mut self, parts: &[&str]) -> &mut Connection {
        for part in parts {
            self.request.extend_from_slice(part.as_bytes());
        }
        self
    }

    /// Sends what was written. A server may close a connection that is idle: when it did so before it said
    /// anything, the request goes out once more on a new one. All that this sends may be sent twice.
    pub async fn send(&mut self) -> io::Result<Answer<'_>> {
        let was_open = self.stream.is_some();
        let head = match self.exchange().await {
            Err(error) if was_open && self.answer.is_empty() && is_closed(&error) => self.exchange().await?,
            other => other?,
        };
        let body = self.answer.get(head.length..head.length + head.body).unwrap_or_default();
        Ok(Answer { status: head.status, body })
    }

    async fn exchange(&mut self) -> io::Result<Head> {
        self.answer.clear();
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        stream.write_all(&self.request).await?;
        let mut head = None;
        loop {
            if stream.read_buf(&mut self.answer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if head.is_none() {
                head = Head::read(&self.answer)?;
            }
            if let Some(head) = head.take_if(|head| self.answer.len() >= head.length + head.body) {
                // Kept only when all went well: whatever is left on a broken one belongs to nobody.
                self.stream = (!head.closes).then_some(stream);
                return Ok(head);
            }
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// The beginning of an answer.
struct Head {
    status: u16,
    /// Bytes of itself, with the empty line.
    length: usize,
    /// Bytes behind it.
    body: usize,
    /// Whether the server closes the connection.
    closes: bool,
}

impl Head {
    /// None while it is not whole.
    fn read(bytes: &[u8]) -> io::Result<Option<Head>> {
        let mut head = Head { status: 0, length: 0, body: 0, closes: false };
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            head.length += line.len();
            if line == b"\r\n" {
                return Ok(Some(head));
            }
            if head.status == 0 {
                head.status = line.get(9..12).and_then(number).ok_or(ErrorKind::InvalidData)? as u16;
            } else if let Some(length) = value(line, b"content-length:") {
                head.body = number(length).ok_or(ErrorKind::InvalidData)?;
            } else if value(line, b"transfer-encoding:").is_some() {
                return Err(io::Error::new(ErrorKind::Unsupported, "an answer comes in chunks"));
            } else if let Some(how) = value(line, b"connection:") {
                head.closes = how.eq_ignore_ascii_case(b"close");
            }
        }
        Ok(None)
    }
}

/// The value of a header, when it is this one.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| rest.trim_ascii())
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
