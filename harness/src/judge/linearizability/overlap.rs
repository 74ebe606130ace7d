//! The third answer about a lock, next to the two readings of a failed release: did clients' holds overlap at all?

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::history::{End, History, Verb};

/// Holds as their clients saw them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overlaps {
    /// Grants.
    pub holds: u64,
    /// Grants that came while as many others as the level allows were still held.
    pub overlaps: u64,
}

/// Sweeps over the intervals from an acknowledged acquire to the call of that client's next release. However the release
/// ends, the client is out of its section by then; so this is about sections, not about what the lock believes.
#[must_use]
pub fn overlaps(history: &History, level: u32) -> Overlaps {
    let mut releases: BTreeMap<(u32, Option<&str>), Vec<u64>> = BTreeMap::new();
    for call in history.calls.iter().filter(|call| call.verb == Verb::Release) {
        releases.entry((call.process, call.key.as_deref())).or_default().push(call.at);
    }
    let mut holds: BTreeMap<Option<&str>, Vec<(u64, u64)>> = BTreeMap::new();
    for call in history.calls.iter().filter(|call| call.verb == Verb::Acquire) {
        let Some(ret) = call.ret.as_ref().filter(|ret| ret.end == End::Ok) else { continue };
        let key = call.key.as_deref();
        let releases = releases.get(&(call.process, key)).map_or(&[][..], Vec::as_slice);
        let release = releases.get(releases.partition_point(|at| *at < ret.at));
        holds.entry(key).or_default().push((ret.at, release.copied().unwrap_or(u64::MAX)));
    }
    let mut answer = Overlaps::default();
    for holds in holds.values_mut() {
        holds.sort_unstable();
        let mut open: BinaryHeap<Reverse<u64>> = BinaryHeap::new();
        for (start, end) in holds {
            while open.peek().is_some_and(|Reverse(end)| *end <= *start) {
                open.pop();
            }
            answer.holds += 1;
            answer.overlaps += u64::from(open.len() >= level.max(1) as usize);
            open.push(Reverse(*end));
        }
    }
    answer
}
