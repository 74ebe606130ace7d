//! Random histories, judged by the search, by trying every order, and by porcupine-rs.

use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::super::model::{
    FencedMutex, FencedMutexOp, KeyValue, KeyValueOp, Mutex, MutexOp, Register, RegisterOp, Semaphore, Text,
};
use super::super::part::{Need, Part, view};
use super::super::search::search;
use super::super::*;

/// A model with operations to draw: what a client could do and be told in a state. `None`: it has to wait.
pub(super) trait Drawn:
    Model<Op: Debug + Send + Sync, State: Debug + Send + Sync> + Send + Sync
{
    const MODEL: fn() -> Self;
    fn draw(state: &Self::State, client: u32, rng: &mut ChaCha8Rng) -> Option<Self::Op>;
}

impl Drawn for Register {
    const MODEL: fn() -> Self = || Self;
    fn draw(state: &u32, _: u32, rng: &mut ChaCha8Rng) -> Option<RegisterOp> {
        let (from, to) = (rng.random_range(0..4), rng.random_range(1..4));
        Some(match rng.random_range(0..3) {
            0 => RegisterOp::Read(*state),
            1 => RegisterOp::Write(to),
            _ if from == *state => RegisterOp::Swap(from, to),
            _ => RegisterOp::NoSwap(from),
        })
    }
}

impl Drawn for KeyValue {
    const MODEL: fn() -> Self = Self::default;
    fn draw(state: &Self::State, _: u32, rng: &mut ChaCha8Rng) -> Option<KeyValueOp> {
        let piece = Text::new(["a", "b", "ab"][rng.random_range(0..3)]);
        // Every text that such pieces make; a state does not tell its own.
        let texts = (0..1_u32 << 13).map(|bits| {
            let letters = (0..12 - bits.leading_zeros().saturating_sub(19).min(12)).map(|n| bits >> n & 1);
            letters.map(|bit| if bit == 1 { 'b' } else { 'a' }).collect::<String>()
        });
        Some(match rng.random_range(0..6) {
            0 => KeyValueOp::Put(piece),
            1 | 2 => KeyValueOp::Append(piece),
            _ => {
                let mut gets = texts.map(|text| KeyValueOp::Get(Text::new(&text)));
                return gets.find(|get| Self::default().step(state, get).is_some());
            }
        })
    }
}

pub(super) fn lock_op(holds: bool, free: bool, client: u32) -> Option<MutexOp> {
    match (holds, free) {
        (true, _) => Some(MutexOp::Release(client)),
        (false, true) => Some(MutexOp::Acquire(client)),
        (false, false) => None,
    }
}

impl Drawn for Mutex {
    const MODEL: fn() -> Self = || Self;
    fn draw(state: &Option<u32>, client: u32, rng: &mut ChaCha8Rng) -> Option<MutexOp> {
        if rng.random_bool(0.1) {
            return Some(MutexOp::NotHeldAfter(client));
        }
        lock_op(*state == Some(client), state.is_none(), client)
    }
}

impl Drawn for FencedMutex {
    const MODEL: fn() -> Self = || Self;
    fn draw((holder, highest): &Self::State, client: u32, rng: &mut ChaCha8Rng) -> Option<FencedMutexOp> {
        let op = match rng.random_bool(0.1) {
            true => MutexOp::NotHeldAfter(client),
            false => lock_op(*holder == Some(client), holder.is_none(), client)?,
        };
        let next = highest.unwrap_or(0) + rng.random_range(1..3);
        let known = matches!(op, MutexOp::Acquire(_)) && rng.random_bool(0.9);
        Some(FencedMutexOp { op, fence: known.then_some(next) })
    }
}

impl Drawn for Semaphore {
    const MODEL: fn() -> Self = || Self(2);
    fn draw(state: &Vec<u32>, client: u32, rng: &mut ChaCha8Rng) -> Option<MutexOp> {
        if rng.random_bool(0.1) {
            return Some(MutexOp::NotHeldAfter(client));
        }
        let holds = state.contains(&client) && rng.random_bool(0.7);
        lock_op(holds, state.len() < 2, client)
    }
}

