//! The words of the audit log.

use std::fmt::Display;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::event::Acted;
use crate::accounts::model::Role;
use crate::http::identity::Actor;
use crate::ids::UserId;
use crate::journal::facts::{Fact, Text};

/// An act before it is done.
#[derive(Clone, Debug)]
pub struct Act {
    /// Who.
    pub actor: UserId,
    /// As what.
    pub role: Role,
    /// On what, as a path without `/v1/`.
    pub target: String,
    /// How it is after it, as far as the request says so.
    pub after: Option<Value>,
    /// `X-Request-Id`.
    pub request_id: String,
}

impl Act {
    /// What `by` is about to do to `target`, asking for `after`.
    pub fn new<B: Serialize>(by: &Actor, target: impl Display, after: Option<&B>) -> Self {
        Self {
            actor: by.me.user,
            role: by.me.role,
            target: target.to_string(),
            // Request bodies are plain structs, which serde_json writes without failing.
            after: after.and_then(|body| serde_json::to_value(body).ok()),
            request_id: by.request_id.0.to_string(),
        }
    }

    /// The journal's line.
    pub fn line(&self, action: &str) -> String {
        let text = |text: &str| Text(text.to_owned()).to_string();
        let after = self.after.as_ref().map(Value::to_string).unwrap_or_default();
        let fields = [
            self.actor.to_string(),
            text(self.role.word()),
            text(action),
            text(&self.target),
            text(&after),
            text(&self.request_id),
        ];
        format!("{}|{}", Acted::KIND, fields.join("|"))
    }
}

/// A line of the audit log.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// When it was done.
    #[serde(with = "crate::clock::millis")]
    pub at: DateTime<Utc>,
    /// Who did it.
    pub actor: UserId,
    /// As what.
    pub role: String,
    /// What, as an operation (`queues.change`).
    pub action: String,
    /// On what, as a path (`queues/{queueId}`).
    pub target: String,
    /// How it was; null where there was nothing.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// How it is now; null where nothing is left.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
    /// The `X-Request-Id` of the request.
    pub request_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_survives_the_journal() {
        let by = Actor::at_start(UserId::mint(), Role::Admin);
        let act = Act::new(&by, "queues/1", Some(&serde_json::json!({"name": "a|b\n%"})));
        let acted = Acted::from_line(&act.line("queues.create")).unwrap().unwrap();
        assert_eq!((acted.actor, acted.action.0.as_str()), (act.actor, "queues.create"));
        assert_eq!(serde_json::from_str::<Value>(&acted.after.0).unwrap(), act.after.unwrap());
    }
}
