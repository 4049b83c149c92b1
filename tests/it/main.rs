//! The integration tests: one binary, real Redis, real Postgres, real HTTP.

mod harness;
mod models;
mod payments;
mod points;
mod queue;
mod seats;
