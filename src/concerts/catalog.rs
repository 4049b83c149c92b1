//! What this instance remembers of concerts and shows. They never change once made, and they are durable
//! before anybody hears of them, so what is not remembered is read from Postgres and what is remembered is
//! true.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::NaiveDate;
use sqlx::PgPool;

use super::model::Show;
use super::table;
use crate::error::{Code, Error};
use crate::ids::ConcertId;

/// Shows that are remembered; then all are forgotten and read again.
const SHOWS_MAX: usize = 100_000;

/// Shows by concert and date.
#[derive(Debug, Default)]
pub struct Catalog(Mutex<HashMap<(ConcertId, NaiveDate), Show>>);

impl Catalog {
    /// The show of a concert on a day.
    pub async fn show(&self, pool: &PgPool, concert: ConcertId, date: NaiveDate) -> Result<Show, Error> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(concert, date)).cloned();
        if let Some(show) = known {
            return Ok(show);
        }
        let show =
            table::show(pool, concert, date).await?.ok_or_else(|| Error::refused(Code::ShowNotFound))?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SHOWS_MAX {
            known.clear();
        }
        known.insert((concert, date), show.clone());
        Ok(show)
    }
}
