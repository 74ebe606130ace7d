//! Who asks for a lock.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Identity of one attempt to hold a lock: `node:counter`, unique over nodes and restarts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnerId(pub Arc<str>);

impl OwnerId {
    /// A new owner at that node: nobody else's, neither in this process nor in another one or in an earlier life of this
    /// one, whatever their nodes are called.
    #[must_use]
    pub fn unique(node: &str) -> Self {
        static PROCESS: OnceLock<u64> = OnceLock::new();
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // The only source of randomness in the standard library: 64 bits, drawn from the system once.
        let process = PROCESS.get_or_init(|| RandomState::new().hash_one(std::process::id()));
        Self(format!("{node}:{process:x}:{}", NUMBER.fetch_add(1, Ordering::Relaxed)).into())
    }

    /// Anything below `most`, drawn from the owner and the number of its try: so that those who woke together do not all
    /// ask together.
    #[must_use]
    pub fn spread(&self, number: u32, most: Duration) -> Duration {
        let mut hasher = DefaultHasher::new();
        (self, number).hash(&mut hasher);
        let most_us = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(hasher.finish() % most_us)
    }
}

#[cfg(test)]
mod tests {
    use super::OwnerId;

    #[test]
    fn no_two_attempts_of_a_node_have_one_owner() {
        let owners: std::collections::HashSet<_> = (0..1000).map(|_| OwnerId::unique("n")).collect();
        assert_eq!(owners.len(), 1000);
    }
}
