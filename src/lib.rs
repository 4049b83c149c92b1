//! Onrush: the engine behind an on-sale.

mod accounts;
pub mod app;
mod batch;
pub mod cli;
pub mod clock;
mod concerts;
pub mod config;
#[cfg(test)]
mod contract;
pub mod error;
mod http;
pub mod ids;
mod journal;
mod menus;
mod metrics;
mod operations;
mod payments;
mod queue;
mod redis;
mod router;
mod schedule;
mod seats;
pub mod servers;
mod wallet;

pub use accounts::model::Role;

/// All scripts, for the loader and the contract test.
fn scripts() -> Vec<&'static redis::Source> {
    let mut all = vec![&journal::store::LOAD, &journal::store::SNAPSHOT];
    for feature in [
        journal::store::SCRIPTS,
        wallet::store::SCRIPTS,
        queue::store::SCRIPTS,
        concerts::store::SCRIPTS,
        seats::store::SCRIPTS,
        payments::store::SCRIPTS,
    ] {
        all.extend(feature);
    }
    all
}
