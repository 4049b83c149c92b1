//! What was asked for lately, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;

/// Values by key. Those of the last half of `most` keys are always kept, in whatever order they come; the
/// others go when there are too many.
#[derive(Debug)]
pub struct Recent<K, V> {
    half: usize,
    young: HashMap<K, V>,
    /// Those of before; who is asked for becomes young again.
    old: HashMap<K, V>,
}

impl<K: Eq + Hash + Copy, V> Recent<K, V> {
    /// Of so many keys at most.
    pub fn new(most: usize) -> Self {
        Self { half: most.div_ceil(2).max(1), young: HashMap::new(), old: HashMap::new() }
    }

    /// What is kept of a key.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let value = self.old.remove(key)?;
            self.insert(*key, value);
        }
        self.young.get_mut(key)
    }

    /// Keeps a value, in place of the key's last one.
    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// Lets all go.
    pub fn clear(&mut self) {
        (self.young, self.old) = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_half_is_kept_and_who_is_asked_for_stays() {
        let mut recent = Recent::new(8);
        for key in 0..8 {
            recent.insert(key, key);
        }
        assert_eq!(recent.get(&0), Some(&mut 0));
        for key in 8..11 {
            recent.insert(key, key);
        }
        let kept = (0..11).filter(|key| recent.young.contains_key(key) || recent.old.contains_key(key));
        assert_eq!(kept.collect::<Vec<_>>(), [0, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(recent.get(&1), None);
    }

    #[test]
    fn a_value_takes_the_place_of_the_last_one() {
        let mut recent = Recent::new(2);
        recent.insert(1, "old");
        recent.insert(2, "two");
        recent.insert(1, "new");
        assert_eq!(recent.get(&1), Some(&mut "new"));
        recent.clear();
        assert_eq!(recent.get(&1), None);
    }
}
