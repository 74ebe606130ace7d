//! What things cost in memory, counted by the allocator.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::sync::Arc;
use std::task::{Context, Waker};

use allocation_counter::measure;
use bytes::Bytes;
use queue_lockfree::{
    HashKind, Member, Membership, Node, NodeId, NodeOptions, QueueLimits, Ring, Secret, Submission, Task,
    TokioNow, WorkQueues, handler_fn,
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

/// What a node keeps of a task that waits for its turn, its submitter's future included.
#[test]
fn a_task_that_waits_at_its_owner_takes_less_than_three_kibibytes() {
    const TASKS: u64 = 1 << 10;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let membership = Membership::new();
        let secret = Secret::new([7; 32]);
        let options =
            NodeOptions::new(NodeId(0), "node-0", membership.clone(), secret, Arc::new(TokioNow::start()));
        let never = handler_fn(|_| std::future::pending::<Bytes>());
        let node = Node::start(options, Arc::new(never)).await.unwrap();
        membership.install(Ring::new(1, HashKind::Mixed, [node.member()]));
        let mut open = Vec::with_capacity(TASKS as usize + 1);
        let mut submit = || {
            let mut task = Box::pin(node.submit("volume-1", 1, Bytes::new(), u64::MAX));
            assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            open.push(task);
        };
        submit();
        let counted = measure(|| (0..TASKS).for_each(|_| submit()));
        let bytes = u64::try_from(counted.bytes_current).unwrap() / TASKS;
        println!("{bytes} bytes a task that waits at its owner");
        assert!(bytes < 3072, "{bytes} bytes");
    });
}
