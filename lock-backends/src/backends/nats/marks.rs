//! Marks of deleted entries that a session has seen: who knows one need not ask what it has to replace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::backends::common::lock;

/// Keys whose marks are remembered; above that those that ended are forgotten, or all.
const KEYS_MAX: usize = 4096;

/// A guess that is wrong is refused by the server, and costs a read.
#[derive(Debug)]
pub(super) struct Marks {
    ttl_ns: u64,
    /// Revision of the mark, and the stamp when it was seen.
    seen: Mutex<HashMap<Arc<str>, (u64, u64)>>,
}

impl Marks {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl_ns: u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX), seen: Mutex::default() }
    }

    pub(super) fn remember(&self, key: &Arc<str>, revision: u64, now_ns: u64) {
        let mut seen = lock(&self.seen);
        if seen.len() >= KEYS_MAX {
            seen.retain(|_, (_, at_ns)| now_ns < at_ns.saturating_add(self.ttl_ns));
        }
        if seen.len() >= KEYS_MAX {
            seen.clear();
        }
        seen.insert(key.clone(), (revision, now_ns));
    }

    /// The revision of the mark under that key, which is forgotten: whoever uses it replaces it.
    pub(super) fn take(&self, key: &str, now_ns: u64) -> Option<u64> {
        let (revision, at_ns) = lock(&self.seen).remove(key)?;
        (now_ns < at_ns.saturating_add(self.ttl_ns)).then_some(revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_known_once_and_until_it_ends_and_there_are_never_too_many() {
        let marks = Marks::new(Duration::from_nanos(10));
        let key: Arc<str> = "a".into();
        marks.remember(&key, 7, 0);
        assert_eq!(marks.take("a", 9), Some(7));
        assert_eq!(marks.take("a", 9), None);
        marks.remember(&key, 8, 0);
        assert_eq!(marks.take("a", 10), None);
        for number in 0..2 * KEYS_MAX as u64 {
            marks.remember(&number.to_string().into(), number, 0);
        }
        assert!(lock(&marks.seen).len() <= KEYS_MAX);
    }
}
