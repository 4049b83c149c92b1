//! The words of operations.

use std::collections::BTreeMap;

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /readyz`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Whether all below is well.
    pub ready: bool,
    /// The instance is on its way out.
    pub draining: bool,
    /// Redis answers.
    pub redis: bool,
    /// Postgres answers.
    pub postgres: bool,
    /// How long the oldest entry of this instance's shards has waited for Postgres, in milliseconds.
    pub lag_ms: u64,
    /// Shards that read and write.
    pub shards_live: usize,
    /// How each shard stands: `live`, `rebuilding`, or `fenced` until an operator decides.
    pub shard_states: BTreeMap<String, &'static str>,
    /// All shards.
    pub shards: usize,
    /// Whether rate limits hold; `off` is for load tests.
    pub limits: &'static str,
}

/// `GET /health`.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthView {
    /// Whether load balancers should send requests here.
    pub in_rotation: bool,
}

/// `PUT /health`.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct SetHealth {
    /// False takes this instance out.
    pub in_rotation: bool,
}
