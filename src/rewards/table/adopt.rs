//! What Redis knows of rewards, where Postgres was restored from an older backup.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};

use super::Changes;
use super::changes::{Said, create};
use crate::clock::from_millis;
use crate::error::Error;
use crate::ids::{CampaignId, RewardId, RewardRequestId};
use crate::journal::adopt::Kept;
use crate::journal::entry::Entry;
use crate::journal::facts::{Fact, Text};
use crate::journal::table::statements::Statements;
use crate::rewards::event::{RewardCreated, RewardEvent, RewardRejected, RewardRequested};
use crate::rewards::store;

/// The marks of a period, and which it is.
type Marks = (String, BTreeMap<String, String>);

/// A request as Redis has it.
struct Marked {
    request: RewardRequestId,
    state: &'static str,
    fact: RewardRequested,
    reason: Option<String>,
}

/// What entries of the last quarter of an hour say beside.
struct Lately {
    asked: BTreeMap<RewardRequestId, RewardRequested>,
    reasons: BTreeMap<RewardRequestId, Text>,
}

/// Takes over rewards, and who asked for them. Of a request that the backup does not know, and that was not
/// made `lately`, how the condition was met is lost, and why it was rejected; it was made now.
pub async fn adopt(pg: &mut PgConnection, kept: &Kept, lately: &[Entry]) -> Result<(), Error> {
    let at = from_millis(kept.now_ms);
    let said = Lately {
        asked: all::<RewardRequested>(lately)?.into_iter().map(|fact| (fact.request, fact)).collect(),
        reasons: all::<RewardRejected>(lately)?.into_iter().map(|fact| (fact.request, fact.reason)).collect(),
    };
    let mut marks: BTreeMap<RewardId, Vec<Marks>> = BTreeMap::new();
    for (reward, fields) in kept.hashes("rewards", "marks") {
        marks.entry(reward).or_default().push((String::new(), fields));
    }
    for (reward, day, fields) in kept.parts("rewards", store::DAILY_MARKS) {
        marks.entry(reward).or_default().push((day, fields));
    }
    let open: BTreeMap<RewardId, BTreeMap<String, String>> =
        kept.hashes("rewards", "open").into_iter().collect();
    for (reward, fields) in kept.hashes::<RewardId>("rewards", "reward") {
        let made = read_reward(reward, &fields)?;
        adopt_reward(pg, kept, at, &made, &fields).await?;
        let open = open.get(&reward);
        let mut marked = Vec::new();
        for (period, fields) in marks.get(&reward).into_iter().flatten() {
            for (mark, value) in fields {
                marked.push(read_mark(&made, (mark, period), value, open, &said)?);
            }
        }
        adopt_requests(pg, kept, at, marked).await?;
    }
    adopt_said(pg, lately).await
}

fn all<F: Fact>(lately: &[Entry]) -> Result<Vec<F>, Error> {
    let found = lately.iter().filter_map(|entry| entry.facts.find::<F>().transpose());
    found.collect::<Result<_, _>>().map_err(Error::internal)
}

fn bad(what: &str) -> Error {
    Error::internal(format_args!("redis holds of rewards what cannot be read: {what:?}"))
}

fn read_reward(reward: RewardId, fields: &BTreeMap<String, String>) -> Result<RewardCreated, Error> {
    let text = |field: &str| fields.get(field).cloned().ok_or_else(|| bad(field));
    Ok(RewardCreated {
        reward,
        name: text("name")?.parse().map_err(|_| bad("name"))?,
        kind: Text(text("type")?),
        amount: text("amount")?.parse().ok(),
        campaign: text("campaign")?.parse::<CampaignId>().ok(),
        stock: text("stock")?.parse().map_err(|_| bad("stock"))?,
    })
}

/// How it is.
async fn adopt_reward(
    pg: &mut PgConnection,
    kept: &Kept,
    at: DateTime<Utc>,
    made: &RewardCreated,
    fields: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let row = sqlx::query("select exists (select from rewards where reward_id = $1)").bind(made.reward);
    if !row.fetch_one(&mut *pg).await?.try_get::<bool, _>(0)? {
        let mut each = Statements::each();
        create(&mut each, kept.space.shard, at, made);
        each.make(&mut *pg).await?;
    }
    let number = |field: &str| fields.get(field).and_then(|text| text.parse::<i64>().ok());
    sqlx::query(
        "update rewards set version = $2, type = $3, amount = $4, campaign_id = $5, stock = $6, taken = $7,
             deleted_at = case when $8 then coalesce(deleted_at, $9) end, name = $10
         where reward_id = $1",
    )
    .bind(made.reward)
    .bind(number("version").ok_or_else(|| bad("version"))?)
    .bind(&made.kind.0)
    .bind(made.amount)
    .bind(made.campaign)
    .bind(made.stock)
    .bind(number("taken").ok_or_else(|| bad("taken"))?)
    .bind(fields.get("state").is_some_and(|state| state == "deleted"))
    .bind(at)
    .bind(&made.name.0)
    .execute(pg)
    .await?;
    Ok(())
}

