//! The ring: looking up an owner, and changing the view under readers.
//!
//! Aims: a look-up ≤ 100 ns at up to 1,000 nodes; a view of 1,000 nodes × 500 points in ≤ 50 ms.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use queue_lockfree::{HashKind, Member, Membership, NodeId, Ring, zstack_node_id};

const HASHES: [(&str, HashKind); 2] = [("mixed", HashKind::Mixed), ("zstack-compat", HashKind::ZstackCompat)];

fn members(count: u16) -> Vec<Member> {
    let member = |id: u16| Member {
        id: NodeId(id),
        name: zstack_node_id(&format!("10.0.{}.{}", id / 250, id % 250 + 1)),
        address: ([127, 0, 0, 1], id).into(),
    };
    (0..count).map(member).collect()
}

/// Resource uuids as the original has them, 32 hex digits, one after the other: more than any cache of points holds.
fn keys() -> Keys {
    let uuid = |n: u128| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Keys { text: (0..65_536).map(|n| format!("{:032x}", uuid(n))).collect(), next: 0 }
}

struct Keys {
    text: String,
    next: usize,
}

impl Keys {
    fn next(&mut self) -> &str {
        let start = self.next;
        self.next = (start + 32) % self.text.len();
        black_box(&self.text[start..start + 32])
    }
}

fn lookup(c: &mut Criterion) {
    let mut keys = keys();
    for (name, hash) in HASHES {
        let mut group = c.benchmark_group(format!("ring/owner/{name}"));
        group.throughput(Throughput::Elements(1));
        for nodes in [3, 100, 1000] {
            let membership = Membership::new();
            membership.install(Ring::new(1, hash, members(nodes)));
            group.bench_function(nodes.to_string(), |b| {
                b.iter(|| membership.view().owner(keys.next()));
            });
        }
        group.finish();
    }
}

fn view_change(c: &mut Criterion) {
    for (name, hash) in HASHES {
        let members = members(1000);
        c.bench_function(&format!("ring/view-change/{name}/1000"), |b| {
            let membership = Membership::new();
            let mut epoch = 0;
            b.iter(|| {
                epoch += 1;
                membership.install(Ring::new(epoch, hash, members.iter().cloned()))
            });
        });
    }
}

/// A look-up while another thread changes the view without pause: readers are not blocked.
fn lookup_during_changes(c: &mut Criterion) {
    let (membership, mut keys) = (Membership::new(), keys());
    membership.install(Ring::new(1, HashKind::Mixed, members(1000)));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for epoch in 2.. {
                membership.install(Ring::new(epoch, HashKind::Mixed, members(1000)));
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        c.bench_function("ring/owner-during-view-changes/mixed/1000", |b| {
            b.iter(|| membership.view().owner(keys.next()));
        });
        stop.store(true, Ordering::Relaxed);
    });
}

criterion_group!(benches, lookup, view_change, lookup_during_changes);
criterion_main!(benches);
