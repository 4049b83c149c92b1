//! How something was before an act and after it, by the facts of its journal entry.

use serde_json::{Value, json};

use crate::ids::CampaignId;
use crate::journal::entry::{BadEntry, Facts};
use crate::queue::event::{QueueChanged, QueueWas};
use crate::queue::model::rate;
use crate::rewards::event::{RewardApproved, RewardChanged, RewardRejected, RewardWas};
use crate::seats::event::HoldCancelled;
use crate::wallet::event::PointsCharged;

/// Before and after; `None` where what was asked for says it all.
pub fn of(facts: &Facts) -> Result<Option<(Value, Value)>, BadEntry> {
    if let (Some(was), Some(is)) = (facts.find::<QueueWas>()?, facts.find::<QueueChanged>()?) {
        let settings = |state: &str, rate_tenths, max_active, active_seconds, max_waiting: Option<i64>| {
            json!({
                "state": state, "admitPerSecond": rate(rate_tenths), "maxActive": max_active,
                "activeSeconds": active_seconds, "maxWaiting": max_waiting,
            })
        };
        return Ok(Some((
            settings(&was.state.0, was.rate_tenths, was.max_active, was.active_seconds, was.max_waiting),
            settings(&is.state.0, is.rate_tenths, is.max_active, is.active_seconds, is.max_waiting),
        )));
    }
    if let Some(was) = facts.find::<RewardWas>()? {
        let reward = |version, name: &str, kind: &str, amount, campaign: Option<CampaignId>, stock| {
            json!({
                "version": version, "name": name, "type": kind, "amount": amount, "campaignId": campaign,
                "stock": stock,
            })
        };
        let before = reward(was.version, &was.name.0, &was.kind.0, was.amount, was.campaign, was.stock);
        let is = facts.find::<RewardChanged>()?;
        let after = is
            .map(|is| reward(is.version, &is.name.0, &is.kind.0, is.amount, is.campaign, is.stock))
            .unwrap_or_default();
        return Ok(Some((before, after)));
    }
    if facts.find::<RewardApproved>()?.is_some() {
        return Ok(Some((json!({"status": "PENDING"}), json!({"status": "APPROVED"}))));
    }
    if let Some(rejected) = facts.find::<RewardRejected>()? {
        let after = json!({"status": "REJECTED", "reason": rejected.reason.0});
        return Ok(Some((json!({"status": "PENDING"}), after)));
    }
    if let Some(charged) = facts.find::<PointsCharged>()? {
        let before = charged.balance.get() - charged.amount.get();
        return Ok(Some((json!({"balance": before}), json!({"balance": charged.balance.get()}))));
    }
    if facts.find::<HoldCancelled>()?.is_some() {
        return Ok(Some((json!({"status": "RESERVED"}), json!({"status": "CANCELLED"}))));
    }
    Ok(None)
}
