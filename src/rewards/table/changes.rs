//! What a round of the writer changes in rewards, requests and grants.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::error::Error;
use crate::ids::{CampaignId, RewardId, RewardRequestId, UserId};
use crate::journal::entry::Entry;
use crate::journal::table::statements::Statements;
use crate::redis::Shard;
use crate::rewards::event::{RewardChanged, RewardCreated, RewardDeleted, RewardEvent, RewardRequested};

/// How a request ended, and when; with the reason where it was rejected.
struct Ended {
    request: RewardRequestId,
    reason: Option<String>,
    at: DateTime<Utc>,
}

/// What a shard that grants has said.
pub(super) struct Said {
    pub(super) request: RewardRequestId,
    pub(super) shard: Shard,
    pub(super) user: UserId,
    pub(super) reason: Option<String>,
    pub(super) campaign: Option<CampaignId>,
    pub(super) number: Option<i64>,
    pub(super) at: DateTime<Utc>,
}

/// What a round adds.
#[derive(Default)]
pub struct Changes {
    created: Vec<(Shard, DateTime<Utc>, RewardCreated)>,
    changed: Vec<RewardChanged>,
    deleted: Vec<(DateTime<Utc>, RewardDeleted)>,
    taken: BTreeMap<RewardId, i64>,
    pub(super) requested: Vec<(Shard, DateTime<Utc>, RewardRequested)>,
    approved: Vec<RewardRequestId>,
    ended: Vec<Ended>,
    pub(super) said: Vec<Said>,
    /// They are taken over from Redis, which knows that they were taken, and not what for.
    pub(super) are_adopted: bool,
}

impl Changes {
    /// Takes up one fact.
    pub fn fold(&mut self, entry: &Entry, event: RewardEvent) {
        let (shard, at) = (entry.receipt.shard, entry.at());
        match event {
            RewardEvent::RewardCreated(fact) => self.created.push((shard, at, fact)),
            RewardEvent::RewardWas(_) => {}
            RewardEvent::RewardChanged(fact) => self.changed.push(fact),
            RewardEvent::RewardDeleted(fact) => self.deleted.push((at, fact)),
            RewardEvent::RewardRequested(fact) => {
                *self.taken.entry(fact.reward).or_default() += 1;
                self.requested.push((shard, at, fact));
            }
            RewardEvent::RewardApproved(fact) => self.approved.push(fact.request),
            RewardEvent::RewardGranted(fact) => {
                self.ended.push(Ended { request: fact.request, reason: None, at });
            }
            RewardEvent::RewardRejected(fact) => {
                *self.taken.entry(fact.reward).or_default() -= 1;
                self.ended.push(Ended { request: fact.request, reason: Some(fact.reason.0), at });
            }
            RewardEvent::GrantMade(fact) => self.said.push(Said {
                request: fact.request,
                shard,
                user: fact.user,
                reason: None,
                campaign: fact.campaign,
                number: fact.number,
                at,
            }),
            RewardEvent::GrantRefused(fact) => self.said.push(Said {
                request: fact.request,
                shard,
                user: fact.user,
                reason: Some(fact.reason.0),
                campaign: None,
                number: None,
                at,
            }),
        }
    }

    /// Says it all, each table in the order of a request's life.
    pub fn say(&self, to: &mut Statements) -> Result<(), Error> {
        for (shard, at, fact) in &self.created {
            create(to, *shard, *at, fact);
        }
        self.say_rewards(to);
        if !self.requested.is_empty() {
            self.say_requests(to)?;
        }
        if !self.approved.is_empty() {
            to.say(
                "approve_requests",
                "update reward_requests set state = 'GRANTING', recorded_at = clock_timestamp()
                 where request_id = any($1) and state = 'PENDING'",
            )
            .bind(&self.approved);
        }
        if !self.said.is_empty() {
            self.say_said(to);
        }
        if !self.ended.is_empty() {
            self.say_ended(to);
        }
        Ok(())
    }

