//! The menu as this instance remembers it: what orders are priced with and what lists show.
//!
//! Read again more often than once a second; whoever finds it older than a second reads it himself, so that a
//! change made elsewhere holds here within a second or nothing is sold. Menus change one at a time, in the
//! order of `changed_at`, so what is newer than the newest that was read is all that is news.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::model::Menu;
use super::table;
use crate::error::Error;
use crate::http::page::{Page, PageRequest};
use crate::ids::MenuId;

/// How old what is told may be.
const FRESH: Duration = Duration::from_millis(900);
/// How long a reading may take, with the wait for the one before it.
const READING_MAX: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Known {
    menus: BTreeMap<MenuId, Menu>,
    newest: Option<DateTime<Utc>>,
    /// When the last reading began; none when something is known to have changed since.
    read: Option<Instant>,
    version: u64,
}

/// All menus that are not taken off.
#[derive(Default)]
pub struct Board {
    known: RwLock<Known>,
    reading: tokio::sync::Mutex<()>,
}

impl Board {
    fn known(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_read_since(&self, then: Option<Instant>) -> bool {
        then.is_none_or(|then| self.known().read.is_some_and(|read| read >= then))
    }

    /// Reads what changed.
    pub async fn refresh(&self, pool: &PgPool) -> Result<(), Error> {
        in_time(async {
            let _turn = self.reading.lock().await;
            self.read(pool).await
        })
        .await
    }

    /// Makes sure that nothing which changed more than a second ago is missing.
    pub async fn fresh(&self, pool: &PgPool) -> Result<(), Error> {
        self.since(pool, Instant::now().checked_sub(FRESH)).await
    }

    /// Makes sure that nothing which changed before this time is missing. Who asks at once shares a reading,
    /// and nobody waits long for it: what is not known now is refused, not done later.
    pub async fn since(&self, pool: &PgPool, then: Option<Instant>) -> Result<(), Error> {
        if self.is_read_since(then) {
            return Ok(());
        }
        in_time(async {
            let _turn = self.reading.lock().await;
            if self.is_read_since(then) { Ok(()) } else { self.read(pool).await }
        })
        .await
    }

    /// This instance changed something: nothing older is told from here on.
    pub async fn changed(&self, pool: &PgPool) {
        let read = in_time(async {
            // A reading that began before the change must not be taken for one of after it.
            let _turn = self.reading.lock().await;
            self.known.write().unwrap_or_else(PoisonError::into_inner).read = None;
            self.read(pool).await
        });
        if let Err(error) = read.await {
            self.known.write().unwrap_or_else(PoisonError::into_inner).read = None;
            tracing::warn!(%error, "reading the menu after a change; who needs it reads it again");
        }
    }

    async fn read(&self, pool: &PgPool) -> Result<(), Error> {
        let (began, newest) = (Instant::now(), self.known().newest);
        let changes = table::changes(pool, newest).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (menu, is_off, at) in changes {
            let id = menu.menu_id;
            let before = if is_off { known.menus.remove(&id) } else { known.menus.insert(id, menu) };
            if before.as_ref() != known.menus.get(&id) {
                known.version += 1;
            }
            known.newest = known.newest.max(Some(at));
        }
        known.read = Some(began);
        Ok(())
    }

    /// What is on the menu with this id.
    pub fn menu(&self, id: MenuId) -> Option<Menu> {
        self.known().menus.get(&id).cloned()
    }

    /// Counts changes: the same number, the same menus.
    pub fn version(&self) -> u64 {
        self.known().version
    }

    /// A page of menus, newest first.
    pub fn page(&self, page: &PageRequest) -> Result<Page<Menu>, Error> {
        let end = MenuId::from(page.after_id()?.unwrap_or(Uuid::max()));
        let (known, count) = (self.known(), usize::try_from(page.fetch()).unwrap_or(0));
        let rows: Vec<Menu> = known.menus.range(..end).rev().take(count).map(|(_, m)| m.clone()).collect();
        page.cut(rows, |menu| Ok(menu.menu_id.to_string()), |menu| Ok(menu.clone()))
    }
}

async fn in_time(reading: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let read = tokio::time::timeout(READING_MAX, reading).await;
    read.unwrap_or_else(|_| Err(Error::unavailable("the menu cannot be read")))
}
