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
        // In a flash sale it is the same again and again, and the last already: it is neither looked up nor
        // moved to where it is.
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

    /// Keeps what is made of what is kept under a name, with nobody in between.
    pub(super) fn renew(&self, name: &str, make: impl FnOnce(Option<&V>) -> V) -> V {
        let mut kept = self.lock();
        let made = make(kept.peek(name));
        kept.put(name.to_owned(), made.clone());
        made
    }

    /// Forgets what is kept under a name.
    pub(super) fn remove(&self, name: &str) {
        self.lock().pop(name);
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
    fn what_is_renewed_is_made_of_what_was_there_and_what_is_removed_is_gone() {
        let kept = Kept::new(NonZeroUsize::MIN);
        let one_more = |count: Option<&i32>| count.map_or(1, |count| count + 1);
        assert_eq!((kept.renew("a", one_more), kept.renew("a", one_more), kept.get("a")), (1, 2, Some(2)));
        kept.remove("a");
        assert_eq!(kept.get("a"), None);
    }
}
