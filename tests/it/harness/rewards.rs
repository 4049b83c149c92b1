//! What a client does with rewards and events.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Answer, Client, User, merge};

/// How many answers have each status.
pub fn by_status(answers: &[Answer]) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    answers.iter().for_each(|answer| *counts.entry(answer.status).or_default() += 1);
    counts
}

impl Client {
    /// Points, 10 for each, unless `over` says otherwise.
    pub async fn reward(&self, operator: &User, stock: i64, over: Value) -> String {
        let mut body = json!({"name": "r", "type": "POINTS", "amount": 10, "stock": stock});
        merge(&mut body, over);
        self.post_as(operator, "/v1/rewards", body).await.expect(201).text_of("rewardId")
    }

    /// An event that runs and gives this reward out; `over` changes its body.
    pub async fn event(&self, operator: &User, reward: &str, over: Value) -> String {
        let mut body = super::event(reward);
        merge(&mut body, over);
        self.post_as(operator, "/v1/events", body).await.expect(201).text_of("eventId")
    }

    /// Asks for a reward with a key of its own.
    pub async fn ask(&self, user: &User, event: &str, reward: &str) -> Answer {
        self.post_as(user, "/v1/reward-requests", json!({"eventId": event, "rewardId": reward})).await
    }

    /// An operator's `approve`, or `reject` with a body.
    pub async fn decide(&self, operator: &User, request: &str, what: &str, body: Value) -> Answer {
        let request = self.request(Method::PUT, &format!("/v1/reward-requests/{request}/{what}"));
        let request = request.bearer_auth(&operator.token);
        self.send(if body.is_null() { request } else { request.json(&body) }).await
    }

    /// A change of what was read in a version.
    pub async fn put_version(&self, user: &User, path: &str, version: &str, body: Value) -> Answer {
        let request = self.request(Method::PUT, path).bearer_auth(&user.token).header("If-Match", version);
        self.send(request.json(&body)).await
    }

    /// The end of what was read in a version.
    pub async fn delete_version(&self, user: &User, path: &str, version: &str) -> Answer {
        self.send(self.request(Method::DELETE, path).bearer_auth(&user.token).header("If-Match", version))
            .await
    }
}
