//! The integration tests: one binary, real Redis, real Postgres, real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod accounts;
mod audit;
mod backup;
mod clocks;
mod contract;
mod coupon_bulk;
mod coupon_cli;
mod coupon_days;
mod coupon_kills;
mod coupon_life;
mod coupon_storage;
mod coupons;
mod crash;
mod delivery;
mod delivery_kills;
mod demo;
mod dependencies;
mod doctor;
mod documents;
mod events;
mod familiar;
mod harness;
mod idempotency;
mod instances;
#[cfg(feature = "kafka")]
mod kafka;
mod limits;
mod lines;
mod logs;
mod loss;
mod menus;
mod models;
mod operations;
mod orders;
mod payments;
mod points;
mod pressure;
mod programs;
mod queue;
mod queue_time;
mod ranking;
mod reward_conditions;
mod reward_kills;
mod reward_races;
mod rewards;
mod roles;
mod runs;
mod seats;
mod security;
mod sessions;
mod sign_ins;
mod tidy;
mod torture;
mod wrong_input;
