//! What happens to campaigns.

use crate::ids::{CampaignId, UserId};
use crate::journal::facts::{Text, events};

events! {
    /// Facts of a campaign's shard.
    CouponEvent {
        /// A campaign was made. `ordinal` stands for it in its codes.
        CampaignCreated = "campaign.created" {
            campaign: CampaignId, ordinal: i64, name: Text, quantity: i64, expires_ms: i64,
            opens_ms: Option<i64>, closes_ms: Option<i64>, per_user: i64,
        }
        /// A user got its next coupon, his `nth` of it; its code is made with the key of this version.
        CouponClaimed = "coupon.claimed" {
            campaign: CampaignId, ordinal: i64, user: UserId, nth: i64, number: i64, remaining: i64,
            per_user: i64, version: i64, expires_ms: i64,
        }
    }
}
