//! What happens to rewards and to requests for them.

use crate::ids::{CampaignId, EventId, RewardId, RewardRequestId, UserId};
use crate::journal::facts::{Text, events};

events! {
    /// Facts of a reward's shard; the grants are facts of the shard that grants.
    RewardEvent {
        /// A reward was made. `kind` is POINTS, COUPON or ITEM.
        RewardCreated = "reward.created" {
            reward: RewardId, name: Text, kind: Text, amount: Option<i64>, campaign: Option<CampaignId>,
            stock: i64,
        }
        /// How a reward was before the change that the same entry tells.
        RewardWas = "reward.was" {
            reward: RewardId, version: i64, name: Text, kind: Text, amount: Option<i64>,
            campaign: Option<CampaignId>, stock: i64,
        }
        /// It is another from here on; `taken` of its stock are given out or asked for.
        RewardChanged = "reward.changed" {
            reward: RewardId, version: i64, name: Text, kind: Text, amount: Option<i64>,
            campaign: Option<CampaignId>, stock: i64, taken: i64,
        }
        /// It is not to be had any more.
        RewardDeleted = "reward.deleted" { reward: RewardId, version: i64 }
        /// A user asked, and one of the stock is his unless it is rejected. `auto` is 1 where no operator is
        /// waited for; `evidence` (JSON) is how he met the condition of this version of the event.
        RewardRequested = "reward.requested" {
            request: RewardRequestId, reward: RewardId, event: EventId, event_version: i64, user: UserId,
            period: Text, auto: u32, kind: Text, amount: Option<i64>, campaign: Option<CampaignId>,
            evidence: Text,
        }
        /// An operator lets it be granted.
        RewardApproved = "reward.approved" { request: RewardRequestId, reward: RewardId }
        /// It is the user's, and is there.
        RewardGranted = "reward.granted" {
            request: RewardRequestId, reward: RewardId, event: EventId, user: UserId, kind: Text,
            amount: Option<i64>, campaign: Option<CampaignId>,
        }
        /// It is not, and its stock went back.
        RewardRejected = "reward.rejected" {
            request: RewardRequestId, reward: RewardId, event: EventId, user: UserId, reason: Text,
        }
        /// Points, or the coupon of this number, were given for a request.
        GrantMade = "grant.made" {
            request: RewardRequestId, user: UserId, campaign: Option<CampaignId>, number: Option<i64>,
        }
        /// They cannot be; `reason` is a code of the contract.
        GrantRefused = "grant.refused" { request: RewardRequestId, user: UserId, reason: Text }
    }
}
