//! What a search may spend, what it saves, and what it must not save.

use std::cell::Cell;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::super::model::{FencedMutex, KeyValue, Mutex, Register, RegisterOp, Semaphore};
use super::super::part::{Need, view};
use super::super::search::{self, search};
use super::super::*;
use super::oracle::{Drawn, atomic, brute, mutate};

/// What the search takes for so many histories, with everything certain as it is, and with every third operation one that may
/// have happened before its return.
fn steps<M: Drawn>() -> (u64, u64) {
    let (mut as_they_are, mut with_ends) = (0, 0);
    for seed in 0..60 {
        let mut rng = ChaCha8Rng::seed_from_u64(2 << 32 | seed);
        let mut ops = atomic::<M>(rng.random_range(3..8), rng.random_range(20..60), &mut rng);
        mutate(&mut ops, &mut rng);
        let mut parts = view(&ops);
        as_they_are += search(&M::MODEL(), &ops, &parts, Budget::default()).steps;
        for part in parts.iter_mut().step_by(3) {
            part.need = Need::May(ops[part.index].ret);
        }
        with_ends += search(&M::MODEL(), &ops, &parts, Budget::default()).steps;
    }
    (as_they_are, with_ends)
}

/// What only saves time changes no answer; so what it saves is counted, to the step.
#[test]
fn the_search_takes_as_many_steps_as_it_did() {
    let steps = [
        steps::<Register>(),
        steps::<KeyValue>(),
        steps::<Mutex>(),
        steps::<FencedMutex>(),
        steps::<Semaphore>(),
    ];
    let known = [(3_817, 3_327), (21_120, 38_357), (7_574, 19_395), (6_501, 35_161), (15_370, 38_109)];
    assert_eq!(steps, known);
}

#[test]
fn what_only_looks_waits_for_what_could_still_come_before_it() {
    use RegisterOp::{Read, Swap, Write};
    let at = |call, ret, op| Operation { call, ret: Some(ret), op };
    // The first swap may have happened, until the very stamp at which the write is called, and only after it. Whoever takes the
    // last read in as soon as it sees 1 rules that out.
    let ops = [
        at(4, 6, Write(1)),
        at(0, 4, Swap(1, 5)),
        at(3, 20, Read(5)),
        at(3, 20, Swap(5, 1)),
        at(5, 20, Read(1)),
    ];
    let mut parts = view(&ops);
    parts[1].need = Need::May(Some(4));
    assert!(brute(&Register, &ops, &parts));
    assert!(matches!(search(&Register, &ops, &parts, Budget::default()).found, search::Found::Order));
}

#[test]
fn as_many_at_once_as_a_word_has_bits_are_told_apart() {
    let mut ops: Vec<_> = (1..=64)
        .map(|n| Operation { call: n, ret: Some(1_000 + n), op: RegisterOp::Write(n as u32) })
        .collect();
    ops.push(Operation { call: 2_000, ret: Some(2_001), op: RegisterOp::Read(64) });
    assert_eq!(decide(&Register, &ops, Budget::default()), Decision::Linearizable);
}

/// A register that counts what is tried on it.
#[derive(Debug, Clone)]
struct Counted<'a>(&'a Cell<u64>);

impl Model for Counted<'_> {
    type Op = RegisterOp;
    type State = u32;

    fn initial(&self) -> u32 {
        Register.initial()
    }

    fn step(&self, value: &u32, op: &RegisterOp) -> Option<u32> {
        self.0.set(self.0.get() + 1);
        Register.step(value, op)
    }
}

#[test]
fn all_tries_to_shrink_a_violation_share_one_budget() {
    // Writes at once in any order, and a value that none of them wrote, read in their midst.
    let mut ops: Vec<_> =
        (0..13).map(|n| Operation { call: 0, ret: Some(100 + n), op: RegisterOp::Write(n as u32) }).collect();
    ops.push(Operation { call: 1, ret: Some(200), op: RegisterOp::Read(99) });
    let tried = |steps: u64| {
        let tried = Cell::new(0);
        let core = witness(&Counted(&tried), &ops, 13, Budget { steps, ..Budget::default() });
        (tried.get(), core.must)
    };
    let (all, alone) = tried(u64::MAX);
    assert_eq!(alone, [13]);
    let (within, must) = tried(30_000);
    assert!(within < 35_000 && all > 100_000, "{within} steps of 30,000, {all} of as many as it takes");
    assert!(must.contains(&13), "{must:?}");
}
