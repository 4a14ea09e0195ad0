//! What is kept in memory by a name, so that the database need not be asked: in bounds, and what was
//! used longest ago goes first.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// Values by their names. To clone one must be cheap.
pub(super) struct Kept<V>(Mutex<LruCache<String, V>>);

impl<V: Clone> Kept<V> {
    /// So many at most.
    pub(super) fn new(max: NonZeroUsize) -> Kept<V> {
        Kept(Mutex::new(LruCache::new(max)))
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<String, V>> {
        // The map is whole whenever its lock is free, also after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept under a name.
    pub(super) fn get(&self, name: &str) -> Option<V> {
        let mut kept = self.lock();
        // What is asked for again and again is the last already: to say so once more would be to write
        // where the other processors read.
        if let Some((last, value)) = kept.peek_mru()
            && last == name
        {
            return Some(value.clone());
        }
        kept.get(name).cloned()
    }

    /// Keeps a value instead of what was kept under its name.
    pub(super) fn put(&self, name: &str, value: V) {
        self.lock().put(name.to_owned(), value);
    }

    /// Exchanges what is kept under a name for what is made of it, with nobody in between.
    pub(super) fn exchange(&self, name: &str, make: impl FnOnce(Option<V>) -> Option<V>) -> Option<V> {
        let mut kept = self.lock();
        let made = make(kept.pop(name));
        if let Some(value) = &made {
            kept.put(name.to_owned(), value.clone());
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let kept = Kept::new(NonZeroUsize::new(2).unwrap());
        kept.put("a", 1);
        kept.put("b", 2);
        assert_eq!((kept.get("b"), kept.get("a"), kept.get("a")), (Some(2), Some(1), Some(1)));
        kept.put("c", 3);
        assert_eq!((kept.get("a"), kept.get("b"), kept.get("c")), (Some(1), None, Some(3)));
    }

    #[test]
    fn what_is_exchanged_is_made_of_what_was_there() {
        let kept = Kept::new(NonZeroUsize::MIN);
        let one_more = |count: Option<i32>| Some(count.unwrap_or_default() + 1);
        assert_eq!((kept.exchange("a", one_more), kept.exchange("a", one_more)), (Some(1), Some(2)));
        assert_eq!((kept.exchange("a", |_| None), kept.get("a")), (None, None));
    }
}
