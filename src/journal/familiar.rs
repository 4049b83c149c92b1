//! Whose keys are known, so that Postgres is not asked about each new one.
//!
//! A look-up that did not find a key stays good for a while: whatever is done with that key later leaves a
//! record in its shard, where the script finds it, for longer than a look-up may be old, as long as the epoch
//! is the same. So one look-up asks for all keys of a user, and from then on what is not among them is new.
//!
//! The same key for another target may belong to another shard, whose script is not asked. So keys that are
//! used later are noted too, by the writer, before it commits what was done with them. Where another instance
//! is writer of a shard, nothing is remembered; while one hands it over, a key may be taken for new that was
//! used there for another target, but nothing takes effect twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sqlx::PgPool;

use super::Shards;
use super::entry::Facts;
use super::table::recall::{self, KeyNumber, KeyScope, Recalled};
use crate::clock::Clock;
use crate::error::Error;
use crate::ids::UserId;
use crate::metrics;
use crate::recent::Recent;
use crate::redis::Space;

/// How old a look-up may be. Scripts refuse one of more than ten minutes.
const AGE_MAX_MS: i64 = 480_000;
/// Users whose keys are known, of 100 to 600 bytes each.
const USERS_MAX: usize = 100_000;
/// Keys of a user; one who has more is asked about by the key.
const KEYS_MAX: usize = 100;

/// A look-up: what it is of is of before Postgres was asked.
#[derive(Clone)]
struct Asked {
    /// No other has its number.
    number: u64,
    at_ms: i64,
    at: Instant,
    /// Of each shard.
    epochs: Arc<[u64]>,
}

/// What is known of a user's keys.
struct Keys {
    asked: Asked,
    /// Postgres has answered.
    is_told: bool,
    /// A part of each one's number; `None` when they are too many, and from then on.
    known: Option<Vec<u32>>,
}

impl Keys {
    fn note(&mut self, keys: &[u32]) {
        let Some(known) = &mut self.known else { return };
        for key in keys {
            if !known.contains(key) {
                known.push(*key);
            }
        }
        if known.len() > KEYS_MAX {
            self.known = None;
        }
    }
}

struct Seen {
    /// The writer here commits what all shards journal.
    all: bool,
    users: Recent<UserId, Keys>,
    /// Of the last look-up.
    epochs: Arc<[u64]>,
    look_ups: u64,
}

/// The keys of users who wrote lately.
pub struct Familiar {
    shards: Arc<Shards>,
    clock: Clock,
    seen: Mutex<Seen>,
}

