//! What the world outside is told of requests for rewards.

use serde_json::json;

use super::event::RewardEvent;
use crate::clock::rfc3339;
use crate::delivery::notice::Notice;
use crate::journal::entry::Entry;

/// A request ends once, so each has one notice.
pub fn of(entry: &Entry, event: &RewardEvent) -> Option<Notice> {
    Some(match event {
        RewardEvent::RewardGranted(fact) => {
            let fact = fact.clone();
            let about = fact.request.uuid();
            Notice::of(entry, "reward.granted", about, about, move |at| {
                json!({
                    "requestId": fact.request,
                    "eventId": fact.event,
                    "rewardId": fact.reward,
                    "userId": fact.user,
                    "type": fact.kind.0,
                    "amount": fact.amount,
                    "campaignId": fact.campaign,
                    "grantedAt": rfc3339(at),
                })
            })
        }
        RewardEvent::RewardRejected(fact) => {
            let fact = fact.clone();
            let about = fact.request.uuid();
            Notice::of(entry, "reward.rejected", about, about, move |at| {
                json!({
                    "requestId": fact.request,
                    "eventId": fact.event,
                    "rewardId": fact.reward,
                    "userId": fact.user,
                    "reason": fact.reason.0,
                    "rejectedAt": rfc3339(at),
                })
            })
        }
        _ => return None,
    })
}