/// What clients of an atomic object see: each operation takes effect at one moment between call and return. Some
/// outcomes stay unknown, whether the operation took effect or not.
pub(super) fn atomic<M: Drawn>(clients: u32, length: usize, rng: &mut ChaCha8Rng) -> Vec<Operation<M::Op>> {
    let model = M::MODEL();
    let mut state = model.initial();
    // Per client: when it called, and its operation once that took effect.
    let mut open: Vec<Option<(u64, Option<M::Op>)>> = vec![None; clients as usize];
    let mut ops = Vec::new();
    for at in 0..40 * length as u64 {
        if ops.len() >= length {
            break;
        }
        let client = rng.random_range(0..clients);
        let unknown = rng.random_bool(0.1);
        let slot = &mut open[client as usize];
        match slot.take() {
            None => *slot = Some((at, None)),
            Some((call, None)) => {
                let drawn = M::draw(&state, client, rng);
                let after = drawn.as_ref().and_then(|op| model.step(&state, op));
                if let (Some(after), false) = (after, unknown && rng.random_bool(0.5)) {
                    state = after;
                    *slot = Some((call, drawn));
                } else if let (Some(op), true) = (drawn, unknown) {
                    // Lost on its way.
                    ops.push(Operation { call, ret: None, op });
                } else {
                    *slot = Some((call, None));
                }
            }
            Some((call, Some(op))) => ops.push(Operation { call, ret: (!unknown).then_some(at), op }),
        }
    }
    for (call, op) in open.into_iter().flatten() {
        ops.extend(op.map(|op| Operation { call, ret: None, op }));
    }
    ops
}

/// Makes a history that may be wrong, or may not.
pub(super) fn mutate<O: Clone>(ops: &mut Vec<Operation<O>>, rng: &mut ChaCha8Rng) {
    if ops.len() < 2 {
        return;
    }
    for _ in 0..rng.random_range(1..3) {
        let (a, b) = (rng.random_range(0..ops.len()), rng.random_range(0..ops.len()));
        match rng.random_range(0..4) {
            0 => {
                let op = ops[a].op.clone();
                ops[a].op = std::mem::replace(&mut ops[b].op, op);
            }
            1 => ops[a].op = ops[b].op.clone(),
            2 => ops[a].ret = ops[a].ret.map(|ret| ops[a].call + (ret - ops[a].call) / 2),
            _ if ops.len() > 2 => {
                ops.remove(a);
            }
            _ => {}
        }
    }
}

/// Tries every order.
pub(super) fn brute<M: Model>(model: &M, ops: &[Operation<M::Op>], parts: &[Part]) -> bool {
    fn ret(part: &Part) -> u64 {
        match part.need {
            Need::Must(ret) | Need::May(Some(ret)) => ret,
            Need::May(None) => u64::MAX,
        }
    }
    fn go<M: Model>(
        model: &M,
        ops: &[Operation<M::Op>],
        parts: &[Part],
        done: &mut Vec<usize>,
        state: &M::State,
    ) -> bool {
        let open = |place: &usize| !done.contains(place);
        let left: Vec<_> = (0..parts.len()).filter(open).collect();
        let must = |place: &usize| matches!(parts[*place].need, Need::Must(_));
        if !left.iter().any(must) {
            return true;
        }
        for next in left.iter().copied() {
            let call = ops[parts[next].index].call;
            let too_early = left.iter().any(|other| must(other) && ret(&parts[*other]) < call);
            let too_late = done.iter().any(|other| ret(&parts[next]) < ops[parts[*other].index].call);
            if too_early || too_late {
                continue;
            }
            let Some(after) = model.step(state, &ops[parts[next].index].op) else { continue };
            done.push(next);
            let found = go(model, ops, parts, done, &after);
            done.pop();
            if found {
                return true;
            }
        }
        false
    }
    go(model, ops, parts, &mut Vec::new(), &model.initial())
}

#[derive(Debug)]
struct Porcupine<M>(PhantomData<M>);

