//! What Postgres remembers of queues: settings, places that live, and what losses of Redis have left.

mod adopt;
mod load;

pub use adopt::adopt;
pub use load::load;

use std::collections::BTreeMap;

use sqlx::{PgConnection, Row};

use super::event::QueueEvent;
use crate::error::Error;
use crate::ids::{QueueId, UserId};
use crate::journal::entry::Entry;
use crate::journal::table::statements::Statements;
use crate::redis::Shard;

/// The counter jumps by so much after a loss; far more than could be given out before joins are refused.
const JUMP: i64 = 1_000_000;

#[derive(Clone, Copy)]
enum PlaceChange {
    Put { user: UserId, deadline_ms: Option<i64> },
    Deadline(i64),
    Gone { user: Option<UserId>, counts: bool },
}

struct QueueRow {
    queue: QueueId,
    shard: Shard,
    name: String,
    rate_tenths: i64,
    max_active: i64,
    active_seconds: i64,
    max_waiting: Option<i64>,
    at: chrono::DateTime<chrono::Utc>,
}

/// What a round changes: for each place its last state.
#[derive(Default)]
pub struct Changes {
    created: Vec<QueueRow>,
    changed: BTreeMap<QueueId, super::event::QueueChanged>,
    places: BTreeMap<(QueueId, i64), PlaceChange>,
    numbers: BTreeMap<QueueId, i64>,
    epochs: BTreeMap<QueueId, i64>,
}

impl Changes {
    /// Takes up one fact.
    pub fn fold(&mut self, entry: &Entry, event: QueueEvent) {
        match event {
            QueueEvent::QueueCreated(fact) => self.created.push(QueueRow {
                queue: fact.queue,
                shard: entry.receipt.shard,
                name: fact.name.0,
                rate_tenths: fact.rate_tenths,
                max_active: fact.max_active,
                active_seconds: fact.active_seconds,
                max_waiting: fact.max_waiting,
                at: entry.at(),
            }),
            QueueEvent::QueueWas(_) => {}
            QueueEvent::QueueChanged(fact) => drop(self.changed.insert(fact.queue, fact)),
            QueueEvent::QueueJoined(fact) => {
                for place in fact.places {
                    self.put(fact.queue, place.number, place.user, None);
                    let highest = self.numbers.entry(fact.queue).or_default();
                    *highest = (*highest).max(place.number);
                }
            }
            QueueEvent::QueueRestored(fact) => {
                fact.places.iter().for_each(|place| self.put(fact.queue, place.number, place.user, None));
            }
            QueueEvent::QueueAdmitted(fact) => {
                let deadline = Some(fact.deadline_ms);
                fact.places.iter().for_each(|place| self.put(fact.queue, place.number, place.user, deadline));
            }
            QueueEvent::QueueEnded(fact) => {
                let counts = fact.why.0 != "replaced";
                fact.numbers.iter().for_each(|number| self.end(entry, fact.queue, *number, counts));
            }
            QueueEvent::PassExtended(fact) => {
                let change = self.places.get(&(fact.queue, fact.number)).copied();
                let change = match change {
                    Some(PlaceChange::Put { user, .. }) => {
                        PlaceChange::Put { user, deadline_ms: Some(fact.deadline_ms) }
                    }
                    _ => PlaceChange::Deadline(fact.deadline_ms),
                };
                self.places.insert((fact.queue, fact.number), change);
            }
            QueueEvent::PassSpent(fact) => self.end(entry, fact.queue, fact.number, true),
        }
    }

    fn put(&mut self, queue: QueueId, number: i64, user: UserId, deadline_ms: Option<i64>) {
        self.places.insert((queue, number), PlaceChange::Put { user, deadline_ms });
    }

    fn end(&mut self, entry: &Entry, queue: QueueId, number: i64, counts: bool) {
        let user = match self.places.get(&(queue, number)) {
            Some(PlaceChange::Put { user, .. }) => Some(*user),
            _ => None,
        };
        self.places.insert((queue, number), PlaceChange::Gone { user, counts });
        self.epochs.insert(queue, entry.receipt.epoch as i64);
    }

    /// Says it all.
    pub fn say(&self, to: &mut Statements) {
        if !self.created.is_empty() {
            self.say_created(to);
        }
        for fact in self.changed.values() {
            say_changed(to, fact);
        }
        if !self.numbers.is_empty() {
            to.say(
                "raise_queue_numbers",
                "update queues q set number = greatest(q.number, n.number)
                 from unnest($1::uuid[], $2::bigint[]) n(queue_id, number) where q.queue_id = n.queue_id",
            )
            .bind(self.numbers.keys().copied().collect::<Vec<_>>())
            .bind(self.numbers.values().copied().collect::<Vec<_>>());
        }
        self.say_gone(to);
        self.say_places(to);
    }

