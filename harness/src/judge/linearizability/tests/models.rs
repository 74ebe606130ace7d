//! Each model: a history that it accepts, one that it rejects, and an object that cheats.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::super::model::{
    FencedMutex, FencedMutexOp, KeyValue, KeyValueOp, Mutex, MutexOp, Register, RegisterOp, Semaphore, Text,
};
use super::super::*;
use super::oracle::{Drawn, atomic, lock_op};

/// Operations one after the other, but for those that begin with the one before them.
fn table<O: Clone>(ops: &[(u64, u64, O)]) -> Vec<Operation<O>> {
    ops.iter().map(|(call, ret, op)| Operation { call: *call, ret: Some(*ret), op: op.clone() }).collect()
}

fn holds<M: Model>(model: &M, ops: &[(u64, u64, M::Op)]) -> bool {
    decide(model, &table(ops), Budget::default()) == Decision::Linearizable
}

#[test]
fn a_register_accepts_a_write_seen_during_it_and_rejects_one_seen_and_gone_again() {
    use RegisterOp::{NoSwap, Read, Swap, Write};
    assert!(holds(&Register, &[(0, 9, Write(1)), (1, 2, Read(0)), (3, 4, Read(1)), (10, 11, Swap(1, 2))]));
    assert!(!holds(&Register, &[(0, 9, Write(1)), (1, 2, Read(1)), (3, 4, Read(0))]));
    assert!(!holds(&Register, &[(0, 1, Write(1)), (2, 3, NoSwap(1))]));
}

#[test]
fn a_key_accepts_appends_in_either_order_and_rejects_both_orders_at_once() {
    let (get, append) = (|text| KeyValueOp::Get(Text::new(text)), |text| KeyValueOp::Append(Text::new(text)));
    let (a, b) = ((0, 5, append("a")), (0, 5, append("b")));
    let model = KeyValue::default();
    assert!(holds(&model, &[a.clone(), b.clone(), (6, 7, get("ba")), (8, 9, get("ba"))]));
    assert!(!holds(&model, &[a.clone(), b, (6, 7, get("ba")), (8, 9, get("ab"))]));
    let put = (6, 7, KeyValueOp::Put(Text::new("c")));
    assert!(holds(&model, &[a.clone(), put.clone(), (8, 9, get("c"))]));
    assert!(!holds(&model, &[a, put, (8, 9, get("ac"))]));
}

#[test]
fn a_mutex_accepts_a_hand_over_and_rejects_a_second_holder_and_a_stranger_s_release() {
    use MutexOp::{Acquire, NotHeldAfter, Release};
    assert!(holds(&Mutex, &[(0, 1, Acquire(1)), (0, 5, Acquire(2)), (2, 6, Release(1))]));
    assert!(!holds(&Mutex, &[(0, 1, Acquire(1)), (2, 3, Acquire(2)), (4, 5, Release(1))]));
    assert!(!holds(&Mutex, &[(0, 1, Acquire(1)), (2, 3, Release(2))]));
    assert!(holds(&Mutex, &[(0, 1, Acquire(1)), (2, 3, NotHeldAfter(2)), (4, 5, Release(1))]));
    assert!(holds(&Mutex, &[(0, 1, Acquire(1)), (2, 5, NotHeldAfter(1)), (3, 4, Acquire(2))]));
}

#[test]
fn a_fenced_mutex_accepts_rising_fences_and_rejects_one_that_does_not_rise() {
    let grant = |process, fence| FencedMutexOp { op: MutexOp::Acquire(process), fence };
    let release = |process| FencedMutexOp { op: MutexOp::Release(process), fence: None };
    let history = |first, second| [(0, 1, grant(1, first)), (2, 3, release(1)), (4, 5, grant(2, second))];
    assert!(holds(&FencedMutex, &history(Some(3), Some(4))));
    assert!(holds(&FencedMutex, &history(Some(3), None)));
    assert!(!holds(&FencedMutex, &history(Some(3), Some(3))));
    assert!(!holds(&FencedMutex, &[(0, 1, grant(1, Some(1))), (2, 3, grant(2, Some(2)))]));
}

#[test]
fn a_semaphore_accepts_as_many_as_it_has_permits_and_rejects_one_more() {
    use MutexOp::{Acquire, NotHeldAfter, Release};
    let (a, b, c) = ((0, 1, Acquire(1)), (2, 3, Acquire(2)), (4, 5, Acquire(3)));
    assert!(holds(&Semaphore(3), &[a, b, c]));
    assert!(!holds(&Semaphore(2), &[a, b, c]));
    assert!(holds(&Semaphore(2), &[a, b, (4, 9, Acquire(3)), (6, 7, Release(1))]));
    assert!(!holds(&Semaphore(2), &[a, b, (4, 5, Release(3))]));
    assert!(holds(&Semaphore(2), &[a, b, (4, 5, NotHeldAfter(1)), (6, 7, Acquire(3))]));
}

/// Reads of the replica that lags by one write.
#[derive(Debug, Clone)]
struct LaggingRegister;

impl Model for LaggingRegister {
    type Op = RegisterOp;
    type State = (u32, u32);

    fn initial(&self) -> (u32, u32) {
        (0, 0)
    }

    fn step(&self, (now, before): &(u32, u32), op: &RegisterOp) -> Option<(u32, u32)> {
        Some(match op {
            RegisterOp::Write(value) => (*value, *now),
            _ => (*now, *before),
        })
    }
}

