//! What things cost in memory, counted by the allocator.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use allocation_counter::measure;
use queue_lockfree::{HashKind, Member, Membership, NodeId, Ring};

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