    fn say_created(&self, to: &mut Statements) {
        let rows = &self.created;
        to.say(
            "make_queues",
            "insert into queues
                 (queue_id, shard, name, rate_tenths, max_active, active_seconds, max_waiting, created_at,
                  state)
             select *, 'OPEN'
             from unnest($1::uuid[], $2::int[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[],
                 $7::bigint[], $8::timestamptz[])",
        )
        .bind(rows.iter().map(|r| r.queue).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.shard.as_i32()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.name.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.rate_tenths).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.max_active).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.active_seconds).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.max_waiting).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.at).collect::<Vec<_>>());
    }

    fn say_gone(&self, to: &mut Statements) {
        let gone: Vec<_> = self
            .places
            .iter()
            .filter_map(|((queue, number), change)| match change {
                PlaceChange::Gone { user, counts } => Some((*queue, *number, *user, *counts)),
                _ => None,
            })
            .collect();
        if gone.is_empty() {
            return;
        }
        // Who held a place that ends in this very round stands in the facts; who held it before, in the row.
        to.say(
            "end_places",
            "with gone as (
                 select * from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bool[], $5::bigint[])
                     as gone(queue_id, number, user_id, counts, epoch)
             ), deleted as (
                 delete from queue_places p using gone
                 where p.queue_id = gone.queue_id and p.number = gone.number
                 returning p.queue_id, p.user_id, gone.counts, gone.epoch
             ), ends as (
                 select queue_id, user_id, counts, epoch from deleted
                 union select queue_id, user_id, counts, epoch from gone where user_id is not null
             )
             insert into queue_ends (queue_id, user_id, epoch)
             select distinct e.queue_id, e.user_id, e.epoch from ends e
             where e.counts and exists (select from queue_gaps g where g.queue_id = e.queue_id)
             on conflict (queue_id, user_id)
                 do update set epoch = greatest(queue_ends.epoch, excluded.epoch)",
        )
        .bind(gone.iter().map(|g| g.0).collect::<Vec<_>>())
        .bind(gone.iter().map(|g| g.1).collect::<Vec<_>>())
        .bind(gone.iter().map(|g| g.2).collect::<Vec<_>>())
        .bind(gone.iter().map(|g| g.3).collect::<Vec<_>>())
        .bind(gone.iter().map(|g| self.epochs.get(&g.0).copied().unwrap_or(0)).collect::<Vec<_>>());
    }

    fn say_places(&self, to: &mut Statements) {
        let (mut put, mut moved) = (Vec::new(), Vec::new());
        for ((queue, number), change) in &self.places {
            match change {
                PlaceChange::Put { user, deadline_ms } => put.push((*queue, *number, *user, *deadline_ms)),
                PlaceChange::Deadline(deadline) => moved.push((*queue, *number, *deadline)),
                PlaceChange::Gone { .. } => {}
            }
        }
        if !put.is_empty() {
            to.say(
                "put_places",
                "insert into queue_places (queue_id, number, user_id, deadline_ms)
                 select * from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[])
                 on conflict (queue_id, number) do update set deadline_ms = excluded.deadline_ms",
            )
            .bind(put.iter().map(|p| p.0).collect::<Vec<_>>())
            .bind(put.iter().map(|p| p.1).collect::<Vec<_>>())
            .bind(put.iter().map(|p| p.2).collect::<Vec<_>>())
            .bind(put.iter().map(|p| p.3).collect::<Vec<_>>());
        }
        if !moved.is_empty() {
            to.say(
                "move_places",
                "update queue_places p set deadline_ms = m.deadline_ms
                 from unnest($1::uuid[], $2::bigint[], $3::bigint[]) m(queue_id, number, deadline_ms)
                 where p.queue_id = m.queue_id and p.number = m.number",
            )
            .bind(moved.iter().map(|m| m.0).collect::<Vec<_>>())
            .bind(moved.iter().map(|m| m.1).collect::<Vec<_>>())
            .bind(moved.iter().map(|m| m.2).collect::<Vec<_>>());
        }
    }
}

fn say_changed(to: &mut Statements, fact: &super::event::QueueChanged) {
    to.say(
        "change_queues",
        "update queues set state = $2, rate_tenths = $3, max_active = $4, active_seconds = $5,
             max_waiting = $6, closed_below = $7
         where queue_id = $1",
    )
    .bind(fact.queue)
    .bind(&fact.state.0)
    .bind(fact.rate_tenths)
    .bind(fact.max_active)
    .bind(fact.active_seconds)
    .bind(fact.max_waiting)
    .bind(fact.closed_below);
}

/// Part of a rebuild's first step, in its transaction, so that no old writer can add a number after it was
/// read: numbers above the highest durable one may have been given out. Each gap keeps its own epoch, so gaps
/// are never made one.
pub async fn record_gaps(pg: &mut PgConnection, shard: Shard, lost_epoch: u64) -> Result<(), Error> {
    sqlx::query(
        "insert into queue_gaps (queue_id, low, high, epoch)
         select queue_id, number, number + $2, $3 from queues where shard = $1",
    )
    .bind(shard.as_i32())
    .bind(JUMP)
    .bind(lost_epoch as i64)
    .execute(&mut *pg)
    .await?;
    sqlx::query("update queues set number = number + $2 where shard = $1")
        .bind(shard.as_i32())
        .bind(JUMP)
        .execute(pg)
        .await?;
    Ok(())
}

/// A shard's queues.
pub async fn queues(pg: &mut PgConnection, shard: Shard) -> Result<Vec<QueueId>, Error> {
    let rows = sqlx::query("select queue_id from queues where shard = $1")
        .bind(shard.as_i32())
        .fetch_all(pg)
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
