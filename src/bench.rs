//! What `benches/` measures; for nobody else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio::sync::watch;

pub use crate::journal::OpStep;
pub use crate::journal::entry::{ChainHash, Entry, chain_hash};
pub use crate::queue::line::Line;
pub use crate::queue::ticket::{Ticket, Tickets};
pub use crate::redis::{Shard, Space, StreamEntry};

use crate::accounts::model::Role;
use crate::app::{App, AppState};
use crate::config::Config;
use crate::error::Error;
use crate::http::identity::Actor;
use crate::ids::{Points, QueueId, TransactionId, UserId};
use crate::journal::positions::Positions;
use crate::journal::table::entries;
use crate::journal::table::recall::KeyNumber;
use crate::journal::writer::Writer;
use crate::queue::model::CreateQueue;
use crate::schedule::Background;
use crate::{database, queue, wallet};

/// How long an application may take until it serves.
const START_MAX: Duration = Duration::from_secs(30);

/// What Redis is sent of a script; empty when there is none of this name.
pub fn script_text(name: &str) -> String {
    let none = crate::sabotage::Sabotage::default();
    let scripts = crate::redis::Scripts::compose(&crate::scripts(), &none).unwrap_or_default();
    scripts.get(name).map(|script| script.text.clone()).unwrap_or_default()
}

/// An application on real servers whose background rests: each of its parts is driven by hand.
pub struct Ground {
    app: AppState,
    writer: Writer,
    owner: UserId,
    queue: QueueId,
    /// Lasts as long as the writer, which follows it.
    _owned: watch::Sender<BTreeSet<Shard>>,
}

impl Ground {
    /// Makes the schema, lets all shards come to life, and a queue.
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        database::MIGRATIONS.run(&mut PgConnection::connect(&config.database_url).await?).await?;
        let patient = Duration::from_secs(3600);
        let config = Config { leaves_tidy: false, join_busy_after: patient, ..config };
        let app = App::connect(config).await?;
        let background = Background::start(&app);
        let until = Instant::now() + START_MAX;
        let by = Actor::at_start(UserId::mint(), Role::Admin);
        let body = CreateQueue {
            name: "bench".into(),
            admit_per_second: 1.0,
            max_active: 1,
            active_seconds: 1,
            max_waiting: None,
        };
        let queue = loop {
            match queue::ops::create(&app, &by, &body, None).await {
                Ok((queue, _)) => break queue.queue_id,
                Err(error) if Instant::now() > until => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        background.end(&app).await;
        let (own, owned) = watch::channel(app.journal.shards.all().collect());
        let options = database::planned_once(&app.config)?;
        let writer = Writer::new(app.journal.clone(), options, owned, Arc::new(Positions::default()));
        Ok(Self { app, writer, owner: UserId::mint(), queue, _owned: own })
    }

    /// One call of a script that reads.
    pub async fn read(&self) -> Result<(), Error> {
        let shard = self.app.journal.shards.of(self.owner.uuid());
        let script = |space: &Space| wallet::store::Pending {
            ages: wallet::store::ages(space),
            older_ms: 1,
            limit: 1,
        };
        self.app.journal.ask(shard, script).await.map(drop)
    }

    /// So many charges of one shard at once, decided and journaled, not waited for.
    pub async fn charge(&self, count: usize) -> Result<(), Error> {
        let shard = self.app.journal.shards.of(self.owner.uuid());
        let amount = Points::new(1).ok_or_else(|| Error::internal("no points"))?;
        let charges = (0..count).map(|_| {
            let script =
                move |space: &Space| wallet::store::charge(space, self.owner, amount, TransactionId::mint());
            self.app.journal.unawaited(shard, script)
        });
        for ended in futures::future::join_all(charges).await {
            ended?.done()?;
        }
        Ok(())
    }

    /// So many people join one queue at once.
    pub async fn join(&self, count: usize) -> Result<(), Error> {
        let shard = queue::ops::shard(&self.app, self.queue);
        let joins = (0..count).map(|_| self.app.door.join(shard, self.queue, UserId::mint()));
        for joined in futures::future::join_all(joins).await {
            joined?;
        }
        Ok(())
    }

    /// Carries the marks of the first so many who wait.
    pub async fn mark(&self, count: i64) -> Result<(), Error> {
        (1..=count).for_each(|number| self.app.presence.waits(self.queue, number));
        self.app.carry_marks().await
    }

    /// One round of the writer: how many entries it committed.
    pub async fn commit(&mut self) -> Result<usize, Error> {
        self.writer.round().await
    }

    /// Inserts these entries and their operations, and takes that back: how long the statement took.
    pub async fn insert(&self, entries: &[Entry], way: Way) -> Result<Duration, Error> {
        let mut tx = self.app.pool.begin().await?;
        let entries: Vec<&Entry> = entries.iter().collect();
        let started = Instant::now();
        match way {
            Way::Unnest => entries::insert(&mut tx, &entries).await?,
            Way::Copy => copy(&mut tx, &entries).await?,
        }
        let took = started.elapsed();
        tx.rollback().await?;
        Ok(took)
    }
}

/// How rows get into Postgres.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// `insert … select from unnest`, prepared once: what the writer does.
    Unnest,
    /// `copy … from stdin`, which cannot be prepared.
    Copy,
}

async fn copy(pg: &mut PgConnection, entries: &[&Entry]) -> Result<(), Error> {
    let (mut operations, mut kept) = (String::new(), String::new());
    for entry in entries {
        let asked = entry.facts.requested().map_err(Error::internal)?;
        let scope = asked.map_or_else(|| "\\N".to_owned(), |asked| KeyNumber::asked(&asked).0.to_string());
        let (receipt, step) = (&entry.receipt, format!("{}\t{}", entry.op.op, entry.op.step));
        let place = format!("{}\t{}\t{}", receipt.shard.0, receipt.epoch, receipt.seq);
        operations.push_str(&format!("{step}\t{scope}\t{place}\t{}\n", entry.at()));
        let facts = entry.facts.as_str().replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t");
        kept.push_str(&format!(
            "{place}\t{step}\t{}\t{}\t{}\t{facts}\t{}\t{}\n",
            entry.origin.uuid(),
            entry.kind,
            entry.at(),
            entry.previous,
            receipt.hash,
        ));
    }
    let into = [
        ("operations (op, step, scope, shard, epoch, seq, at)", operations),
        ("journal_entries (shard, epoch, seq, op, step, origin, kind, at, facts, p, h)", kept),
    ];
    for (table, rows) in into {
        let mut copy = pg.copy_in_raw(&format!("copy {table} from stdin")).await?;
        copy.send(rows.into_bytes()).await?;
        copy.finish().await?;
    }
    Ok(())
}
