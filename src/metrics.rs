//! Every metric, declared once. Labels come from closed sets: routes, statuses, scripts, outcomes, shards.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::delivery::table::operator::Backlog;
use crate::redis::Shard;

/// Buckets of durations, in seconds.
const SECONDS: &[f64] = &[0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Buckets of batch sizes, in entries.
const ENTRIES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0];

const HTTP: &str = "onrush_http_request_seconds";
const SCRIPT: &str = "onrush_script_seconds";
const ACK_WAIT: &str = "onrush_ack_wait_seconds";
const BATCH_ENTRIES: &str = "onrush_journal_batch_entries";
const BATCH_SECONDS: &str = "onrush_journal_batch_seconds";
const LAG_ENTRIES: &str = "onrush_journal_lag_entries";
const LAG_SECONDS: &str = "onrush_journal_lag_seconds";
const SHARD_LIVE: &str = "onrush_shard_live";
const FORKS: &str = "onrush_shard_forks_total";
const REBUILDS: &str = "onrush_shard_rebuilds_total";
const REBUILD_ITEMS: &str = "onrush_shard_rebuild_items_total";
const LOADED: &str = "onrush_shard_rebuild_loaded";
const REBUILD_SECONDS: &str = "onrush_shard_rebuild_seconds";
const WAITING: &str = "onrush_queue_waiting";
const ACTIVE: &str = "onrush_queue_active";
const KEYS: &str = "onrush_key_lookups_total";
const POLLED: &str = "onrush_queue_polls_total";
const LINES: &str = "onrush_queue_line_reads_total";
const JOINED: &str = "onrush_queue_joined_total";
const ADMITTED: &str = "onrush_queue_admitted_total";
const ENDED: &str = "onrush_queue_ended_total";
const HOLDS: &str = "onrush_seat_holds_total";
const LAPSED: &str = "onrush_seat_holds_lapsed_total";
const SALES: &str = "onrush_seat_sales_total";
const POINTS: &str = "onrush_points_charged_total";
const PAYMENTS_REFUSED: &str = "onrush_payments_refused_total";
const PAYMENTS_RECOVERED: &str = "onrush_payments_recovered_total";
const ORDERS: &str = "onrush_orders_total";
const ORDER_POINTS: &str = "onrush_order_points_total";
const DELIVERIES: &str = "onrush_deliveries_total";
const DELIVERY: &str = "onrush_delivery_seconds";
const DELIVERY_LAG: &str = "onrush_delivery_lag_seconds";
const DELIVERY_PENDING: &str = "onrush_delivery_pending";
const DELIVERY_OLDEST: &str = "onrush_delivery_oldest_seconds";
const DELIVERY_DEAD: &str = "onrush_delivery_dead";
const DELIVERY_OPEN: &str = "onrush_delivery_breaker_open";
const COUPONS: &str = "onrush_coupons_total";
const REWARDS: &str = "onrush_reward_requests_total";
const LIMITED: &str = "onrush_rate_limited_total";
const HASHED: &str = "onrush_passwords_hashed_total";
const UP: &str = "onrush_server_up";

/// Installs the recorder of this process; a process has one, whoever asks first.
pub fn install() -> PrometheusHandle {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    HANDLE.get_or_init(recorder).clone()
}

fn recorder() -> PrometheusHandle {
    let builder = PrometheusBuilder::new();
    // Without buckets, histograms would become summaries, which cannot be added up over instances.
    let builder = builder
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_entries".into()), ENTRIES));
    let handle = match builder.map(PrometheusBuilder::build_recorder) {
        Ok(recorder) => {
            let handle = recorder.handle();
            if let Err(error) = metrics::set_global_recorder(recorder) {
                tracing::warn!(%error, "another metrics recorder is installed");
            }
            handle
        }
        Err(error) => {
            tracing::error!(%error, "the metrics' buckets are refused");
            PrometheusBuilder::new().build_recorder().handle()
        }
    };
    describe();
    handle
}

