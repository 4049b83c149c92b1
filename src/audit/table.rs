//! The audit log in Postgres.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::event::Acted;
use super::model::{Act, AuditRecord};
use super::story;
use crate::error::Error;
use crate::http::page::{Page, PageRequest};
use crate::journal::entry::{BadEntry, Entry};
use crate::journal::table::statements::Statements;

struct Line {
    op: Uuid,
    record: AuditRecord,
}

/// Lines of a round.
#[derive(Default)]
pub struct Changes(Vec<Line>);

impl Changes {
    /// An act, with what its entry says was done.
    pub fn fold(&mut self, entry: &Entry, acted: Acted) -> Result<(), BadEntry> {
        let asked = (!acted.after.0.is_empty()).then(|| serde_json::from_str(&acted.after.0));
        let asked: Option<Value> = asked.transpose().map_err(|error| BadEntry(error.to_string()))?;
        let (before, after) = match story::of(&entry.facts)? {
            Some((before, after)) => (Some(before), Some(after)),
            None => (None, asked),
        };
        let record = AuditRecord {
            at: entry.at(),
            actor: acted.actor,
            role: acted.role.0,
            action: acted.action.0,
            target: acted.target.0,
            before,
            after,
            request_id: acted.request.0,
        };
        self.0.push(Line { op: entry.op.op, record });
        Ok(())
    }

    /// Says them.
    pub fn say(&self, to: &mut Statements) {
        if !self.0.is_empty() {
            say_lines(to, &self.0);
        }
    }
}

/// An act that Postgres decides alone, or that only this instance knows of.
pub async fn record(
    pg: &mut PgConnection,
    (op, action): (Uuid, &str),
    act: &Act,
    before: Option<Value>,
    at: DateTime<Utc>,
) -> Result<(), Error> {
    let record = AuditRecord {
        at,
        actor: act.actor,
        role: act.role.word().into(),
        action: action.into(),
        target: act.target.clone(),
        before,
        after: act.after.clone(),
        request_id: act.request_id.clone(),
    };
    let mut each = Statements::each();
    say_lines(&mut each, &[Line { op, record }]);
    each.make(pg).await
}

fn say_lines(to: &mut Statements, lines: &[Line]) {
    let text = |pick: fn(&AuditRecord) -> &str| {
        lines.iter().map(|line| pick(&line.record).to_owned()).collect::<Vec<String>>()
    };
    let json = |pick: fn(&AuditRecord) -> Option<&Value>| {
        lines.iter().map(|line| pick(&line.record).cloned()).collect::<Vec<Option<Value>>>()
    };
    to.say(
        "add_acts",
        "insert into audit_log (op, at, actor, role, action, target, before, after, request_id)
         select * from unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::text[], $5::text[], $6::text[],
             $7::jsonb[], $8::jsonb[], $9::text[])",
    )
    .bind(lines.iter().map(|line| line.op).collect::<Vec<_>>())
    .bind(lines.iter().map(|line| line.record.at).collect::<Vec<_>>())
    .bind(lines.iter().map(|line| line.record.actor).collect::<Vec<_>>())
    .bind(text(|record| &record.role))
    .bind(text(|record| &record.action))
    .bind(text(|record| &record.target))
    .bind(json(|record| record.before.as_ref()))
    .bind(json(|record| record.after.as_ref()))
    .bind(text(|record| &record.request_id));
}

/// A page, newest first.
pub async fn page(pool: &PgPool, page: &PageRequest) -> Result<Page<AuditRecord>, Error> {
    let rows = sqlx::query(
        "select audit_id, at, actor, role, action, target, before, after, request_id
         from audit_log
         where audit_id < $1
         order by audit_id desc
         limit $2",
    )
    .bind(page.after_number()?.unwrap_or(i64::MAX))
    .bind(page.fetch())
    .fetch_all(pool)
    .await?;
    page.cut(
        rows,
        |row| Ok(row.try_get::<i64, _>(0)?.to_string()),
        |row| {
            Ok(AuditRecord {
                at: row.try_get(1)?,
                actor: row.try_get(2)?,
                role: row.try_get(3)?,
                action: row.try_get(4)?,
                target: row.try_get(5)?,
                before: row.try_get(6)?,
                after: row.try_get(7)?,
                request_id: row.try_get(8)?,
            })
        },
    )
}
