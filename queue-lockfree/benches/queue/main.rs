//! The work queues beside other ways to keep tasks of one key apart.
//!
//! One definition of a task for all: a future that suspends once (its thread goes away while it waits, as for the reply
//! of an agent), then adds to a sum; it is made by a submitter, which sees it end. Nobody else of its key is inside
//! meanwhile. Keys are made on demand. There are 1,024 tasks in flight at any time, submitted in one of two ways:
//!
//! * `pipelined`: 8 submitters keep 128 tasks each in flight, and look at the oldest;
//! * `awaiting`: 1,024 submitters await each task before the next.
//!
//! In the groups `idle` there is one submitter and nothing else to do: it awaits a task that suspends nowhere, on a key of
//! its own, beside a bare `tokio::spawn`.
//!
//! What each offers besides:
//!
//! | | task runs in | panic contained | taken back when dropped | levels, deadlines, tokens | ages |
//! | --- | --- | --- | --- | --- | --- |
//! | `mutex`, `pipelined` | a task of its own | yes | no | no | no |
//! | `mutex`, `awaiting` | its submitter | no | yes | no | no |
//! | `actor`, `deques` | the key's task | no: it wedges its key | no | no | no |
//! | `queues`, `lean` | a worker | yes | yes | yes | `queues` |
//! | `inline`, `inline-lean` | its submitter | no | yes | yes | `inline` |
//!
//! Measured is the CPU time of the process, since a neighbour on the machine takes from the wall clock; the groups whose
//! name begins with `wall` have that. `LOCKBENCH_SUSPENSIONS=0` has the tasks end at their first poll.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

mod contenders;
#[path = "../common/cpu.rs"]
mod cpu;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use criterion::measurement::Measurement;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use contenders::{Actors, Contender, Deques, Inline, Mutexes, Queues, Spawned};
use cpu::CpuTime;

const KEYS: [usize; 4] = [1, 100, 10_000, 1_000_000];
const IN_FLIGHT: usize = 1024;
/// Tasks of one iteration; one submitter's part of them comes before the next look at the clock.
const TASKS: usize = 131_072;

/// Suspends so often, then adds one.
async fn task(suspensions: u32, sum: Arc<AtomicU64>) -> u64 {
    for _ in 0..suspensions {
        let mut suspended = false;
        std::future::poll_fn(|context| {
            if suspended {
                return Poll::Ready(());
            }
            suspended = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
    sum.fetch_add(1, Ordering::Relaxed)
}

/// Has `submitters` submit `TASKS` tasks, keeping `window` in flight each.
async fn drive<C: Contender>(contender: C, keys: Arc<Vec<String>>, submitters: usize, suspensions: u32) {
    let window = IN_FLIGHT / submitters;
    let mut running = JoinSet::new();
    for submitter in 0..submitters {
        let (contender, keys) = (contender.clone(), Arc::clone(&keys));
        running.spawn(async move {
            let sum = Arc::new(AtomicU64::new(0));
            let mut in_flight = VecDeque::with_capacity(window);
            for number in 0..TASKS / submitters {
                if in_flight.len() == window {
                    let oldest = in_flight.pop_front().expect("the window is not empty");
                    C::finished(oldest).await;
                }
                // Every key in turn, none near the one before.
                let key = &keys[(number * submitters + submitter).wrapping_mul(0x9e37_79b1) % keys.len()];
                in_flight.push_back(contender.submit(key, task(suspensions, Arc::clone(&sum))));
            }
            for open in in_flight {
                C::finished(open).await;
            }
            assert_eq!(sum.load(Ordering::Relaxed) as usize, TASKS / submitters, "each task ran once");
        });
    }
    while let Some(joined) = running.join_next().await {
        joined.expect("a submitter does not panic");
    }
}

fn contender<C: Contender, M: Measurement>(
    c: &mut Criterion<M>,
    name: &str,
    submitters: usize,
    suspensions: u32,
) {
    let runtime = Runtime::new().expect("a runtime starts");
    let shape = if submitters == IN_FLIGHT { "awaiting" } else { "pipelined" };
    let mut group = c.benchmark_group(format!("{}/queue/{shape}/suspending-{suspensions}", clock::<M>()));
    group.throughput(Throughput::Elements(TASKS as u64)).sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    for count in KEYS {
        if !std::env::var("LOCKBENCH_KEYS")
            .map_or(true, |keys| keys.split(",").any(|k| k == count.to_string()))
        {
            continue;
        }
        let keys: Arc<Vec<String>> = Arc::new((0..count).map(|key| format!("volume-{key}")).collect());
        group.bench_function(format!("{count}/{name}"), |b| {
            b.iter(|| {
                let _context = runtime.enter();
                let contender = C::start(&runtime);
                runtime.block_on(drive(contender.clone(), Arc::clone(&keys), submitters, suspensions));
                contender.stop();
            });
        });
    }
    group.finish();
}

/// One task at a time, with nothing else to do.
fn idle<C: Contender, M: Measurement>(c: &mut Criterion<M>, name: &str) {
    let runtime = Runtime::new().expect("a runtime starts");
    let _context = runtime.enter();
    let contender = C::start(&runtime);
    let mut group = c.benchmark_group(format!("{}/queue/idle", clock::<M>()));
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1)).sample_size(20);
    group.throughput(Throughput::Elements(1000));
    group.bench_function(name, |b| {
        b.iter(|| {
            let contender = contender.clone();
            let one_by_one = async move {
                let sum = Arc::new(AtomicU64::new(0));
                for _ in 0..1000 {
                    C::finished(contender.submit("volume-1", task(0, Arc::clone(&sum)))).await;
                }
            };
            runtime.block_on(runtime.spawn(one_by_one)).expect("it does not panic");
        });
    });
    contender.stop();
    group.finish();
}

fn clock<M: Measurement>() -> &'static str {
    if std::any::type_name::<M>() == std::any::type_name::<CpuTime>() { "cpu" } else { "wall" }
}

fn benches<M: Measurement>(c: &mut Criterion<M>) {
    idle::<Spawned, M>(c, "spawn");
    idle::<Mutexes<true>, M>(c, "mutex");
    idle::<Actors, M>(c, "actor");
    idle::<Deques, M>(c, "deques");
    idle::<Queues<true>, M>(c, "queues");
    idle::<Queues<false>, M>(c, "lean");
    idle::<Inline<true>, M>(c, "inline");
    idle::<Inline<false>, M>(c, "inline-lean");
    let suspensions =
        std::env::var("LOCKBENCH_SUSPENSIONS").map_or(1, |text| text.parse().expect("a number"));
    for submitters in [8, IN_FLIGHT] {
        if submitters == 8 {
            contender::<Mutexes<true>, M>(c, "mutex", submitters, suspensions);
        } else {
            contender::<Mutexes<false>, M>(c, "mutex", submitters, suspensions);
        }
        contender::<Actors, M>(c, "actor", submitters, suspensions);
        contender::<Deques, M>(c, "deques", submitters, suspensions);
        contender::<Queues<true>, M>(c, "queues", submitters, suspensions);
        contender::<Queues<false>, M>(c, "lean", submitters, suspensions);
        if submitters == IN_FLIGHT {
            contender::<Inline<true>, M>(c, "inline", submitters, suspensions);
            contender::<Inline<false>, M>(c, "inline-lean", submitters, suspensions);
        }
    }
}

criterion_group!(name = cpu_time; config = Criterion::default().with_measurement(CpuTime); targets = benches);
criterion_group!(wall_time, benches);
criterion_main!(cpu_time, wall_time);
