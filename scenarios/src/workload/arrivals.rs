//! Which task arrives when, where, and with which tree of steps.

use harness::model::{Arrival, Closed, NodeId, PlanSettings, Resource, StepTree, Unhindered, splitmix};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, LogNormal, Zipf};

use crate::spec::{Duration, Load, ScenarioSpec, Start, StepSpec, nanos};

/// The tasks of a load, in the order of time, drawn one by one.
pub(super) fn arrivals<'a>(
    spec: &'a ScenarioSpec,
    load: &'a dyn Load,
    starts: &'a mut ChaCha8Rng,
) -> impl Iterator<Item = Arrival> + 'a {
    // All starts come before the first task in the stream of random numbers: pass over them once, to be drawn again each in
    // its turn.
    let mut tasks = starts.clone();
    load.starts(&mut tasks).for_each(drop);
    let total: f64 = spec.tasks.iter().map(|task| task.weight).sum();
    load.starts(starts).map(move |start| arrival(spec, start, total, &mut tasks))
}

/// The same tasks for callers: each enters where its caller is, at the earliest time at which it can. Those that no caller can come to
/// within the window are left out.
pub(super) fn asked(
    closed: Closed,
    settings: &PlanSettings,
    arrivals: impl Iterator<Item = Arrival>,
) -> impl Iterator<Item = Arrival> {
    let PlanSettings { seed, nodes, window_ns, .. } = *settings;
    let mut callers = Unhindered::new(closed, seed);
    arrivals.map_while(move |arrival| {
        let (at_ns, caller) = callers.take(inside_ns(&arrival.root))?;
        (at_ns < window_ns).then(|| Arrival { at_ns, entry: closed.node_of(caller, nodes), ..arrival })
    })
}

/// How long a tree is inside where nothing waits and everything exists.
fn inside_ns(tree: &StepTree) -> u64 {
    tree.hold_ns + tree.children.iter().map(inside_ns).sum::<u64>()
}

fn arrival(spec: &ScenarioSpec, start: Start, total: f64, rng: &mut ChaCha8Rng) -> Arrival {
    let Start { at_ns, turn, entry } = start;
    let mut left = rng.random::<f64>() * total;
    let drawn = spec.tasks.iter().position(|task| {
        left -= task.weight;
        left < 0.0
    });
    // Rounding may leave a rest after the last kind.
    let kind = drawn.unwrap_or(spec.tasks.len() - 1);
    let drawn = NodeId(rng.random_range(0..spec.nodes));
    let entry = entry.map_or(drawn, NodeId);
    let step = &spec.tasks[kind].step;
    let id = match turn {
        Some(turn) => turn % spec.count(*step.resource.get_ref()),
        None => draw_id(spec, step, rng),
    };
    Arrival { kind: kind as u16, at_ns, entry, root: tree(spec, step, id, rng) }
}

fn draw_id(spec: &ScenarioSpec, step: &StepSpec, rng: &mut ChaCha8Rng) -> u32 {
    let kind = *step.resource.get_ref();
    let (count, zipf) = (spec.count(kind), spec.resources[&kind].zipf);
    if zipf == 0.0 {
        return rng.random_range(0..count);
    }
    let rank = Zipf::new(f64::from(count), zipf).expect("count and exponent were checked").sample(rng);
    rank as u32 - 1
}

/// Whether a step holds two resources of one kind.
fn is_nested_in_its_kind(step: &StepSpec) -> bool {
    step.steps.iter().any(|child| child.resource.get_ref() == step.resource.get_ref())
}

fn tree(spec: &ScenarioSpec, step: &StepSpec, id: u32, rng: &mut ChaCha8Rng) -> StepTree {
    let kind = *step.resource.get_ref();
    // The last has none behind it, which the second of two accounts would be.
    let id = if is_nested_in_its_kind(step) { id % (spec.count(kind) - 1) } else { id };
    let hold_ns = match spec.hold_ms {
        Some(ms) => nanos(ms / 1e3),
        None => draw_ns(spec, step.hold_s, rng),
    };
    let create_ns = step.create_s.map(|create_s| draw_ns(spec, create_s, rng));
    let children = step
        .steps
        .iter()
        .map(|child| {
            let count = spec.count(*child.resource.get_ref());
            if *child.resource.get_ref() == kind {
                // Any of those behind it, so that nesting keeps to the order within the kind.
                return tree(spec, child, rng.random_range(id + 1..count), rng);
            }
            // The same parent always has the same child: a VM's host, a volume's VM.
            let related = splitmix(u64::from(id) << 8 | kind as u64) % u64::from(count);
            let id = ((related + u64::from(child.offset)) % u64::from(count)) as u32;
            tree(spec, child, id, rng)
        })
        .collect();
    let level = spec.resources[&kind].level;
    StepTree { resource: Resource { kind, id, level }, mode: step.mode, hold_ns, create_ns, children }
}

fn draw_ns(spec: &ScenarioSpec, duration: Duration, rng: &mut ChaCha8Rng) -> u64 {
    match duration {
        Duration::Constant(seconds) => nanos(seconds / spec.time_scale),
        Duration::LogNormal([median, p99]) => {
            // 2.326 standard deviations above the mean lies the 99th percentile of a normal distribution.
            let spread = (p99 / median).ln() / 2.326;
            let drawn: f64 = LogNormal::new(median.ln(), spread).expect("the spread is finite").sample(rng);
            // A bounded tail, so that one draw cannot decide a run.
            nanos(drawn.min(2.0 * p99) / spec.time_scale)
        }
    }
}
