//! How long requests of a route take, for Prometheus.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::metrics::Histogram;
use axum::http::Method;

use crate::metrics;

/// A route's histograms; looked up once for each status.
#[derive(Default)]
pub struct RouteMeter {
    by_status: Mutex<BTreeMap<(&'static str, u16), Histogram>>,
    route: &'static str,
}

impl RouteMeter {
    /// A meter for a route.
    pub fn new(route: &'static str) -> Self {
        Self { route, ..Self::default() }
    }

    /// A request was answered.
    pub fn record(&self, method: &Method, status: u16, took: Duration) {
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            _ => "OTHER",
        };
        let mut known = self.by_status.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram =
            known.entry((method, status)).or_insert_with(|| metrics::http(self.route, method, status));
        histogram.record(took);
    }
}