    /// A change and what was taken meanwhile in one statement: only both together need fit the stock.
    fn say_rewards(&self, to: &mut Statements) {
        let mut taken = self.taken.clone();
        // Of changes in one round the last is how it is.
        let last: BTreeMap<RewardId, &RewardChanged> =
            self.changed.iter().map(|fact| (fact.reward, fact)).collect();
        for (reward, fact) in last {
            to.say(
                "change_rewards",
                "update rewards set version = $2, name = $3, type = $4, amount = $5, campaign_id = $6,
                     stock = $7, taken = taken + $8
                 where reward_id = $1",
            )
            .bind(reward)
            .bind(fact.version)
            .bind(&fact.name.0)
            .bind(&fact.kind.0)
            .bind(fact.amount)
            .bind(fact.campaign)
            .bind(fact.stock)
            .bind(taken.remove(&reward).unwrap_or(0));
        }
        if !taken.is_empty() {
            to.say(
                "take_rewards",
                "update rewards r set taken = r.taken + n.count
                 from unnest($1::uuid[], $2::bigint[]) as n(reward_id, count)
                 where r.reward_id = n.reward_id",
            )
            .bind(taken.keys().copied().collect::<Vec<_>>())
            .bind(taken.values().copied().collect::<Vec<_>>());
        }
        for (at, fact) in &self.deleted {
            to.say("delete_rewards", "update rewards set version = $2, deleted_at = $3 where reward_id = $1")
                .bind(fact.reward)
                .bind(fact.version)
                .bind(at);
        }
    }

    fn say_requests(&self, to: &mut Statements) -> Result<(), Error> {
        let rows = &self.requested;
        to.say(
            "add_requests",
            "insert into reward_requests (request_id, reward_id, event_id, user_id, shard, event_version,
                 period, state, type, amount, campaign_id, evidence, created_at, is_adopted)
             select q.*, $14
             from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::int[], $6::bigint[], $7::text[],
                 $8::text[], $9::text[], $10::bigint[], $11::uuid[], $12::jsonb[], $13::timestamptz[]) as q",
        )
        .bind(rows.iter().map(|(_, _, r)| r.request).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| r.reward).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| r.event).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| r.user).collect::<Vec<_>>())
        .bind(rows.iter().map(|(shard, _, _)| shard.as_i32()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| r.event_version).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| r.period.0.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| state(r)).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| r.kind.0.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| r.amount).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| r.campaign).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, _, r)| evidence(r)).collect::<Result<Vec<_>, _>>()?)
        .bind(rows.iter().map(|(_, at, _)| *at).collect::<Vec<_>>())
        .bind(self.are_adopted);
        Ok(())
    }

    /// One row a request, or the shard is fenced.
    pub(super) fn say_said(&self, to: &mut Statements) {
        let rows = &self.said;
        to.say(
            "add_grants",
            "insert into reward_grants (request_id, shard, user_id, outcome, reason, campaign_id, number, at,
                 is_adopted)
             select request_id, shard, user_id, case when reason is null then 'MADE' else 'REFUSED' end,
                 reason, campaign_id, number, at, $8
             from unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::uuid[], $6::bigint[],
                 $7::timestamptz[]) as g(request_id, shard, user_id, reason, campaign_id, number, at)",
        )
        .bind(rows.iter().map(|r| r.request).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.shard.as_i32()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.user).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.reason.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.campaign).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.number).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.at).collect::<Vec<_>>())
        .bind(self.are_adopted);
    }

    fn say_ended(&self, to: &mut Statements) {
        let rows = &self.ended;
        to.say(
            "end_requests",
            "update reward_requests q set reason = e.reason, decided_at = e.at,
                 state = case when e.reason is null then 'GRANTED' else 'REJECTED' end
             from unnest($1::uuid[], $2::text[], $3::timestamptz[]) as e(request_id, reason, at)
             where q.request_id = e.request_id",
        )
        .bind(rows.iter().map(|r| r.request).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.reason.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.at).collect::<Vec<_>>());
    }
}

fn state(fact: &RewardRequested) -> &'static str {
    if fact.auto == 1 { "GRANTING" } else { "PENDING" }
}

fn evidence(fact: &RewardRequested) -> Result<serde_json::Value, Error> {
    serde_json::from_str(&fact.evidence.0).map_err(Error::internal)
}

/// A reward is made.
pub(super) fn create(to: &mut Statements, shard: Shard, at: DateTime<Utc>, fact: &RewardCreated) {
    to.say(
        "make_rewards",
        "insert into rewards (reward_id, shard, version, name, type, amount, campaign_id, stock, created_at)
         values ($1, $2, 1, $3, $4, $5, $6, $7, $8)",
    )
    .bind(fact.reward)
    .bind(shard.as_i32())
    .bind(&fact.name.0)
    .bind(&fact.kind.0)
    .bind(fact.amount)
    .bind(fact.campaign)
    .bind(fact.stock)
    .bind(at);
}
