//! What the bench itself costs, thread by thread, at a rate; and how many tasks a second it carries when nobody paces them.
//!
//! ```sh
//! cargo run --release -p harness --example paced -- 50000 10
//! cargo run --release -p harness --example paced -- closed 2000000
//! ```
//!
//! One-step tasks without a hold against the control `noop`, entering at three nodes over 1,000 keys, in real time: plan,
//! timer, mechanism, runner, agent, recorder and its file, figures. Paced: arrivals at random, open loop. Closed: so many
//! callers, each of which asks again when its task has returned.

#![allow(clippy::print_stdout, reason = "it is what it is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use harness::engine::{Clock, Open, process_cpu_ns};
use harness::model::{
    Arrival, Closed, Holder, Mode, NodeId, Plan, PlanError, PlanSettings, Resource, ResourceKind, StepTree,
};
use harness::placement::{RunOptions, single};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const NODES: u16 = 3;

/// Callers of the closed loop, each at one of the nodes.
const CALLERS: u32 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().unwrap_or_else(|| "50000".to_owned());
    let second = arguments.next();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if first == "closed" {
        let tasks = second.map_or(Ok(2_000_000), |tasks| tasks.parse())?;
        runtime.block_on(closed(tasks))
    } else {
        let seconds = second.map_or(Ok(10), |seconds| seconds.parse())?;
        runtime.block_on(paced(first.parse()?, seconds))
    }
}

/// Open loop: tasks arrive at random, so many a second.
async fn paced(rate_per_s: u32, seconds: u32) -> Result<(), Box<dyn Error>> {
    let tasks = rate_per_s * seconds;
    let plan = Arc::new(plan(tasks, f64::from(rate_per_s))?);
    let clock = Clock::real()?;
    let mechanism = Arc::new(Open::new(Arc::clone(&plan), clock.clone(), Duration::ZERO));
    let (cpu_before_ns, threads) = (process_cpu_ns(), Threads::watch()?);
    let run = single::run(plan, mechanism, clock, RunOptions::default()).await;
    let cpu_ns = process_cpu_ns() - cpu_before_ns;
    let threads = threads.seen()?;
    let cpu_before_ns = process_cpu_ns();
    let figures = run.measure()?;
    let measure_cpu_ns = process_cpu_ns() - cpu_before_ns;
    let per_task = |name: &str, cpu_ns: u64| {
        println!("{name:>18}: {:>7.2} µs of CPU a task", cpu_ns as f64 / 1e3 / f64::from(tasks));
    };
    threads.iter().for_each(|(name, cpu_ns)| per_task(name, *cpu_ns));
    // What a thread did after it was last looked at, and those that were never seen.
    per_task("(the rest)", cpu_ns.saturating_sub(threads.values().sum()));
    let run_ns = cpu_ns - threads.get(WATCH).copied().unwrap_or(0);
    per_task("all of the run", run_ns);
    per_task("figures, after it", measure_cpu_ns);
    let lag = &figures.latency.lag;
    let us = |ns: Option<u64>| ns.unwrap_or(0) as f64 / 1e3;
    println!(
        "lag: p50 {:.0} µs, p99 {:.0} µs, at most {:.0} µs",
        us(lag.quantile_ns(0.5)),
        us(lag.quantile_ns(0.99)),
        us(lag.max_ns())
    );
    println!("{:.0} tasks/s of {rate_per_s} completed in the window", figures.goodput_per_s);
    let lag_ns = lag.quantile_ns(0.99).unwrap_or(0);
    aim("CPU a task, of all threads", run_ns / u64::from(tasks), 8_000);
    aim("lag p99", lag_ns, 1_000_000);
    peak()
}

/// A figure beside what it is to be at 50,000 arrivals a second on two processors.
fn aim(what: &str, ns: u64, most_ns: u64) {
    let us = |ns: u64| ns as f64 / 1e3;
    let met = if ns <= most_ns { "met" } else { "MISSED" };
    println!("aim at 50000/s: {what} {:.2} µs of at most {:.0}: {met}", us(ns), us(most_ns));
}

