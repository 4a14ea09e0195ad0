//! Places that are for all environments, and of which none may take all: a quarter is left to the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::name::Value;

/// The places that there are.
#[derive(Clone, Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    each_max: usize,
    /// Those of each environment that has or waits for one.
    of_each: Arc<Mutex<HashMap<Value, Weak<Semaphore>>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_own: OwnedSemaphorePermit,
}

impl Places {
    /// So many; where there are fewer than four, one environment may have them all.
    pub fn new(most: usize) -> Places {
        Places { all: Arc::new(Semaphore::new(most)), each_max: most - most / 4, of_each: Arc::default() }
    }

    fn of(&self, environment: &Value) -> Arc<Semaphore> {
        // The map is whole whenever the lock is free, also after a panic.
        let mut of_each = self.of_each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = of_each.get(environment).and_then(Weak::upgrade) {
            return own;
        }
        of_each.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(self.each_max));
        of_each.insert(environment.clone(), Arc::downgrade(&own));
        own
    }

    /// A place for an environment, where there is one at once.
    pub fn try_take(&self, environment: &Value) -> Option<Place> {
        let of_own = self.of(environment).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Place { _of_all: of_all, _of_own: of_own })
    }

    /// Waits for a place for an environment. None where there will never be one.
    pub async fn take(&self, environment: &Value) -> Option<Place> {
        let of_own = self.of(environment).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Place { _of_all: of_all, _of_own: of_own })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_environment_takes_all_and_who_has_none_is_forgotten() {
        let [one, other, third] = ["one", "other", "third"].map(|id| Value::parse(id).unwrap());
        for (most, each) in [(1, 1), (2, 2), (3, 3), (4, 3), (8, 6), (256, 192)] {
            let places = Places::new(most);
            let mut taken: Vec<Place> = std::iter::from_fn(|| places.try_take(&one)).collect();
            assert_eq!(taken.len(), each, "{most}");
            let rest: Vec<Place> = std::iter::from_fn(|| places.try_take(&other)).collect();
            assert_eq!(rest.len(), most - each);
            assert!(places.try_take(&third).is_none(), "all are taken");
            taken.pop();
            assert!(places.try_take(&one).is_some(), "it has room again");
            drop((taken, rest));
            assert!(places.try_take(&third).is_some());
            assert_eq!(places.of_each.lock().unwrap().len(), 1, "the others have none");
        }
    }
}
