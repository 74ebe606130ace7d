//! How long every check takes on 10⁵, 10⁶ and 10⁷ events, and by how much more than ten times for ten times the events:
//! `cargo run --release -p harness --example check_speed`.

use std::process::ExitCode;
use std::sync::Arc;

use harness::engine::monotonic_ns;
use harness::judge::checks;
use harness::model::{
    Arrival, Event, Facts, Holder, Mode, NodeId, Outcome, Plan, PlanError, PlanSettings, Promises,
    ReleaseRet, Resource, ResourceKind, StepRef, StepTree, TaskId, Token, What, splitmix,
};

/// Events that a step of a lock writes.
const EVENTS: u32 = 7;

/// Steps that are under way at any time.
const OPEN: u32 = 64;

/// A history, and what is known beside it.
struct Told {
    facts: Facts,
    events: Vec<Event>,
}

/// Aim: exclusion and token order of a million events, together.
const AIM_NS: u64 = 1_000_000_000;

fn main() -> ExitCode {
    let sizes = [100_000, 1_000_000, 10_000_000];
    let runs: Vec<Told> =
        sizes.iter().map(|events| history(events / EVENTS).expect("one step a task")).collect();
    row("check", &sizes.map(|events| format!("{events} events")), "× per tenfold");
    // The yardstick: what it costs to look at every event and its resource at all, out of the caches or not.
    let bare_ns = |run: &Told| {
        let resource = |event: &Event| u64::from(run.facts.plan.step(event.step).resource) ^ event.at_ns;
        least_of_three_ns(|| run.events.iter().map(resource).fold(0, u64::wrapping_add))
    };
    report("(a bare pass)", &runs.iter().map(bare_ns).collect::<Vec<_>>());
    let mut both_ns = 0;
    for check in checks::ALL {
        let times_ns: Vec<u64> =
            runs.iter().map(|run| least_of_three_ns(|| check.judge(&run.facts, &run.events))).collect();
        if ["exclusion", "fencing"].contains(&check.name) {
            both_ns += times_ns[1];
        }
        report(check.name, &times_ns);
        let judgement = check.judge(&runs[0].facts, &runs[0].events);
        assert_eq!(judgement.violations, 0, "the history is honest: {judgement:?}");
    }
    let together_ns = |run: &Told| {
        least_of_three_ns(|| {
            let Ok(judgements) = checks::judge(checks::ALL, &run.facts, &run.events[..]);
            judgements.len()
        })
    };
    report("(all, one pass)", &runs.iter().map(together_ns).collect::<Vec<_>>());
    let fast = both_ns < AIM_NS;
    let told = if fast { "under" } else { "NOT under" };
    eprintln!("exclusion + fencing on 10⁶ events: {:.0} ms, {told} 1 s", both_ns as f64 / 1e6);
    if fast { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn row(name: &str, cells: &[String; 3], last: &str) {
    let [a, b, c] = cells;
    eprintln!("{name:<16}{a:>18}{b:>18}{c:>18}{last:>18}");
}

fn report(name: &str, times_ns: &[u64]) {
    let cells = [0, 1, 2].map(|place| format!("{:.2} ms", times_ns[place] as f64 / 1e6));
    let growth = times_ns.windows(2).map(|pair| format!("{:.1}", pair[1] as f64 / pair[0] as f64));
    row(name, &cells, &growth.collect::<Vec<_>>().join(", "));
}

fn least_of_three_ns<T>(mut work: impl FnMut() -> T) -> u64 {
    let time = |_| {
        let start_ns = monotonic_ns();
        std::hint::black_box(work());
        monotonic_ns() - start_ns
    };
    (0..3).map(time).min().unwrap_or(0)
}

/// An honest history of one-step tasks over a thousand resources; steps overlap in time, each as a lock writes it.
fn history(tasks: u32) -> Result<Told, PlanError> {
    let settings = PlanSettings {
        seed: 1,
        nodes: 5,
        window_ns: u64::from(tasks),
        deadline_ns: u64::MAX / 4,
        holder: Holder::Checks,
    };
    let resource = |number: u32| Resource { kind: ResourceKind::Vm, id: number % 1000, level: 1 };
    let arrivals = (0..tasks).map(|number| {
        let root = StepTree {
            resource: resource(number),
            mode: Mode::Exclusive,
            hold_ns: 1,
            create_ns: None,
            children: Vec::new(),
        };
        Arrival { kind: 0, at_ns: u64::from(number), entry: NodeId((number % 5) as u16), root }
    });
    let plan = Plan::new(settings, vec!["vm".to_owned()], arrivals)?;
    let mut events = Vec::with_capacity((tasks * EVENTS) as usize);
    let mut values = vec![0; plan.resources.len()];
    // Steps advance one event at a time, in random order within a window of those under way: never two of a resource.
    let mut open: Vec<(u32, u32)> = Vec::new();
    let mut next = 0;
    while next < tasks || !open.is_empty() {
        while next < tasks && open.len() < OPEN as usize {
            open.push((next, 0));
            next += 1;
        }
        let place = (splitmix(events.len() as u64) % open.len() as u64) as usize;
        let (number, stage) = &mut open[place];
        let at_ns = events.len() as u64;
        let step = StepRef { task: TaskId(*number), step: 0 };
        let value = &mut values[plan.step(step).resource as usize];
        let (node, what) = event(*stage, *number, value);
        events.push(Event { at_ns, node: node.then_some(NodeId((*number % 5) as u16)), step, what });
        *stage += 1;
        if *stage == EVENTS {
            open.swap_remove(place);
        }
    }
    let facts = Facts {
        plan: Arc::new(plan),
        origin_ns: 0,
        end_ns: events.len() as u64,
        promises: Promises::default(),
        outages: Vec::new(),
        injected: Vec::new(),
        limit_ns: None,
        audit: None,
        earlier_ns: 0,
    };
    Ok(Told { facts, events })
}

/// What a step writes at a stage, and whether its node says so.
fn event(stage: u32, number: u32, value: &mut u64) -> (bool, What) {
    let token = Some(Token { generation: 0, sequence: u64::from(number) + 1 });
    match stage {
        0 => (true, What::Invoked),
        1 => (true, What::Granted { slot: Some(0), token, valid_until_ns: None }),
        2 => (false, What::Entered { slot: Some(0), token, value: *value }),
        3 => {
            *value += 1;
            (false, What::Left { wrote: Some(*value) })
        }
        4 => (true, What::ReleaseSent),
        5 => (true, What::Released { ret: ReleaseRet::Released }),
        _ => (true, What::Returned { outcome: Outcome::Completed }),
    }
}
