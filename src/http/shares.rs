//! How much of something each of many may have at the same time: connections of an address, hashes of an
//! address, streams of a user.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is taken, by whom.
#[derive(Debug)]
pub struct Shares<K>(Mutex<HashMap<K, usize>>);

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// One that is taken, until this is dropped.
#[derive(Debug)]
pub struct Share<K: Hash + Eq + Copy> {
    shares: Arc<Shares<K>>,
    key: K,
}

impl<K: Hash + Eq + Copy> Shares<K> {
    fn taken(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more; `None` when he has as many as he may.
    pub fn take(self: &Arc<Self>, key: K, max: Option<usize>) -> Option<Share<K>> {
        let mut taken = self.taken();
        let count = taken.entry(key).or_default();
        if max.is_some_and(|max| *count >= max) {
            return None;
        }
        *count += 1;
        Some(Share { shares: self.clone(), key })
    }
}

impl<K: Hash + Eq + Copy> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let shares = Arc::new(Shares::default());
        let first = shares.take(1, Some(1)).unwrap();
        assert!(shares.take(1, Some(1)).is_none() && shares.take(2, Some(1)).is_some());
        drop(first);
        assert!(shares.take(1, Some(1)).is_some());
        assert!(shares.taken().is_empty(), "nothing is left of who has nothing");
    }
}
