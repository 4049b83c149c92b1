//! Transfers whose seats are sold: gathered here, and forgotten in Redis a few times a second, so that a
//! payment does not wait for that.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use super::store;
use crate::app::App;
use crate::error::Error;
use crate::redis::{Shard, Space, by_commas};

/// Transfers that one call forgets.
const CALL_MAX: usize = 200;

/// What is to be forgotten, of each shard.
#[derive(Debug, Default)]
pub struct Closing(Mutex<HashMap<Shard, Vec<Uuid>>>);

impl Closing {
    /// This transfer's points are gone for good, as Postgres has it.
    pub fn later(&self, shard: Shard, transfer: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(shard).or_default().push(transfer);
    }

    fn take(&self) -> HashMap<Shard, Vec<Uuid>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Forgets what was gathered. What fails is left to clean-up. Fails with the last error, if there was any.
pub async fn close_gathered(app: &App) -> Result<(), Error> {
    let mut failed = Ok(());
    for (shard, transfers) in app.closing.take() {
        if let Err(error) = close(app, shard, &transfers).await {
            failed = Err(error);
        }
    }
    failed
}

/// Forgets transfers of one shard.
pub async fn close(app: &App, shard: Shard, transfers: &[Uuid]) -> Result<(), Error> {
    for some in transfers.chunks(CALL_MAX) {
        let closed = by_commas(some);
        app.journal.ask(shard, |space: &Space| store::close(space, closed.clone())).await?;
    }
    Ok(())
}