impl<M> Clone for Porcupine<M> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<M: Drawn + 'static> porcupine_rs::Model for Porcupine<M>
where
    M::State: Hash + Eq,
{
    type State = M::State;
    /// The operation, and whether it happened for certain.
    type Op = (M::Op, bool);
    type Metadata = ();

    fn init() -> M::State {
        M::MODEL().initial()
    }

    fn step(state: &M::State, (op, certain): &Self::Op) -> (bool, M::State) {
        match M::MODEL().step(state, op) {
            Some(after) => (true, after),
            // One that never happened comes last, where it changes nothing.
            None => (!certain, state.clone()),
        }
    }
}

fn porcupine<M: Drawn + 'static>(ops: &[Operation<M::Op>]) -> bool {
    let ops: Vec<_> = ops
        .iter()
        .map(|op| porcupine_rs::Operation::<Porcupine<M>> {
            client_id: None,
            call_time: op.call as i64,
            return_time: op.ret.map_or(i64::MAX, |ret| ret as i64),
            op: (op.op.clone(), op.ret.is_some()),
            metadata: None,
        })
        .collect();
    porcupine_rs::check_operations(&ops)
}

fn holds<M: Model>(model: &M, ops: &[Operation<M::Op>]) -> bool {
    match decide(model, ops, Budget::default()) {
        Decision::Linearizable => true,
        Decision::Violated { .. } => false,
        Decision::Unknown { reason } => panic!("{reason}"),
    }
}

/// Small histories against every order; the witness of each violation is proof, and none of it can be spared.
fn agrees_with_every_order<M: Drawn>(name: &str) {
    let model = M::MODEL();
    let (mut held, mut violated) = (0, 0);
    for seed in 0..1_500 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut ops = atomic::<M>(rng.random_range(2..4), rng.random_range(2..6), &mut rng);
        // By a coarser clock more of them overlap, and some are called at the very stamp at which others return.
        let tick = 1 + seed % 3;
        for op in &mut ops {
            (op.call, op.ret) = (op.call / tick, op.ret.map(|ret| ret / tick));
        }
        assert!(holds(&model, &ops), "{name}, seed {seed}: {ops:?}");
        mutate(&mut ops, &mut rng);
        let expected = brute(&model, &ops, &view(&ops));
        assert_eq!(holds(&model, &ops), expected, "{name}, seed {seed}: {ops:?}");
        held += u32::from(expected);
        let Decision::Violated { stuck } = decide(&model, &ops, Budget::default()) else { continue };
        violated += 1;
        let core = witness(&model, &ops, stuck, Budget::default());
        let without = |spared: Option<usize>| -> Vec<Part> {
            let must = |index: usize| core.must.contains(&index) && Some(index) != spared;
            let need = |index: usize, ret: Option<u64>| match ret {
                Some(ret) if must(index) => Need::Must(ret),
                ret => Need::May(ret),
            };
            ops.iter().enumerate().map(|(index, op)| Part { index, need: need(index, op.ret) }).collect()
        };
        assert!(!brute(&model, &ops, &without(None)), "{name}, seed {seed}: {core:?} of {ops:?}");
        for spared in &core.must {
            assert!(brute(&model, &ops, &without(Some(*spared))), "{name}, seed {seed}: {core:?} of {ops:?}");
        }
    }
    assert!(held > 100 && violated > 100, "{name}: {held} held and {violated} violated are no test");
}

/// Longer histories against the other implementation.
fn agrees_with_porcupine<M: Drawn + 'static>(name: &str) {
    let model = M::MODEL();
    let (mut held, mut violated) = (0, 0);
    for seed in 0..150 {
        let mut rng = ChaCha8Rng::seed_from_u64(1 << 32 | seed);
        let mut ops = atomic::<M>(rng.random_range(2..7), rng.random_range(5..30), &mut rng);
        assert!(holds(&model, &ops), "{name}, seed {seed}: {ops:?}");
        mutate(&mut ops, &mut rng);
        let expected = porcupine::<M>(&ops);
        assert_eq!(holds(&model, &ops), expected, "{name}, seed {seed}: {ops:?}");
        held += u32::from(expected);
        violated += u32::from(!expected);
    }
    assert!(held > 20 && violated > 20, "{name}: {held} held and {violated} violated are no test");
}