impl Familiar {
    /// Knows nobody.
    pub fn new(shards: Arc<Shards>, clock: Clock) -> Self {
        let seen = Seen { all: false, users: Recent::new(USERS_MAX), epochs: [].into(), look_ups: 0 };
        Self { shards, clock, seen: Mutex::new(seen) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the writer here commits what all shards journal. Where it does not, or something was committed
    /// that it has not seen, nothing that is remembered counts.
    pub fn sees(&self, all: bool) {
        let mut seen = self.seen();
        if !all && seen.all {
            seen.users.clear();
        }
        seen.all = all;
    }

    /// The writer is about to commit these: their keys are not new from now on. So no answer comes before its
    /// key is noted, and a look-up that began before the commit, and does not see it, has an entry here.
    pub fn note<'f>(&self, entries: impl Iterator<Item = &'f Facts>) {
        // What cannot be read the writer refuses.
        for asked in entries.filter_map(|facts| facts.requested().ok().flatten()) {
            if let Some(keys) = self.seen().users.get(&asked.user) {
                keys.note(&[KeyNumber::asked(&asked).of_key()]);
            }
        }
    }

    fn age_ms(&self, asked: &Asked) -> i64 {
        // A clock that is set back makes nothing younger.
        (self.clock.now_ms() - asked.at_ms).max(asked.at.elapsed().as_millis() as i64)
    }

    /// Milliseconds since a look-up by which the key is new; `None` where Postgres has to be asked. `space`
    /// is where it is to be used, if that is known yet.
    pub fn age_if_new(&self, scope: &KeyScope, space: Option<&Space>) -> Option<i64> {
        let mut seen = self.seen();
        let keys = seen.users.get(&scope.user)?;
        let same = |space: &Space| keys.asked.epochs.get(usize::from(space.shard.0)) == Some(&space.epoch);
        let age_ms = self.age_ms(&keys.asked);
        let counts = keys.is_told && age_ms <= AGE_MAX_MS && space.is_none_or(same);
        if !counts || keys.known.as_ref()?.contains(&scope.number.of_key()) {
            return None;
        }
        drop(seen);
        metrics::keys_looked_up("memory", 1);
        Some(age_ms)
    }

    /// For each scope the committed steps of all operations with that key, as Postgres has them.
    pub async fn look_up(&self, pool: &PgPool, scopes: &[KeyScope]) -> Result<Vec<Vec<Recalled>>, Error> {
        let (asked, users) = self.begin(scopes);
        let mut told = HashMap::new();
        if !users.is_empty() {
            let keys = recall::keys_of(pool, &users, KEYS_MAX + 1).await?;
            told = users.into_iter().zip(keys).collect();
            self.end(&asked, &told);
        }
        let may_be_known = |scope: &KeyScope| match told.get(&scope.user) {
            Some(keys) => keys.len() > KEYS_MAX || keys.contains(&scope.number.of_key()),
            None => true,
        };
        let open: Vec<usize> = (0..scopes.len()).filter(|at| may_be_known(&scopes[*at])).collect();
        metrics::keys_looked_up("postgres", scopes.len());
        let mut found = vec![Vec::new(); scopes.len()];
        if !open.is_empty() {
            let named: Vec<_> = open.iter().map(|at| scopes[*at].clone()).collect();
            for (at, steps) in open.into_iter().zip(recall::by_key(pool, &named).await?) {
                found[at] = steps;
            }
        }
        Ok(found)
    }

    /// Who is to be asked about all his keys.
    fn begin(&self, scopes: &[KeyScope]) -> (Asked, Vec<UserId>) {
        let at = Instant::now();
        let epochs: Vec<u64> = self.shards.all().map(|shard| self.shards.known(shard).0.epoch).collect();
        let mut seen = self.seen();
        if *seen.epochs != *epochs {
            seen.epochs = epochs.into();
        }
        seen.look_ups += 1;
        let (number, at_ms, epochs) = (seen.look_ups, self.clock.now_ms(), seen.epochs.clone());
        let asked = Asked { number, at_ms, at, epochs };
        let mut users = Vec::new();
        if !seen.all {
            return (asked, users);
        }
        for KeyScope { user, .. } in scopes {
            let mut keys = Keys { asked: asked.clone(), is_told: false, known: Some(Vec::new()) };
            if let Some(before) = seen.users.get(user) {
                let holds = before.asked.epochs == asked.epochs && self.age_ms(&before.asked) <= AGE_MAX_MS;
                let is_asked = before.asked.number == asked.number;
                if before.known.is_none() || is_asked || (before.is_told && holds) {
                    continue;
                }
                // Among these are some that are about to be committed, which this look-up does not see.
                keys.known = before.known.take();
            }
            seen.users.insert(*user, keys);
            users.push(*user);
        }
        (asked, users)
    }

    fn end(&self, asked: &Asked, told: &HashMap<UserId, Vec<u32>>) {
        let mut seen = self.seen();
        for (user, keys) in told {
            // Who was forgotten meanwhile, or is asked about again, is not known by this answer.
            let of_this = |known: &&mut Keys| known.asked.number == asked.number;
            if let Some(known) = seen.users.get(user).filter(of_this) {
                known.note(keys);
                known.is_told = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    struct World {
        familiar: Familiar,
        now: Arc<AtomicI64>,
        user: UserId,
    }

    impl World {
        fn new() -> Self {
            let pool = PgPool::connect_lazy("postgres://localhost/none").unwrap();
            let now = Arc::new(AtomicI64::new(1_000_000));
            let shards = Arc::new(Shards::new("onrush".into(), pool, 2));
            let familiar = Familiar::new(shards, Clock::Test(now.clone()));
            familiar.sees(true);
            Self { familiar, now, user: UserId::mint() }
        }

        fn key(&self, key: &str) -> KeyScope {
            KeyScope::new(self.user, "points.charge", key)
        }

        fn begin(&self) -> (Asked, Vec<UserId>) {
            self.familiar.begin(&[self.key("any")])
        }

        fn end(&self, asked: &Asked, keys: &[&str]) {
            let keys = keys.iter().map(|key| self.key(key).number.of_key()).collect();
            self.familiar.end(asked, &HashMap::from([(self.user, keys)]));
        }

        fn tell(&self, keys: &[&str]) {
            self.end(&self.begin().0, keys);
        }

        /// The writer commits what was asked for with this key.
        fn commit(&self, key: &str) {
            let facts = Facts::new(format!("op.requested|{}|points.charge|{key}|of|this", self.user));
            self.familiar.note(std::iter::once(&facts));
        }

        fn age(&self, key: &str) -> Option<i64> {
            self.familiar.age_if_new(&self.key(key), None)
        }
    }

    #[tokio::test]
    async fn what_is_not_among_the_keys_is_new_until_the_look_up_is_too_old() {
        let world = World::new();
        assert_eq!(world.age("a"), None, "nobody has been asked about");
        world.tell(&["a"]);
        world.now.fetch_add(1_000, Ordering::SeqCst);
        assert_eq!((world.age("a"), world.age("b")), (None, Some(1_000)));
        world.commit("b");
        assert_eq!((world.age("b"), world.age("c")), (None, Some(1_000)));
        world.now.fetch_add(AGE_MAX_MS, Ordering::SeqCst);
        assert_eq!(world.age("c"), None);
    }

    #[tokio::test]
    async fn a_look_up_counts_in_the_epoch_of_its_shard_alone() {
        let world = World::new();
        world.tell(&[]);
        let shards = &world.familiar.shards;
        let (space, _) = shards.known(crate::redis::Shard(1));
        let later = shards.space(space.shard, space.epoch + 1);
        let age = |space: &Space| world.familiar.age_if_new(&world.key("a"), Some(space));
        assert_eq!((age(&space), age(&later)), (Some(0), None));
    }

    #[tokio::test]
    async fn what_is_used_while_postgres_is_asked_is_not_new() {
        let world = World::new();
        let (asked, users) = world.begin();
        assert_eq!(users, [world.user]);
        assert_eq!(world.age("a"), None, "not told yet");
        world.commit("a");
        world.end(&asked, &[]);
        assert_eq!((world.age("a"), world.age("b")), (None, Some(0)));
    }

    #[tokio::test]
    async fn what_was_noted_stays_when_he_is_asked_about_again() {
        let world = World::new();
        world.tell(&[]);
        world.commit("a");
        assert!(world.begin().1.is_empty(), "what is known holds");
        world.now.fetch_add(AGE_MAX_MS + 1, Ordering::SeqCst);
        let (asked, users) = world.begin();
        assert_eq!(users, [world.user]);
        world.end(&asked, &[]);
        assert_eq!((world.age("a"), world.age("b")), (None, Some(0)));
    }

    #[tokio::test]
    async fn an_answer_counts_for_its_own_question_alone() {
        let world = World::new();
        let (first, _) = world.begin();
        world.begin();
        world.end(&first, &[]);
        assert_eq!(world.age("a"), None, "asked again since");
        let (asked, _) = world.begin();
        world.familiar.sees(false);
        world.familiar.sees(true);
        world.end(&asked, &[]);
        assert_eq!(world.age("a"), None, "forgotten since");
    }

    #[tokio::test]
    async fn who_is_not_the_only_writer_remembers_nothing() {
        let world = World::new();
        world.tell(&[]);
        world.familiar.sees(true);
        assert_eq!(world.age("a"), Some(0));
        world.familiar.sees(false);
        assert!(world.begin().1.is_empty());
        world.familiar.sees(true);
        assert_eq!(world.age("a"), None);
    }

    #[tokio::test]
    async fn who_has_too_many_keys_is_asked_about_by_the_key() {
        let world = World::new();
        let many: Vec<String> = (0..=KEYS_MAX).map(|at| at.to_string()).collect();
        world.tell(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(world.age("a"), None);
        assert!(world.begin().1.is_empty(), "not about all of them again");
    }
}