/// `event|user` and `state:request`, with what the open record or the entry says beside.
fn read_mark(
    reward: &RewardCreated,
    (mark, period): (&str, &str),
    value: &str,
    open: Option<&BTreeMap<String, String>>,
    said: &Lately,
) -> Result<Marked, Error> {
    let (letter, id) = value.split_once(':').ok_or_else(|| bad(value))?;
    let request: RewardRequestId = id.parse().map_err(|_| bad(value))?;
    let state = match letter {
        "P" => "PENDING",
        "A" => "GRANTING",
        "G" => "GRANTED",
        "R" => "REJECTED",
        _ => return Err(bad(value)),
    };
    let (event, user) = mark.split_once('|').ok_or_else(|| bad(mark))?;
    let mut fact = match said.asked.get(&request) {
        Some(fact) => fact.clone(),
        None => RewardRequested {
            request,
            reward: reward.reward,
            event: event.parse().map_err(|_| bad(mark))?,
            event_version: 0,
            user: user.parse().map_err(|_| bad(mark))?,
            period: Text(period.to_owned()),
            auto: 1,
            kind: reward.kind.clone(),
            amount: reward.amount,
            campaign: reward.campaign,
            evidence: Text("{}".into()),
        },
    };
    // The reward may have changed since.
    if let Some(record) = open.and_then(|open| open.get(id)) {
        let [.., kind, amount, campaign] = record.split('|').collect::<Vec<_>>()[..] else {
            return Err(bad(record));
        };
        fact.kind = Text(kind.to_owned());
        (fact.amount, fact.campaign) = (amount.parse().ok(), campaign.parse().ok());
    }
    let reason = said.reasons.get(&request).map(|reason| reason.0.clone());
    let reason = (state == "REJECTED").then(|| reason.unwrap_or_else(|| "unknown".to_owned()));
    Ok(Marked { request, state, fact, reason })
}

/// Requests that the backup lacks are added, and all stand as Redis says. What was granted meanwhile was
/// granted: points and coupons are taken over by their own features.
async fn adopt_requests(
    pg: &mut PgConnection,
    kept: &Kept,
    at: DateTime<Utc>,
    marked: Vec<Marked>,
) -> Result<(), Error> {
    let ids: Vec<RewardRequestId> = marked.iter().map(|one| one.request).collect();
    let states: Vec<&str> = marked.iter().map(|one| one.state).collect();
    let rows = sqlx::query("select request_id from reward_requests where request_id = any($1)").bind(&ids);
    let rows = rows.fetch_all(&mut *pg).await?;
    let known = rows.iter().map(|row| row.try_get(0)).collect::<Result<BTreeSet<RewardRequestId>, _>>()?;
    let mut changes = Changes::default();
    changes.are_adopted = true;
    for one in &marked {
        if !known.contains(&one.request) {
            changes.requested.push((kept.space.shard, at, one.fact.clone()));
        }
    }
    let mut each = Statements::each();
    changes.say(&mut each)?;
    each.make(&mut *pg).await?;
    sqlx::query(
        "update reward_requests q set state = m.state, is_adopted = true,
             decided_at = case when m.state in ('GRANTED', 'REJECTED') then $3 end,
             reason = m.reason
         from unnest($1::uuid[], $2::text[], $4::text[]) as m(request_id, state, reason)
         where q.request_id = m.request_id and q.state <> m.state",
    )
    .bind(&ids)
    .bind(states)
    .bind(at)
    .bind(marked.iter().map(|one| one.reason.as_deref()).collect::<Vec<_>>())
    .execute(&mut *pg)
    .await?;
    adopt_grants(pg, kept, at, &marked).await
}

/// What is granted was said, in whichever shard.
async fn adopt_grants(
    pg: &mut PgConnection,
    kept: &Kept,
    at: DateTime<Utc>,
    marked: &[Marked],
) -> Result<(), Error> {
    let granted = marked.iter().filter(|one| one.state == "GRANTED" && one.fact.kind.0 != "ITEM");
    let said = granted.map(|one| Said {
        request: one.request,
        shard: kept.space.shard,
        user: one.fact.user,
        reason: None,
        campaign: None,
        number: None,
        at,
    });
    add_said(pg, said.collect()).await
}

/// What this shard has said lately, of requests that may be on their way.
async fn adopt_said(pg: &mut PgConnection, lately: &[Entry]) -> Result<(), Error> {
    let mut changes = Changes::default();
    for entry in lately {
        if let Some(fact) = entry.facts.find().map_err(Error::internal)? {
            changes.fold(entry, RewardEvent::GrantMade(fact));
        }
        if let Some(fact) = entry.facts.find().map_err(Error::internal)? {
            changes.fold(entry, RewardEvent::GrantRefused(fact));
        }
    }
    add_said(pg, changes.said).await
}

/// What is not known to be said.
async fn add_said(pg: &mut PgConnection, mut said: Vec<Said>) -> Result<(), Error> {
    let ids: Vec<RewardRequestId> = said.iter().map(|one| one.request).collect();
    let rows = sqlx::query("select request_id from reward_grants where request_id = any($1)").bind(ids);
    let rows = rows.fetch_all(&mut *pg).await?;
    let known = rows.iter().map(|row| row.try_get(0)).collect::<Result<BTreeSet<RewardRequestId>, _>>()?;
    said.retain(|one| !known.contains(&one.request));
    let mut changes = Changes::default();
    (changes.said, changes.are_adopted) = (said, true);
    let mut each = Statements::each();
    changes.say(&mut each)?;
    each.make(pg).await
}
