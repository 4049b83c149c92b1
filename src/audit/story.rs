//! How something was before an act and after it, by the facts of its journal entry.

use serde_json::{Value, json};

use crate::journal::entry::{BadEntry, Facts};
use crate::queue::event::{QueueChanged, QueueWas};
use crate::queue::model::rate;
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
    if let Some(charged) = facts.find::<PointsCharged>()? {
        let before = charged.balance.get() - charged.amount.get();
        return Ok(Some((json!({"balance": before}), json!({"balance": charged.balance.get()}))));
    }
    if facts.find::<HoldCancelled>()?.is_some() {
        return Ok(Some((json!({"status": "RESERVED"}), json!({"status": "CANCELLED"}))));
    }
    Ok(None)
}
