//! How much memory a run of many tasks takes, by stage: the plan, the run, its figures and verdicts.
//!
//! ```sh
//! cargo run --release -p harness --example peak_memory -- 10000000
//! ```
//!
//! The aim is 256 MiB for ten million.
//!
//! One-step tasks against the control `noop` in virtual time, 5,000 a second over 1,000 keys.

#![allow(clippy::print_stdout, reason = "it is what it is for")]

use std::sync::Arc;
use std::time::Duration;

use harness::engine::{Clock, Open, process_cpu_ns};
use harness::judge::{aftermath, checks};
use harness::model::{Arrival, Holder, Mode, NodeId, Plan, PlanSettings, Resource, ResourceKind, StepTree};
use harness::placement::{RunOptions, single};
use harness::record::write_history;

const APART_NS: u64 = 200_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tasks = std::env::args().nth(1).map_or(Ok(1_000_000), |tasks| tasks.parse())?;
    told("before");
    let plan = Arc::new(plan(tasks)?);
    told("plan");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    let run = runtime.block_on(async {
        let clock = Clock::virtual_time();
        let mechanism = Arc::new(Open::new(Arc::clone(&plan), clock.clone(), Duration::ZERO));
        single::run(plan, mechanism, clock, RunOptions::default()).await
    });
    told("run");
    let figures = run.measure()?;
    told("figures");
    let faults = aftermath(&run.facts, &run.history)?;
    told("aftermath");
    let judgements = checks::judge(checks::ALL, &run.facts, &run.history)?;
    told("verdicts");
    let folder = tempfile::tempdir()?;
    write_history(&folder.path().join("history.ndjson.zst"), &run.history)?;
    told("history");
    println!("aim: 256 MiB at most, for 10000000 tasks; these were {tasks}");
    println!("{} completed, {} faults, {} checks", figures.tasks.completed, faults.planned, judgements.len());
    Ok(())
}

/// One-step tasks in turn over the keys.
fn plan(tasks: u32) -> Result<Plan, harness::model::PlanError> {
    let settings = PlanSettings {
        seed: 1,
        nodes: 3,
        window_ns: u64::from(tasks) * APART_NS,
        deadline_ns: 10_000_000_000,
        holder: Holder::Checks,
    };
    let arrivals = (0..tasks).map(|number| Arrival {
        kind: 0,
        at_ns: u64::from(number) * APART_NS,
        entry: NodeId((number % 3) as u16),
        root: StepTree {
            resource: Resource { kind: ResourceKind::Vm, id: number % 1_000, level: 1 },
            mode: Mode::Exclusive,
            hold_ns: 1_000,
            create_ns: None,
            children: Vec::new(),
        },
    });
    Plan::new(settings, vec!["change-vm".to_owned()], arrivals)
}

/// What the process has now, the most that it ever had, and the time that it has computed.
fn told(stage: &str) {
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    if let Ok(status) = status {
        let mib = |kib: Option<u64>| kib.unwrap_or(0) / 1024;
        let cpu_s = process_cpu_ns() as f64 / 1e9;
        let (now, most) = (mib(status.vmrss), mib(status.vmhwm));
        println!("{stage:>10}: {now:>6} MiB now, {most:>6} MiB at most, {cpu_s:>6.1} s of CPU until here");
    }
}
