//! What things cost in memory, counted by the allocator.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::sync::Arc;

use allocation_counter::measure;
use queue_lockfree::{
    HashKind, Member, Membership, NodeId, QueueLimits, Ring, Submission, Task, TokioNow, WorkQueues,
};

#[test]
fn a_lookup_allocates_nothing() {
    for hash in [HashKind::Mixed, HashKind::ZstackCompat] {
        let address = ([127, 0, 0, 1], 7000).into();
        let members = (0..1000).map(|id| Member { id: NodeId(id), name: format!("node-{id}"), address });
        let (membership, ring) = (Membership::new(), Ring::new(1, hash, members));
        assert!(measure(|| drop(ring.clone())).count_total > 0, "the counter counts");
        membership.install(ring);
        let keys: Vec<String> = (0..1000).map(|key| format!("volume-{key}")).collect();
        // The first look at a view enters this thread in arc-swap's list of readers.
        membership.view();
        let counted = measure(|| assert!(keys.iter().all(|key| membership.view().owner(key).is_some())));
        assert_eq!(counted.count_total, 0);
    }
}

/// Bytes that `tasks` pending tasks of as many keys as told take, each.
fn bytes_per_pending_task(queues: &WorkQueues, tasks: u64, keys: u64) -> u64 {
    let holders: Vec<_> =
        (0..keys).map(|key| queues.enqueue(Submission::new(&key.to_string(), 1)).unwrap()).collect();
    let mut open = Vec::with_capacity(tasks as usize);
    let counted = measure(|| {
        open.extend((0..tasks).map(|task| {
            queues
                .spawn(Submission::new(&(task % keys).to_string(), 1), move |_| async move { task })
                .unwrap()
        }));
    });
    drop(open);
    drop(holders);
    u64::try_from(counted.bytes_current).unwrap() / tasks + size_of::<Task<u64>>() as u64
}

#[test]
fn a_pending_task_takes_160_bytes_with_its_handle() {
    let limits = QueueLimits { alarm: usize::MAX, ..QueueLimits::default() };
    let queues = WorkQueues::new(limits, Arc::new(TokioNow::start()));
    // A power of two, so that the deques are full and their growth does not count.
    for keys in [1, 1 << 8] {
        let bytes = bytes_per_pending_task(&queues, 1 << 16, keys);
        println!("{bytes} bytes a pending task at {keys} keys");
        // Unoptimised, the future itself keeps what it was given twice.
        let most = if cfg!(debug_assertions) { 168 } else { 160 };
        assert!(bytes <= most, "{bytes} bytes at {keys} keys");
    }
}

#[test]
fn an_idle_key_takes_nothing() {
    let queues = WorkQueues::new(QueueLimits::default(), Arc::new(TokioNow::start()));
    let touch = |keys: std::ops::Range<u32>| {
        let turns: Vec<_> =
            keys.map(|key| queues.enqueue(Submission::new(&format!("volume-{key}"), 1)).unwrap()).collect();
        assert_eq!(queues.metrics().keys, turns.len() as u64);
    };
    touch(0..1000);
    let counted = measure(|| touch(1000..101_000));
    assert_eq!(queues.metrics().keys, 0);
    // What the 64 tables keep for the next keys depends on the shards, not on how many keys there were.
    assert!(counted.bytes_current < 64 * 64 * 512, "{} bytes are left", counted.bytes_current);
    assert!(counted.bytes_max > 100_000 * 100, "the counter counts");
}
