//! Many seeds, on as many threads as there are processors for it.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// What each of these seeds gives, in their order, whichever thread was the first.
///
/// # Panics
/// When one of them does.
pub fn walk<T: Send>(
    seeds: Range<u64>,
    threads: NonZeroUsize,
    one: impl Fn(u64) -> T + Sync,
) -> Vec<(u64, T)> {
    let next = AtomicU64::new(seeds.start);
    let some = || {
        let mut given = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !seeds.contains(&seed) {
                return given;
            }
            given.push((seed, one(seed)));
        }
    };
    let mut given: Vec<(u64, T)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.get()).map(|_| scope.spawn(some)).collect();
        let joined = threads.into_iter().flat_map(|thread| match thread.join() {
            Ok(given) => given,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    });
    given.sort_by_key(|(seed, _)| *seed);
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_walked_once_and_told_in_order() {
        let threads = NonZeroUsize::new(3).unwrap();
        let given = walk(5..205, threads, |seed| seed * seed);
        assert_eq!(given, (5..205).map(|seed| (seed, seed * seed)).collect::<Vec<_>>());
    }
}