#[test]
fn small_histories_are_decided_as_by_trying_every_order() {
    agrees_with_every_order::<Register>("register");
    agrees_with_every_order::<KeyValue>("kv");
    agrees_with_every_order::<Mutex>("mutex");
    agrees_with_every_order::<FencedMutex>("fenced-mutex");
    agrees_with_every_order::<Semaphore>("semaphore");
}

#[test]
fn longer_histories_are_decided_as_by_porcupine() {
    agrees_with_porcupine::<Register>("register");
    agrees_with_porcupine::<KeyValue>("kv");
    agrees_with_porcupine::<Mutex>("mutex");
    agrees_with_porcupine::<FencedMutex>("fenced-mutex");
    agrees_with_porcupine::<Semaphore>("semaphore");
}

#[test]
fn a_search_that_finds_no_end_says_so_within_its_budget() {
    // Forty writes at once whose outcome is unknown, and a value that nobody wrote, read in their midst.
    let mut ops: Vec<_> = (0..40)
        .map(|n| Operation { call: 0, ret: Some(100 + n), op: RegisterOp::Swap(n as u32 % 7, n as u32 % 5) })
        .collect();
    ops.push(Operation { call: 1, ret: Some(200), op: RegisterOp::Read(99) });
    for budget in
        [Budget { steps: 1_000, ..Budget::default() }, Budget { bytes: 10_000, ..Budget::default() }]
    {
        let searched = search(&Register, &ops, &view(&ops), budget);
        assert!(searched.steps < 20_000, "{}", searched.steps);
        assert!(searched.steps > budget.steps || budget.bytes == 10_000, "{} were few", searched.steps);
        assert!(matches!(decide(&Register, &ops, budget), Decision::Unknown { .. }));
    }
}

#[test]
fn many_unknown_outcomes_and_many_clients_stay_cheap() {
    // 500 writes without an answer, each of its own value, some of which turn up in reads.
    let mut ops: Vec<_> = (0..500)
        .map(|n| Operation { call: 10 * n, ret: None, op: RegisterOp::Write(n as u32 + 1) })
        .collect();
    ops.extend((0..100).map(|n| {
        let at = 50 * n + 15;
        Operation { call: at, ret: Some(at + 20), op: RegisterOp::Read(5 * n as u32 + 1) }
    }));
    let searched = search(&Register, &ops, &view(&ops), Budget::default());
    assert!(matches!(searched.found, search::Found::Order) && searched.steps < 1_000_000, "{searched:?}");
    ops.push(Operation { call: 4_980, ret: Some(4_990), op: RegisterOp::Read(1) });
    let searched = search(&Register, &ops, &view(&ops), Budget::default());
    assert!(
        matches!(searched.found, search::Found::Stuck { .. }) && searched.steps < 20_000_000,
        "{:?} {}",
        searched.found,
        searched.steps
    );

    // Fifty clients on one lock, most of them waiting, one operation in six without an answer.
    let ops = atomic::<Mutex>(50, 400, &mut ChaCha8Rng::seed_from_u64(7));
    let searched = search(&Mutex, &ops, &view(&ops), Budget::default());
    assert!(matches!(searched.found, search::Found::Order) && searched.steps < 1_000_000, "{searched:?}");
}

#[test]
fn a_witness_names_what_may_have_let_answers_through_on_the_way() {
    use RegisterOp::{Read, Write};
    let at = |call, ret, op| Operation { call, ret: Some(ret), op };
    // The third write explains the first read, whenever it happened; the others were over before.
    let ops = [
        at(0, 1, Write(9)),
        at(2, 3, Write(0)),
        at(10, 30, Write(5)),
        at(11, 12, Read(5)),
        at(13, 14, Read(0)),
    ];
    let Decision::Violated { stuck } = decide(&Register, &ops, Budget::default()) else {
        panic!("not caught")
    };
    let core = witness(&Register, &ops, stuck, Budget::default());
    assert_eq!((core.must, core.may), (vec![3, 4], vec![2]));
    // Also where nothing can be spared.
    let mut all_needed = ops[2..].to_vec();
    all_needed[0].ret = None;
    let core = witness(&Register, &all_needed, 2, Budget::default());
    assert_eq!((core.must, core.may), (vec![1, 2], vec![0]));
}