impl Drawn for LaggingRegister {
    const MODEL: fn() -> Self = || Self;
    fn draw((now, before): &(u32, u32), _: u32, rng: &mut ChaCha8Rng) -> Option<RegisterOp> {
        Some(match rng.random_range(0..6) {
            0 => RegisterOp::Read(*before),
            1 | 2 => RegisterOp::Write(rng.random_range(1..5)),
            _ => RegisterOp::Read(*now),
        })
    }
}

/// Append is a read and a write: every fifth one is overwritten.
#[derive(Debug, Clone)]
struct LossyStore;

impl Model for LossyStore {
    type Op = KeyValueOp;
    type State = (String, u32);

    fn initial(&self) -> (String, u32) {
        (String::new(), 0)
    }

    fn step(&self, (text, count): &(String, u32), op: &KeyValueOp) -> Option<(String, u32)> {
        Some(match op {
            KeyValueOp::Append(_) if count % 5 == 4 => (text.clone(), count + 1),
            KeyValueOp::Append(_) => (format!("{text}x"), count + 1),
            _ => (text.clone(), *count),
        })
    }
}

impl Drawn for LossyStore {
    const MODEL: fn() -> Self = || Self;
    fn draw((text, _): &(String, u32), _: u32, rng: &mut ChaCha8Rng) -> Option<KeyValueOp> {
        let append = rng.random_bool(0.5);
        Some(if append { KeyValueOp::Append(Text::new("x")) } else { KeyValueOp::Get(Text::new(text)) })
    }
}

/// A lock that looks and takes in two steps: every third grant goes to one who looked before it was taken.
#[derive(Debug, Clone)]
struct HastyLock {
    permits: usize,
}

impl Model for HastyLock {
    type Op = MutexOp;
    type State = (Vec<u32>, u32);

    fn initial(&self) -> Self::State {
        (Vec::new(), 0)
    }

    fn step(&self, (holders, grants): &Self::State, op: &MutexOp) -> Option<Self::State> {
        let mut holders = holders.clone();
        match op {
            MutexOp::Acquire(client) => holders.push(*client),
            MutexOp::Release(client) | MutexOp::NotHeldAfter(client) => {
                holders.retain(|holder| holder != client)
            }
        }
        Some((holders, grants + u32::from(matches!(op, MutexOp::Acquire(_)))))
    }
}

impl HastyLock {
    fn draw(&self, (holders, grants): &(Vec<u32>, u32), client: u32) -> Option<MutexOp> {
        let free = holders.len() < self.permits || holders.len() == self.permits && grants % 3 == 2;
        lock_op(holders.contains(&client), free, client)
    }
}

impl Drawn for HastyLock {
    const MODEL: fn() -> Self = || Self { permits: 1 };
    fn draw(state: &Self::State, client: u32, _: &mut ChaCha8Rng) -> Option<MutexOp> {
        Self { permits: 1 }.draw(state, client)
    }
}

/// The same with two permits.
#[derive(Debug, Clone)]
struct HastySemaphore;

impl Model for HastySemaphore {
    type Op = MutexOp;
    type State = (Vec<u32>, u32);

    fn initial(&self) -> Self::State {
        HastyLock { permits: 2 }.initial()
    }

    fn step(&self, state: &Self::State, op: &MutexOp) -> Option<Self::State> {
        HastyLock { permits: 2 }.step(state, op)
    }
}

impl Drawn for HastySemaphore {
    const MODEL: fn() -> Self = || Self;
    fn draw(state: &Self::State, client: u32, rng: &mut ChaCha8Rng) -> Option<MutexOp> {
        // Holders linger, so that it is often full.
        let lingers = state.0.contains(&client) && rng.random_bool(0.6);
        HastyLock { permits: 2 }.draw(state, client).filter(|_| !lingers)
    }
}

/// Excludes well, but takes its fences from a clock that is set back.
#[derive(Debug, Clone)]
struct ClockFences;

impl Model for ClockFences {
    type Op = FencedMutexOp;
    type State = (Option<u32>, u32);

    fn initial(&self) -> Self::State {
        (None, 0)
    }

    fn step(&self, (holder, grants): &Self::State, op: &FencedMutexOp) -> Option<Self::State> {
        let holder = Mutex.step(holder, &op.op)?;
        Some((holder, grants + u32::from(matches!(op.op, MutexOp::Acquire(_)))))
    }
}

impl Drawn for ClockFences {
    const MODEL: fn() -> Self = || Self;
    fn draw((holder, grants): &Self::State, client: u32, _: &mut ChaCha8Rng) -> Option<FencedMutexOp> {
        let op = lock_op(*holder == Some(client), holder.is_none(), client)?;
        let now = if *grants < 4 { 1_000 + grants } else { 500 + grants };
        let fence = matches!(op, MutexOp::Acquire(_)).then_some(u128::from(now));
        Some(FencedMutexOp { op, fence })
    }
}

/// Of a hundred histories of the cheat, how many the honest model sees through.
fn caught<C: Drawn, M: Model<Op = C::Op>>(honest: &M) -> usize {
    let caught = |seed: &u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(*seed);
        let ops = atomic::<C>(6, 80, &mut rng);
        matches!(decide(honest, &ops, Budget::default()), Decision::Violated { .. })
    };
    (0..100).filter(caught).count()
}

#[test]
fn each_model_catches_its_cheat_in_four_of_ten_histories() {
    let caught = [
        caught::<LaggingRegister, _>(&Register),
        caught::<LossyStore, _>(&KeyValue::default()),
        caught::<HastyLock, _>(&Mutex),
        caught::<ClockFences, _>(&FencedMutex),
        caught::<HastySemaphore, _>(&Semaphore(2)),
    ];
    assert!(caught.iter().all(|caught| *caught > 40), "of 100: {caught:?}");
}
