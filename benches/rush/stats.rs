//! What became of the requests.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::histogram::Histogram;

/// Characters of a refusal that are shown.
const SHOWN_MAX: usize = 200;

/// What a request is for. All but the last are one request; a purchase is the whole way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Livez,
    Bare,
    PostgresCharge,
    Join,
    Poll,
    Leave,
    PollAgain,
    Browse,
    Hold,
    Pay,
    Charge,
    Order,
    Claim,
    Purchase,
}

impl Kind {
    /// All, in the order of their declaration.
    pub const ALL: [Kind; 14] = [
        Kind::Livez,
        Kind::Bare,
        Kind::PostgresCharge,
        Kind::Join,
        Kind::Poll,
        Kind::Leave,
        Kind::PollAgain,
        Kind::Browse,
        Kind::Hold,
        Kind::Pay,
        Kind::Charge,
        Kind::Order,
        Kind::Claim,
        Kind::Purchase,
    ];

    /// As the report has it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Livez => "livez",
            Kind::Bare => "bare",
            Kind::PostgresCharge => "postgres-charge",
            Kind::Join => "join",
            Kind::Poll => "poll",
            Kind::Leave => "leave",
            Kind::PollAgain => "poll-again",
            Kind::Browse => "browse",
            Kind::Hold => "hold",
            Kind::Pay => "pay",
            Kind::Charge => "charge",
            Kind::Order => "order",
            Kind::Claim => "claim",
            Kind::Purchase => "purchase",
        }
    }
}

/// Counts of one kind.
struct Tally {
    latencies: Histogram,
    refused: u64,
}

/// Counts of one thread, or of all.
pub struct Stats {
    /// Answers that came before this count for the rate.
    end: Instant,
    tallies: Vec<Tally>,
    statuses: BTreeMap<u16, u64>,
    in_time: u64,
    /// Requests, or purchases, that were due but more than a second late, and so not begun.
    pub dropped: u64,
    /// Those that were begun more than `pace::LATE` after they were due.
    pub late: u64,
    /// Requests that ended without an answer.
    pub broken: u64,
    /// Requests and purchases without an end when the patience did end.
    pub unfinished: u64,
    /// Whether there was nothing left to ask for, such as seats.
    pub is_used_up: bool,
}

impl Stats {
    /// Nothing yet.
    pub fn new(end: Instant) -> Stats {
        let tally = || Tally { latencies: Histogram::new(), refused: 0 };
        Stats {
            end,
            tallies: Kind::ALL.iter().map(|_| tally()).collect(),
            statuses: BTreeMap::new(),
            in_time: 0,
            dropped: 0,
            late: 0,
            broken: 0,
            unfinished: 0,
            is_used_up: false,
        }
    }

    /// An answer. The first refusal of a kind is shown: a load that is refused measures something else than
    /// what it was started for.
    pub fn answered(&mut self, kind: Kind, since: Instant, status: u16, body: &[u8]) {
        let now = Instant::now();
        let tally = &mut self.tallies[kind as usize];
        tally.latencies.record(micros(now - since));
        *self.statuses.entry(status).or_default() += 1;
        self.in_time += u64::from(now <= self.end);
        if status >= 400 {
            tally.refused += 1;
            if tally.refused == 1 {
                let body: String = String::from_utf8_lossy(body).chars().take(SHOWN_MAX).collect();
                eprintln!("{}: {status} {body}", kind.name());
            }
        }
    }

    /// A purchase was paid.
    pub fn purchased(&mut self, since: Instant) {
        self.tallies[Kind::Purchase as usize].latencies.record(micros(since.elapsed()));
    }

    /// All that another thread has counted.
    pub fn add(&mut self, other: &Stats) {
        for (mine, theirs) in self.tallies.iter_mut().zip(&other.tallies) {
            mine.latencies.add(&theirs.latencies);
            mine.refused += theirs.refused;
        }
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.in_time += other.in_time;
        self.dropped += other.dropped;
        self.late += other.late;
        self.broken += other.broken;
        self.unfinished += other.unfinished;
        self.is_used_up |= other.is_used_up;
    }

    /// The figures: `lasted` is the time in which answers counted for the rate, `cpu` what the generator
    /// spent.
    pub fn report(&self, lasted: Duration, cpu: Duration) -> Value {
        let mut all = Histogram::new();
        let mut kinds = BTreeMap::new();
        for (kind, tally) in Kind::ALL.iter().zip(&self.tallies) {
            if tally.latencies.count() > 0 {
                let mut figures = latencies(&tally.latencies);
                figures["count"] = json!(tally.latencies.count());
                figures["refused"] = json!(tally.refused);
                kinds.insert(kind.name(), figures);
                if *kind != Kind::Purchase {
                    all.add(&tally.latencies);
                }
            }
        }
        let mut report = latencies(&all);
        report["rate"] = json!(round(self.in_time as f64 / lasted.as_secs_f64()));
        report["requests"] = json!(all.count());
        report["statuses"] = json!(self.statuses);
        report["dropped"] = json!(self.dropped);
        report["late"] = json!(self.late);
        report["broken"] = json!(self.broken);
        report["unfinished"] = json!(self.unfinished);
        report["used_up"] = json!(self.is_used_up);
        report["generator_us"] = json!(round(cpu.as_secs_f64() * 1e6 / all.count().max(1) as f64));
        if kinds.len() > 1 {
            report["kinds"] = json!(kinds);
        }
        report
    }
}

fn latencies(of: &Histogram) -> Value {
    json!({
        "p50_ms": of.quantile_ms(0.5),
        "p95_ms": of.quantile_ms(0.95),
        "p99_ms": of.quantile_ms(0.99),
        "p99_9_ms": of.quantile_ms(0.999),
        "max_ms": of.max_ms(),
    })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn round(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
