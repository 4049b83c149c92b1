//! What takes a round trip to Redis or Postgres: real servers, with every commit synced.

use std::time::{Duration, Instant};

use clap::Parser;
use criterion::{BenchmarkId, Criterion, Throughput};
use onrush::bench::{ChainHash, Entry, Ground, Shard, Way};
use onrush::config::Settings;
use onrush::error::Error;
use onrush::servers::{Durability, Folder, Programs, free_port};
use tokio::runtime::Runtime;

/// Calls at once: a lone one, those of a busy shard, those of a crowd.
const CALLS: [usize; 3] = [1, 16, 128];
/// Entries of a round of the writer.
const ROUNDS: [usize; 4] = [1, 16, 128, 500];

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
}

/// An application on servers of its own, which end with the program.
async fn open(folder: &Folder, urls: [&str; 2]) -> anyhow::Result<Ground> {
    let defaults = Cli::parse_from(["bench"]).settings;
    let [redis_url, database_url] = urls.map(str::to_owned);
    let settings = Settings {
        redis_url,
        database_url,
        jwt_secret: folder.path().display().to_string().repeat(4),
        shards: Some(1),
        ..defaults
    };
    let config = settings.check().map_err(|wrong| anyhow::Error::msg(wrong.join("\n")))?;
    Ground::open(config).await
}

/// Runs `each` so many times, one after the other; what it says that it took.
fn timed(runtime: &Runtime, count: u64, mut each: impl AsyncFnMut() -> Result<Duration, Error>) -> Duration {
    runtime.block_on(async {
        let mut took = Duration::ZERO;
        for _ in 0..count {
            took += each().await.unwrap_or_else(|error| panic!("{error}"));
        }
        took
    })
}

pub fn servers(c: &mut Criterion) {
    let temporary = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let start = || -> anyhow::Result<_> {
        let (programs, folder) = (Programs::find()?, Folder::open(temporary.path())?);
        let redis = folder.start_redis(&programs, free_port()?)?;
        let postgres = folder.start_postgres(&programs, Durability::Synced, free_port()?)?;
        let runtime = Runtime::new()?;
        let ground = runtime.block_on(open(&folder, [&redis.url, &postgres.url]))?;
        Ok((redis, postgres, runtime, ground))
    };
    let (_redis, _postgres, runtime, mut ground) = start().unwrap_or_else(|error| panic!("{error:#}"));
    scripts(c, &runtime, &mut ground);
    batches(c, &runtime, &mut ground);
    ways(c, &runtime, &ground);
}

/// Round trips of scripts; what they journaled is committed in between, untimed.
fn scripts(c: &mut Criterion, runtime: &Runtime, ground: &mut Ground) {
    let mut group = c.benchmark_group("round trips");
    group.bench_function("a script that reads", |b| {
        b.iter_custom(|count| {
            timed(runtime, count, async || {
                let started = Instant::now();
                ground.read().await?;
                Ok(started.elapsed())
            })
        });
    });
    for calls in CALLS {
        group.throughput(Throughput::Elements(calls as u64));
        group.bench_function(BenchmarkId::new("charges at once, decided", calls), |b| {
            b.iter_custom(|count| {
                timed(runtime, count, async || {
                    let started = Instant::now();
                    ground.charge(calls).await?;
                    let took = started.elapsed();
                    ground.commit().await?;
                    Ok(took)
                })
            });
        });
        group.bench_function(BenchmarkId::new("joins at once", calls), |b| {
            b.iter_custom(|count| {
                timed(runtime, count, async || {
                    let started = Instant::now();
                    ground.join(calls).await?;
                    Ok(started.elapsed())
                })
            });
        });
    }
    group.throughput(Throughput::Elements(1000));
    group.bench_function("marks of a thousand", |b| {
        b.iter_custom(|count| {
            timed(runtime, count, async || {
                let started = Instant::now();
                ground.mark(1000).await?;
                Ok(started.elapsed())
            })
        });
    });
    group.finish();
}

/// A round of the writer: read, checked, committed with a sync, announced.
fn batches(c: &mut Criterion, runtime: &Runtime, ground: &mut Ground) {
    let mut group = c.benchmark_group("the writer commits");
    for entries in ROUNDS {
        group.throughput(Throughput::Elements(entries as u64));
        group.bench_function(BenchmarkId::from_parameter(entries), |b| {
            b.iter_custom(|count| {
                timed(runtime, count, async || {
                    ground.charge(entries).await?;
                    let started = Instant::now();
                    let committed = ground.commit().await?;
                    assert_eq!(committed, entries, "all of a round in one go");
                    Ok(started.elapsed())
                })
            });
        });
    }
    group.finish();
}

/// UNNEST against COPY: entries and their operations, without the commit.
fn ways(c: &mut Criterion, runtime: &Runtime, ground: &Ground) {
    let mut group = c.benchmark_group("entries into postgres");
    for count in ROUNDS {
        let mut head = ChainHash::ROOT;
        let rows: Vec<Entry> = (1..=count as u64)
            .map(|seq| {
                let (raw, hash) = crate::charge(seq, head);
                head = hash;
                Entry::read(Shard(0), &raw).unwrap_or_else(|error| panic!("{error}"))
            })
            .collect();
        group.throughput(Throughput::Elements(count as u64));
        for way in [Way::Unnest, Way::Copy] {
            group.bench_function(BenchmarkId::new(format!("{way:?}"), count), |b| {
                b.iter_custom(|times| timed(runtime, times, async || ground.insert(&rows, way).await));
            });
        }
    }
    group.finish();
}
