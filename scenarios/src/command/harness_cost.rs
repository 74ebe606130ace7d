//! What the bench itself costs.

use std::sync::Arc;
use std::time::Duration;

use harness::engine::{Clock, Open, process_cpu_ns};
use harness::model::{Arrival, Holder, Mode, NodeId, Plan, PlanSettings, Resource, ResourceKind, StepTree};
use harness::placement::single;
use harness::placement::{Run, RunOptions};
use harness::record::{HarnessCost, encode_history};

/// The harness's own cost, by the control `noop`: without locks, what is left is ours.
pub(super) async fn harness_cost() -> anyhow::Result<HarnessCost> {
    const RATE_PER_S: u32 = 5_000;
    const BURST: u32 = 50_000;
    let burst = run_noop(BURST, 0).await?;
    let cpu_before = process_cpu_ns();
    encode_history(std::io::sink(), &burst.history)?;
    let burst_cpu_ns = burst.process_cpu_ns + process_cpu_ns() - cpu_before;

    let paced = run_noop(RATE_PER_S, 1_000_000_000 / u64::from(RATE_PER_S)).await?;
    Ok(HarnessCost {
        cpu_per_task_ns: burst_cpu_ns / u64::from(BURST),
        rate_per_s: f64::from(RATE_PER_S),
        paced_cpu_per_task_ns: paced.process_cpu_ns / u64::from(RATE_PER_S),
        timer_cpu_per_task_ns: paced.timer_cpu_ns / u64::from(RATE_PER_S),
        lag_p99_ns: paced.measure()?.latency.lag.quantile_ns(0.99).unwrap_or(0),
    })
}

/// Runs one-step tasks without a hold, so far apart, against the control `noop` without a delay.
async fn run_noop(tasks: u32, apart_ns: u64) -> anyhow::Result<Run> {
    let arrivals = (0..tasks).map(|number| Arrival {
        kind: 0,
        at_ns: u64::from(number) * apart_ns,
        entry: NodeId(0),
        root: StepTree {
            resource: Resource { kind: ResourceKind::Vm, id: number, level: 1 },
            mode: Mode::Exclusive,
            hold_ns: 0,
            create_ns: None,
            children: Vec::new(),
        },
    });
    let settings = PlanSettings {
        seed: 0,
        nodes: 1,
        window_ns: 1_000_000_000,
        deadline_ns: 10_000_000_000,
        holder: Holder::Checks,
    };
    let plan = Arc::new(Plan::new(settings, vec!["noop".to_owned()], arrivals)?);
    let clock = Clock::real()?;
    let mechanism = Arc::new(Open::new(Arc::clone(&plan), clock.clone(), Duration::ZERO));
    Ok(single::run(plan, mechanism, clock, RunOptions::default()).await)
}