/// Closed loop: callers ask as soon as they may.
async fn closed(tasks: u32) -> Result<(), Box<dyn Error>> {
    // None is due before another, and the window is longer than they take.
    let mut plan = plan(tasks, 1e9)?.with_callers(Closed { callers: CALLERS, think_ns: 0 });
    plan.settings.window_ns = HOUR_NS;
    let (plan, clock) = (Arc::new(plan), Clock::real()?);
    let mechanism = Arc::new(Open::new(Arc::clone(&plan), clock.clone(), Duration::ZERO));
    let cpu_before_ns = process_cpu_ns();
    let run = single::run(plan, mechanism, clock, RunOptions::default()).await;
    let cpu_ns = process_cpu_ns() - cpu_before_ns;
    let figures = run.measure()?;
    println!(
        "{:.0} tasks/s until all returned (aim: 200000 or more; history held: {})",
        figures.goodput_per_s,
        run.history.is_held()
    );
    println!(
        "{:.2} µs of CPU a task, the history and its file with it",
        cpu_ns as f64 / 1e3 / f64::from(tasks)
    );
    peak()
}

const HOUR_NS: u64 = 3_600_000_000_000;

/// One-step tasks without a hold, at exponential distances.
fn plan(tasks: u32, rate_per_s: f64) -> Result<Plan, PlanError> {
    let settings = PlanSettings {
        seed: 1,
        nodes: NODES,
        window_ns: (f64::from(tasks) / rate_per_s * 1e9) as u64,
        deadline_ns: 10_000_000_000,
        holder: Holder::Checks,
    };
    let (mut rng, mut at_s) = (ChaCha8Rng::seed_from_u64(1), 0.0);
    let arrivals = (0..tasks).map(|_| {
        at_s -= (1.0 - rng.random::<f64>()).ln() / rate_per_s;
        let root = StepTree {
            resource: Resource { kind: ResourceKind::Vm, id: rng.random_range(0..1_000), level: 1 },
            mode: Mode::Exclusive,
            hold_ns: 0,
            create_ns: None,
            children: Vec::new(),
        };
        Arrival { kind: 0, at_ns: (at_s * 1e9) as u64, entry: NodeId(rng.random_range(0..NODES)), root }
    });
    Plan::new(settings, vec!["noop".to_owned()], arrivals)
}

/// The thread that looks at the others.
const WATCH: &str = "(this yardstick)";

/// Looks at what the threads of this process have computed, since those that end take it with them.
struct Threads {
    done: Sender<()>,
    watching: JoinHandle<BTreeMap<i32, (String, u64)>>,
}

impl Threads {
    const EVERY: Duration = Duration::from_millis(100);

    fn watch() -> std::io::Result<Self> {
        let (done, ended) = channel();
        let watching = std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            let (before, mut now) = (now(), BTreeMap::new());
            loop {
                now.extend(self::now());
                if ended.recv_timeout(Self::EVERY) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            now.extend(self::now());
            for (thread, (_, cpu_ns)) in before {
                now.entry(thread).and_modify(|(_, now_ns)| *now_ns -= cpu_ns);
            }
            now
        })?;
        Ok(Self { done, watching })
    }

    /// By name of thread, the CPU that it took meanwhile.
    fn seen(self) -> Result<BTreeMap<String, u64>, Box<dyn Error>> {
        self.done.send(())?;
        let mut by_name = BTreeMap::new();
        for (name, cpu_ns) in
            self.watching.join().map_err(|_| "the thread that watches panicked")?.into_values()
        {
            *by_name.entry(name).or_insert(0) += cpu_ns;
        }
        Ok(by_name)
    }
}

fn now() -> BTreeMap<i32, (String, u64)> {
    let tasks = procfs::process::Process::myself().and_then(|process| process.tasks());
    let threads = tasks.into_iter().flatten().filter_map(|thread| {
        let thread = thread.ok()?;
        let (name, cpu_ns) = (thread.stat().ok()?.comm, thread.schedstat().ok()?.sum_exec_runtime);
        let name = if name == "watch" { WATCH.to_owned() } else { name };
        Some((thread.tid, (name, cpu_ns)))
    });
    threads.collect()
}

fn peak() -> Result<(), Box<dyn Error>> {
    let status = procfs::process::Process::myself()?.status()?;
    println!("{} MiB at most", status.vmhwm.unwrap_or(0) / 1024);
    Ok(())
}