fn describe() {
    describe_histogram!(HTTP, "Seconds from a request's head to its answer's, by route, method and status");
    describe_histogram!(SCRIPT, "Seconds of a script call, by script and outcome");
    describe_histogram!(ACK_WAIT, "Seconds that a handler waited for Postgres to confirm its entry");
    describe_histogram!(BATCH_ENTRIES, "Journal entries of a writer's transaction");
    describe_histogram!(BATCH_SECONDS, "Seconds of a writer's transaction");
    describe_gauge!(LAG_ENTRIES, "Journal entries that Postgres does not have yet, by shard");
    describe_gauge!(LAG_SECONDS, "Age of the oldest of them, by shard");
    describe_gauge!(SHARD_LIVE, "1 while the shard reads and writes, by shard");
    describe_counter!(
        FORKS,
        "Times that Redis and Postgres did not follow each other, by shard and who saw it"
    );
    describe_counter!(REBUILDS, "Rebuilds of a shard from Postgres");
    describe_counter!(REBUILD_ITEMS, "Items that rebuilds loaded");
    describe_gauge!(LOADED, "Items that the rebuild under way, or the last, has loaded, by shard");
    describe_histogram!(REBUILD_SECONDS, "Seconds of a rebuild");
    describe_gauge!(WAITING, "People who wait, in the queues of this instance's shards");
    describe_gauge!(ACTIVE, "People who are in, likewise");
    describe_counter!(KEYS, "Look-ups of idempotency keys, by whether memory or Postgres answered");
    describe_counter!(POLLED, "Polls, by whether a snapshot or Redis answered");
    describe_counter!(LINES, "Snapshots of lines that were read from Redis");
    describe_counter!(JOINED, "Places taken");
    describe_counter!(ADMITTED, "People let in");
    describe_counter!(ENDED, "Places and passes that ended, by reason");
    describe_counter!(HOLDS, "Holds of seats");
    describe_counter!(LAPSED, "Holds that ended unpaid");
    describe_counter!(SALES, "Reservations paid");
    describe_counter!(POINTS, "Points charged");
    describe_counter!(PAYMENTS_REFUSED, "Payments that the seats' shard refused, by code");
    describe_counter!(PAYMENTS_RECOVERED, "Payments that recovery finished, by outcome");
    describe_counter!(ORDERS, "Orders placed");
    describe_counter!(ORDER_POINTS, "Points that orders took");
    describe_counter!(DELIVERIES, "Tries to deliver, by endpoint and outcome; `dead` after the last");
    describe_histogram!(DELIVERY, "Seconds of a try, by endpoint");
    describe_histogram!(DELIVERY_LAG, "Seconds from what happened to its delivery, by endpoint");
    describe_gauge!(DELIVERY_PENDING, "Messages to be delivered (up to 100 000), by endpoint");
    describe_gauge!(DELIVERY_OLDEST, "Age of the oldest of them, by endpoint");
    describe_gauge!(DELIVERY_DEAD, "Messages whose tries are used up (up to 100 000), by endpoint");
    describe_gauge!(DELIVERY_OPEN, "1 while the endpoint is not asked because it fails, by endpoint");
    describe_counter!(
        REWARDS,
        "Requests for rewards: requested, granted, rejected; recovered are among the last two"
    );
    describe_counter!(COUPONS, "Coupons claimed, used, generated, imported, reminded of before they expire");
    describe_counter!(LIMITED, "Requests refused as rate_limited, by class");
    describe_counter!(HASHED, "Passwords hashed");
    describe_gauge!(UP, "1 while the server answers, by server");
}

/// The histogram of one route, method and status; kept by the route, since a look-up by labels is slow.
pub fn http(route: &'static str, method: &'static str, status: u16) -> metrics::Histogram {
    histogram!(HTTP, "route" => route, "method" => method, "status" => status.to_string())
}

