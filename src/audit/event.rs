//! What the journal says of acts.

use crate::ids::UserId;
use crate::journal::facts::{Text, events};

events! {
    /// Facts of whatever shard the act was in.
    AuditEvent {
        /// Somebody acted by his role. It stands before the facts of what he did; `after` is JSON, or empty.
        Acted = "audit.acted" {
            actor: UserId, role: Text, action: Text, target: Text, after: Text, request: Text,
        }
    }
}
