//! A reward in its shard.

use chrono::NaiveDate;

use super::model::{Grant, RewardBody};
use crate::events::model::Chance;
use crate::http::version::Expected;
use crate::ids::{CampaignId, EventId, RewardId, RewardRequestId, UserId};
use crate::journal::facts::Text;
use crate::redis::or_empty;
use crate::redis::{Key, Space, script};

/// State, version, what it is, stock, how much of it is taken.
pub fn reward(space: &Space, reward: RewardId) -> Key {
    space.key("rewards", &[&reward, &"reward"])
}

/// `event|user` → `state:request`, a field a request; a key for each day of daily events, which is dropped
/// when that is over.
pub fn marks(space: &Space, reward: RewardId, day: Option<NaiveDate>) -> Key {
    match day {
        None => space.key("rewards", &[&reward, &"marks"]),
        Some(day) => space.key("rewards", &[&reward, &format_args!("{DAILY_MARKS}{day}")]),
    }
}

/// How the part of a key begins that holds marks of a day.
pub const DAILY_MARKS: &str = "marks-";

/// `reward|day` of all days of which there are marks, in a shard.
pub fn days(space: &Space) -> Key {
    space.key("rewards", &[&"days"])
}

/// Request → `state|user|event|period|type|amount|campaign`, until it is granted or rejected.
pub fn open(space: &Space, reward: RewardId) -> Key {
    space.key("rewards", &[&reward, &"open"])
}

script! {
    /// Makes a reward.
    Create = "rewards/create" {
        keys { reward }
        args { id: RewardId, name: Text, what: &'static str, amount: String, campaign: String, stock: i64 }
    }

    /// Changes one.
    Change = "rewards/change" {
        keys { reward }
        args {
            id: RewardId, expected: Expected, runs: u8, name: Text, what: &'static str, amount: String,
            campaign: String, stock: i64,
        }
    }

    /// Takes one away.
    Delete = "rewards/delete" { keys { reward } args { id: RewardId, expected: Expected, runs: u8 } }

    /// Takes one of the stock for a user.
    Ask = "rewards/request" {
        keys { reward, marks, open, days }
        args {
            granted: RewardRequestId, id: RewardId, event: EventId, event_version: i64, user: UserId,
            period: String, from: i64, till: i64, auto: u8, refused: &'static str, evidence: Text,
        }
    }

    /// An operator lets a request be granted.
    Approve = "rewards/approve" {
        keys { marks, open }
        args { granted: RewardRequestId, id: RewardId }
    }

    /// Days of which there are marks.
    Days = "rewards/days" { keys { days } args { limit: usize } }

    /// Drops the marks of one that is over.
    Forget = "rewards/forget" { keys { marks, days } args { day: String, over_ms: i64 } }

    /// Ends a request.
    Settle = "rewards/settle" {
        keys { reward, marks, open }
        args { granted: RewardRequestId, id: RewardId, from: char, reason: Text }
    }
}

/// Makes a reward.
pub fn create(space: &Space, id: RewardId, body: &RewardBody) -> Create {
    Create {
        reward: reward(space, id),
        id,
        name: Text(body.name.clone()),
        what: body.kind.word(),
        amount: or_empty(body.amount),
        campaign: campaign_word(body.campaign_id),
        stock: body.stock,
    }
}

/// Changes one, if it has a version that is expected.
pub fn change(space: &Space, id: RewardId, body: &RewardBody, expected: &Expected, runs: bool) -> Change {
    let Create { reward, id, name, what, amount, campaign, stock } = create(space, id, body);
    let expected = expected.clone();
    Change { reward, id, expected, runs: runs.into(), name, what, amount, campaign, stock }
}

/// Takes one away, if it has a version that is expected.
pub fn delete(space: &Space, id: RewardId, expected: &Expected, runs: bool) -> Delete {
    Delete { reward: reward(space, id), id, expected: expected.clone(), runs: runs.into() }
}

/// Takes one of the stock for a user who has the chance, or who `refused` says has not.
pub fn ask(
    space: &Space,
    granted: RewardRequestId,
    (event, id, user): (EventId, RewardId, UserId),
    chance: &Chance,
    refused: &'static str,
) -> Ask {
    Ask {
        reward: reward(space, id),
        marks: marks(space, id, chance.period),
        open: open(space, id),
        days: days(space),
        granted,
        id,
        event,
        event_version: chance.event_version,
        user,
        period: chance.period.map(|day| day.to_string()).unwrap_or_default(),
        from: chance.from_ms,
        till: chance.till_ms,
        auto: chance.auto.into(),
        refused,
        evidence: Text(chance.evidence.json()),
    }
}

/// An operator lets a request be granted.
pub fn approve(space: &Space, grant: &Grant) -> Approve {
    let id = grant.reward;
    Approve { marks: marks(space, id, grant.period), open: open(space, id), granted: grant.request, id }
}

/// What a request is before it ends: waiting for an operator, or on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// An operator decides.
    Pending,
    /// It was to be granted.
    Granting,
}

/// Ends a request: without a reason it is granted.
pub fn settle(space: &Space, grant: &Grant, from: From, reason: Option<&str>) -> Settle {
    let (granted, id) = (grant.request, grant.reward);
    let from = match from {
        From::Pending => 'P',
        From::Granting => 'A',
    };
    let reason = Text(reason.unwrap_or_default().to_owned());
    let (reward, marks) = (reward(space, id), marks(space, id, grant.period));
    Settle { reward, marks, open: open(space, id), granted, id, from, reason }
}

/// A campaign's id as scripts and records write it.
pub fn campaign_word(campaign: Option<CampaignId>) -> String {
    campaign.map(|id| id.to_string()).unwrap_or_default()
}

/// Drops the marks of a day, if it was over by then.
pub fn forget(space: &Space, reward: RewardId, day: NaiveDate, over_ms: i64) -> Forget {
    let marks = marks(space, reward, Some(day));
    Forget { marks, days: days(space), day: format!("{reward}|{day}"), over_ms }
}