/// Histograms of script calls, looked up once for each outcome of a script.
#[derive(Debug, Default)]
pub struct ScriptMeter(Mutex<HashMap<&'static str, Vec<(String, Histogram)>>>);

impl ScriptMeter {
    /// A script was called.
    pub fn record(&self, name: &'static str, outcome: &str, took: Duration) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let outcomes = known.entry(name).or_default();
        let at = outcomes.iter().position(|(known, _)| known == outcome).unwrap_or_else(|| {
            let made = histogram!(SCRIPT, "script" => name, "outcome" => outcome.to_owned());
            outcomes.push((outcome.to_owned(), made));
            outcomes.len() - 1
        });
        outcomes[at].1.record(took);
    }
}

/// A handler waited for Postgres.
pub fn ack_wait(took: Duration) {
    histogram!(ACK_WAIT).record(took);
}

/// A writer's round was committed.
pub fn batch(entries: usize, took: Duration) {
    histogram!(BATCH_ENTRIES).record(entries as f64);
    histogram!(BATCH_SECONDS).record(took);
}

/// Idempotency keys were looked up in `memory`, or `postgres`.
pub fn keys_looked_up(from: &'static str, count: usize) {
    counter!(KEYS, "from" => from).increment(count as u64);
}

/// How a shard stands.
pub fn shard(shard: Shard, state: &str, lag_entries: u64, lag_ms: i64) {
    let label = shard.to_string();
    gauge!(SHARD_LIVE, "shard" => label.clone()).set(if state == "live" { 1.0 } else { 0.0 });
    gauge!(LAG_ENTRIES, "shard" => label.clone()).set(lag_entries as f64);
    gauge!(LAG_SECONDS, "shard" => label).set(lag_ms as f64 / 1_000.0);
}

/// The two stores did not follow each other.
pub fn fork(shard: Shard, seen_by: &'static str) {
    counter!(FORKS, "shard" => shard.to_string(), "seen_by" => seen_by).increment(1);
}

/// A rebuild has loaded so many items.
pub fn loading(shard: Shard, items: u64) {
    gauge!(LOADED, "shard" => shard.to_string()).set(items as f64);
}

/// A shard was rebuilt.
pub fn rebuild(shard: Shard, items: u64, took: Duration) {
    counter!(REBUILDS, "shard" => shard.to_string()).increment(1);
    counter!(REBUILD_ITEMS).increment(items);
    histogram!(REBUILD_SECONDS).record(took);
}

/// People in the queues of this instance's shards.
pub fn queues(waiting: i64, active: i64) {
    gauge!(WAITING).set(waiting as f64);
    gauge!(ACTIVE).set(active as f64);
}

/// Polls were answered from `snapshot` or by `redis`.
pub fn polled(from: &'static str, count: u64) {
    counter!(POLLED, "from" => from).increment(count);
}

/// A line was read.
pub fn line_read() {
    counter!(LINES).increment(1);
}

/// A place was taken.
pub fn joined() {
    counter!(JOINED).increment(1);
}

/// People were let in.
pub fn admitted(count: usize) {
    counter!(ADMITTED).increment(count as u64);
}

/// Places and passes ended.
pub fn ended(why: &str, count: usize) {
    counter!(ENDED, "why" => why.to_owned()).increment(count as u64);
}

/// Seats were held.
pub fn held() {
    counter!(HOLDS).increment(1);
}

/// Holds ended unpaid.
pub fn lapsed(count: usize) {
    counter!(LAPSED).increment(count as u64);
}

/// A reservation was paid.
pub fn sold() {
    counter!(SALES).increment(1);
}

/// Points were charged.
pub fn charged(points: i64) {
    counter!(POINTS).increment(points.unsigned_abs());
}

/// A payment was refused at its decision.
pub fn payment_refused(code: &str) {
    counter!(PAYMENTS_REFUSED, "code" => code.to_owned()).increment(1);
}

/// Recovery finished a payment.
pub fn payment_recovered(outcome: &'static str) {
    counter!(PAYMENTS_RECOVERED, "outcome" => outcome).increment(1);
}

/// An order was placed.
pub fn ordered(points: i64) {
    counter!(ORDERS).increment(1);
    counter!(ORDER_POINTS).increment(points.unsigned_abs());
}

/// Coupons that were claimed, used, generated, imported, reminded of.
pub fn coupon(what: &'static str, count: u64) {
    counter!(COUPONS, "what" => what).increment(count);
}

/// A request for a reward was made, granted, rejected, or ended by recovery.
pub fn reward(what: &'static str) {
    counter!(REWARDS, "what" => what).increment(1);
}

/// A try to deliver has ended.
pub fn delivery_tried(endpoint: &str, took: Duration, arrived: bool) {
    let outcome = if arrived { "delivered" } else { "failed" };
    counter!(DELIVERIES, "endpoint" => endpoint.to_owned(), "outcome" => outcome).increment(1);
    histogram!(DELIVERY, "endpoint" => endpoint.to_owned()).record(took);
}

/// A message arrived so long after what it tells of.
pub fn delivery_lag(endpoint: &str, lag: Duration) {
    histogram!(DELIVERY_LAG, "endpoint" => endpoint.to_owned()).record(lag);
}

/// A message's tries are used up.
pub fn delivery_dead(endpoint: &str) {
    counter!(DELIVERIES, "endpoint" => endpoint.to_owned(), "outcome" => "dead").increment(1);
}

/// How much waits for an endpoint.
pub fn delivery_backlog(endpoint: &str, backlog: &Backlog) {
    gauge!(DELIVERY_PENDING, "endpoint" => endpoint.to_owned()).set(backlog.pending as f64);
    gauge!(DELIVERY_OLDEST, "endpoint" => endpoint.to_owned()).set(backlog.oldest_seconds);
    gauge!(DELIVERY_DEAD, "endpoint" => endpoint.to_owned()).set(backlog.dead as f64);
}

/// Whether an endpoint's breaker is open.
pub fn delivery_breaker(endpoint: &str, is_open: bool) {
    gauge!(DELIVERY_OPEN, "endpoint" => endpoint.to_owned()).set(if is_open { 1.0 } else { 0.0 });
}

/// A client was refused because he asks too often.
pub fn limited(class: &'static str) {
    counter!(LIMITED, "class" => class).increment(1);
}

/// A password was hashed.
pub fn hashed() {
    counter!(HASHED).increment(1);
}

/// Whether a server answers.
pub fn server_up(server: &'static str, up: bool) {
    gauge!(UP, "server" => server).set(if up { 1.0 } else { 0.0 });
}
