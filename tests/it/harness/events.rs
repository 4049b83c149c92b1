//! A reader of Server-Sent Events.

use futures::StreamExt;
use serde_json::Value;

use super::TestApp;

/// An open stream.
pub struct Events {
    response: std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    waiting: String,
}

impl TestApp {
    /// Opens the stream of a ticket.
    pub async fn events(&self, queue: &str, token: &str) -> Events {
        let client = self.client();
        let path = format!("/v1/queues/{queue}/tickets/me/events");
        let request = client.request(reqwest::Method::GET, &path).header("Queue-Token", token);
        let response = request.send().await.expect("the stream opens");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { response: Box::pin(response.bytes_stream()), waiting: String::new() }
    }
}

impl Events {
    /// The next event's name and body; comments are passed over.
    pub async fn next(&mut self) -> (String, Value) {
        loop {
            while let Some((event, rest)) = self.waiting.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.waiting = rest;
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if let Some(name) = field("event:") {
                    return (name.into(), serde_json::from_str(field("data:").unwrap()).unwrap());
                }
            }
            let bytes = self.response.next().await.expect("the stream goes on").expect("the stream is whole");
            self.waiting.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// Whether nothing more comes.
    pub async fn ended(&mut self) -> bool {
        self.response.next().await.is_none() && self.waiting.trim().is_empty()
    }
}
