//! A campaign in its shard.

use super::model::CreateCampaign;
use crate::ids::{CampaignId, RewardRequestId, UserId};
use crate::journal::facts::Text;
use crate::redis::or_empty;
use crate::redis::{Key, Space, script};

/// Quantity, claimed, window, limit.
pub fn campaign(space: &Space, campaign: CampaignId) -> Key {
    space.key("coupons", &[&campaign, &"campaign"])
}

/// User → `number:key version`, by commas.
pub fn claimants(space: &Space, campaign: CampaignId) -> Key {
    space.key("coupons", &[&campaign, &"claimants"])
}

script! {
    /// Makes a campaign.
    Create = "coupons/create" {
        keys { campaign }
        args {
            id: CampaignId, ordinal: i32, name: Text, quantity: i64, expires: i64, opens: String,
            closes: String, per_user: i64,
        }
    }

    /// Gives a user the next coupon.
    Claim = "coupons/claim" {
        keys { campaign, claimants }
        args { id: CampaignId, user: UserId, version: i16 }
    }

    /// The same as a reward, or says why not.
    Grant = "coupons/grant" {
        keys { campaign, claimants }
        args { granted: RewardRequestId, id: CampaignId, user: UserId, version: i16 }
    }
}

/// Makes a campaign.
pub fn create(space: &Space, id: CampaignId, ordinal: i32, body: &CreateCampaign) -> Create {
    Create {
        campaign: campaign(space, id),
        id,
        ordinal,
        name: Text(body.name.clone()),
        quantity: body.quantity,
        expires: body.expires_at.timestamp_millis(),
        opens: or_empty(body.opens_at.map(|time| time.timestamp_millis())),
        closes: or_empty(body.closes_at.map(|time| time.timestamp_millis())),
        per_user: body.per_user,
    }
}

/// Gives a user the next coupon, whose code is made with the key of this version.
pub fn claim(space: &Space, id: CampaignId, user: UserId, version: i16) -> Claim {
    Claim { campaign: campaign(space, id), claimants: claimants(space, id), id, user, version }
}

/// The same as a reward, or says why not.
pub fn grant(space: &Space, granted: RewardRequestId, id: CampaignId, user: UserId, version: i16) -> Grant {
    Grant { campaign: campaign(space, id), claimants: claimants(space, id), granted, id, user, version }
}
