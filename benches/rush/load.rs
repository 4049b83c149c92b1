//! `rush load`.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Barrier, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

use crate::client::Client;
use crate::connection::{Connection, Server};
use crate::pace::{self, Slots};
use crate::prepare::{self, Targets};
use crate::stats::Stats;
use crate::work::{Flow, Turns, Work};

/// Between the last connection and the first request.
const START_DELAY: Duration = Duration::from_millis(5);
/// How long answers may take after the end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Load a service, and print one line of JSON.
///
/// Latencies are in milliseconds, with --rate from when each request was due. `rate` counts what was answered
/// within the time; `generator_us` is the CPU that the generator spent for a request; `dropped` were due more
/// than a second before a connection was free, `late` more than 10 ms.
#[derive(Args)]
pub struct Load {
    /// Where to: http://host:port, more with commas; connections take turns.
    #[arg(long, value_name = "URLS", value_delimiter = ',', required = true)]
    url: Vec<String>,
    /// What is asked.
    #[arg(long, value_enum)]
    flow: Flow,
    /// Requests, or purchases, begun a second, whether or not others are answered.
    #[arg(long)]
    rate: Option<f64>,
    /// Connections; without --rate each sends as soon as it is answered.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// How long.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Threads that share the connections. One is enough for about a core's worth of service.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// A file as `onrush load-users` prints it.
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    #[command(flatten)]
    targets: Targets,
}

impl Load {
    /// Prepares, loads, reports.
    pub fn run(self) -> anyhow::Result<()> {
        ensure!(self.threads <= self.connections, "a thread has at least one connection");
        ensure!(self.rate.is_none_or(|rate| rate > 0.0 && rate <= 1e6), "--rate is up to a million");
        let servers = self.url.iter().map(|url| Server::parse(url)).collect::<anyhow::Result<Vec<_>>>()?;
        let preparing = prepare::work(self.flow, &self.targets, self.users.as_deref(), &servers[0]);
        let work = Arc::new(runtime()?.block_on(preparing)?);

        let begin = Arc::new(Begin { barrier: Barrier::new(self.threads as usize + 1), at: OnceLock::new() });
        let mut threads = Vec::new();
        for number in 0..self.threads {
            let part = Part {
                number,
                threads: self.threads,
                servers: servers.clone(),
                connections: (number..self.connections).step_by(self.threads as usize).count(),
                rate: self.rate,
                window: Duration::from_secs(self.seconds.into()),
                work: work.clone(),
                begin: begin.clone(),
            };
            threads.push(std::thread::spawn(move || part.run()));
        }
        let start = begin.wait();
        let spent_before = cpu();
        let mut total = Stats::new(start);
        for thread in threads {
            let stats = thread.join().map_err(|_| anyhow::anyhow!("a thread of the load panicked"))??;
            total.add(&stats);
        }
        let window = Duration::from_secs(self.seconds.into());
        let lasted = if total.is_used_up { window.min(start.elapsed()) } else { window };
        let mut report = total.report(lasted, cpu().saturating_sub(spent_before));
        let flow = self.flow.to_possible_value().context("a flow without a name")?;
        report["flow"] = json!(flow.get_name());
        report["offered"] = json!(self.rate);
        report["connections"] = json!(self.connections);
        report["seconds"] = json!(self.seconds);
        println!("{report}");
        Ok(())
    }
}

/// Drives one thread.
pub fn runtime() -> anyhow::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).context("no runtime")
}

/// CPU that this process has spent.
fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// All begin at once, when all are connected.
struct Begin {
    barrier: Barrier,
    at: OnceLock<Instant>,
}

impl Begin {
    fn wait(&self) -> Instant {
        self.barrier.wait();
        *self.at.get_or_init(|| Instant::now() + START_DELAY)
    }
}

/// What one thread does.
struct Part {
    number: u32,
    threads: u32,
    servers: Vec<Server>,
    connections: usize,
    rate: Option<f64>,
    window: Duration,
    work: Arc<Work>,
    begin: Arc<Begin>,
}

impl Part {
    fn run(self) -> anyhow::Result<Stats> {
        let runtime = runtime()?;
        // A thread that cannot connect still lets the others begin: they would wait for it for ever.
        let connections = runtime.block_on(self.connect());
        let start = self.begin.wait();
        let stats = Rc::new(RefCell::new(Stats::new(start + self.window)));
        let slots = self.slots(start).map(Rc::new);
        let work = self.drive(start, connections?, slots.clone(), stats.clone());
        let left = runtime.block_on(async { tokio::time::timeout(self.window + PATIENCE, work).await });
        // Ends what is still under way.
        drop(runtime);
        let stats = Rc::into_inner(stats).context("a client is still there")?;
        let mut stats = stats.into_inner();
        match left {
            Ok(done) => done?,
            Err(_) => stats.dropped += slots.map_or(0, |slots| slots.left()),
        }
        Ok(stats)
    }

    async fn connect(&self) -> anyhow::Result<Vec<Connection>> {
        let mut connections = Vec::new();
        for at in 0..self.connections {
            let server = &self.servers[(self.number as usize + at) % self.servers.len()];
            connections.push(Connection::open(server).await?);
        }
        Ok(connections)
    }

    /// Every `threads`th of all slots is this thread's.
    fn slots(&self, start: Instant) -> Option<Slots> {
        let rate = self.rate?;
        let all = (rate * self.window.as_secs_f64()).round() as u64;
        let total = (u64::from(self.number)..all).step_by(self.threads as usize).count() as u64;
        let spacing = Duration::from_secs_f64(f64::from(self.threads) / rate);
        Some(Slots::new(start + Duration::from_secs_f64(f64::from(self.number) / rate), spacing, total))
    }

    async fn drive(
        &self,
        start: Instant,
        connections: Vec<Connection>,
        slots: Option<Rc<Slots>>,
        stats: Rc<RefCell<Stats>>,
    ) -> anyhow::Result<()> {
        let turns = Rc::new(Turns::new(self.number.into(), self.threads.into()));
        let (mut clients, end) = (Vec::new(), start + self.window);
        for connection in connections {
            let (work, turns) = (self.work.clone(), turns.clone());
            let client = Client { work, connection, turns, stats: stats.clone() };
            clients.push(match &slots {
                Some(slots) => tokio::task::spawn_local(pace::open(client, slots.clone(), stats.clone())),
                None => tokio::task::spawn_local(async move {
                    tokio::time::sleep_until(start.into()).await;
                    pace::closed(client, end).await;
                }),
            });
        }
        if let Some(slots) = &slots {
            slots.tell().await.context("the timer failed")?;
        }
        for client in clients {
            client.await.context("a client panicked")?;
        }
        Ok(())
    }
}
