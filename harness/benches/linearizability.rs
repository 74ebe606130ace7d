//! Decides a set of register histories with ours and with porcupine-rs, side by side.
//!
//! `cargo bench -p harness --bench linearizability`; `LOCKBENCH_HISTORIES=FOLDER` for another folder of `*.log` files.
//! Both begin with histories in memory, ours before it gives operations their meaning, porcupine-rs after.

#![allow(clippy::unwrap_used, reason = "a bench that cannot read its data has nothing to measure")]

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{Criterion, criterion_group, criterion_main};
use harness::judge::linearizability::{
    Answer, Budget, End, FailedRelease, Format, History, ModelKind, Value, Verb, judge, read,
};
use porcupine_rs::{Model, Operation};

#[derive(Debug, Clone)]
struct Register;

#[derive(Debug, Clone)]
enum Op {
    Read(i64),
    Write(i64),
    Cas { from: i64, to: i64, end: End },
}

impl Model for Register {
    type State = i64;
    type Op = Op;
    type Metadata = ();

    fn init() -> i64 {
        -1
    }

    fn step(state: &i64, op: &Op) -> (bool, i64) {
        match op {
            Op::Read(value) => (value == state, *state),
            Op::Write(value) => (true, *value),
            Op::Cas { from, to, end } => {
                let swaps = from == state;
                let answered = match end {
                    End::Ok => swaps,
                    End::Fail | End::Error => !swaps,
                    End::Unknown => true,
                };
                (answered, if swaps { *to } else { *state })
            }
        }
    }
}

fn number(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        _ => -1,
    }
}

fn operations(history: &History) -> Vec<Operation<Register>> {
    let of = |call: &harness::judge::linearizability::Call| {
        let end = call.ret.as_ref().map_or(End::Unknown, |ret| ret.end);
        let op = match (call.verb, &call.value) {
            (Verb::Read, _) if end == End::Ok => Op::Read(number(&call.ret.as_ref()?.value)),
            (Verb::Write, value) => Op::Write(number(value)),
            (Verb::Cas, Value::Pair(pair)) => Op::Cas { from: number(&pair.0), to: number(&pair.1), end },
            _ => return None,
        };
        let ret = call.ret.as_ref().filter(|_| end != End::Unknown).map(|ret| ret.at as i64);
        let (call_time, return_time) = (call.at as i64, ret.unwrap_or(i64::MAX));
        Some(Operation { client_id: None, call_time, return_time, op, metadata: None })
    };
    history.calls.iter().filter_map(of).collect()
}

fn histories() -> Vec<History> {
    let folder = std::env::var_os("LOCKBENCH_HISTORIES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/histories/etcd-register")),
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: {} is not there", folder.display());
        return Vec::new();
    };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "log"));
    files.sort();
    let read = |file| read::clients(&std::fs::read(file).unwrap(), Format::JepsenLog).unwrap();
    files.iter().map(read).filter(|history| !history.calls.is_empty()).collect()
}

fn bench(criterion: &mut Criterion) {
    let histories = histories();
    let operations: Vec<_> = histories.iter().map(operations).collect();
    let ours = |history: &History| {
        let judged = judge(history, ModelKind::Register, FailedRelease::Held, Budget::default()).unwrap();
        judged.answer == Answer::Holds
    };
    for (history, operations) in histories.iter().zip(&operations) {
        assert_eq!(ours(history), porcupine_rs::check_operations(operations));
    }
    let mut group = criterion.benchmark_group(format!("{} register histories", histories.len()));
    group.sample_size(10);
    group.bench_function("ours", |bencher| {
        bencher.iter(|| histories.iter().filter(|history| ours(black_box(history))).count());
    });
    group.bench_function("porcupine-rs", |bencher| {
        bencher.iter(|| {
            let holds = |ops: &&Vec<_>| porcupine_rs::check_operations(black_box(ops));
            operations.iter().filter(holds).count()
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
