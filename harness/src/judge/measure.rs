//! From a history to figures. Latency counts from the intended start; only completed work is goodput.

use std::collections::{BTreeMap, HashMap};

use crate::model::{Event, Facts, Outcome, StepRef, TaskId, What};
use crate::record::{Latency, SLICE_NS, Tally};

/// The figures of one run.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Where every planned task went.
    pub tasks: Tally,
    /// Completed tasks per second of the arrival window.
    pub goodput_per_s: f64,
    /// Distributions.
    pub latency: Latency,
    /// Completed tasks by slice of time.
    pub completed_per_slice: Vec<u64>,
    /// Steps that were granted.
    pub grants: u64,
    /// Why the figures cannot be true; empty = plausible.
    pub implausible: Vec<String>,
}

#[derive(Default, Clone, Copy)]
struct Life {
    invoked_ns: Option<u64>,
    entered_ns: Option<u64>,
    left_ns: Option<u64>,
    slot: Option<u32>,
}

/// Reads the figures off a run's history.
#[must_use]
pub fn measure(facts: &Facts, events: &[Event]) -> Figures {
    let plan = &facts.plan;
    let mut figures = Figures::default();
    let mut lives: HashMap<StepRef, Life> = HashMap::with_capacity(plan.tasks.len() * 2);
    // Per resource and slot: when the last section left.
    let mut freed: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let mut returned: Vec<Option<(u64, &Outcome)>> = vec![None; plan.tasks.len()];
    let unlimited = plan.is_unlimited();
    let intended_ns = |step: StepRef| facts.origin_ns + plan.tasks[step.task.0 as usize].arrival_ns;
    for event in events {
        let step = event.step;
        let resource = plan.step(step).resource;
        let counts = plan.resources[resource as usize].level > 0 || unlimited;
        let life = lives.entry(step).or_default();
        match &event.what {
            What::Invoked => {
                // The caller of a root step is the plan; that of a child is its parent step.
                life.invoked_ns = Some(if step.step == 0 { intended_ns(step) } else { event.at_ns });
                if step.step == 0 && !facts.was_out(&plan.tasks[step.task.0 as usize]) {
                    figures.latency.lag.record_ns(event.at_ns.saturating_sub(intended_ns(step)));
                }
            }
            What::Granted { .. } => figures.grants += 1,
            What::Entered { slot, .. } => {
                // Who is run again did not wait in the meantime.
                let first = life.entered_ns.replace(event.at_ns).is_none();
                life.slot = *slot;
                let asked_ns = life.invoked_ns.unwrap_or(event.at_ns);
                if counts && first {
                    figures.latency.wait.record_ns(event.at_ns.saturating_sub(asked_ns));
                }
                if let Some(freed_ns) = slot.and_then(|slot| freed.remove(&(resource, slot)))
                    && asked_ns < freed_ns
                {
                    figures.latency.hand_over.record_ns(event.at_ns - freed_ns);
                }
            }
            What::Left { .. } => {
                life.left_ns = Some(event.at_ns);
                if let Some(slot) = life.slot {
                    freed.insert((resource, slot), event.at_ns);
                }
            }
            What::Returned { outcome } => {
                if let Some(left_ns) = life.left_ns.filter(|_| counts) {
                    figures.latency.release.record_ns(event.at_ns.saturating_sub(left_ns));
                }
                if step.step == 0 {
                    returned[step.task.0 as usize] = Some((event.at_ns, outcome));
                }
            }
            _ => {}
        }
    }
    tally(facts, &lives, &returned, &mut figures);
    figures.implausible = implausible(facts, &figures, &returned);
    figures
}

/// Sorts every planned task into exactly one field, and measures the whole tasks.
fn tally(
    facts: &Facts,
    lives: &HashMap<StepRef, Life>,
    returned: &[Option<(u64, &Outcome)>],
    figures: &mut Figures,
) {
    let window_s = facts.plan.settings.window_ns.max(1) as f64 / 1e9;
    // By intended start: how many tasks, and when the last that completed returned.
    let mut bursts: BTreeMap<u64, (u32, u64)> = BTreeMap::new();
    let tasks = &mut figures.tasks;
    tasks.planned = facts.plan.tasks.len() as u64;
    for (number, (task, returned)) in facts.plan.tasks.iter().zip(returned).enumerate() {
        let root = StepRef { task: TaskId(number as u32), step: 0 };
        let (burst, served_ns) = bursts.entry(task.arrival_ns).or_default();
        *burst += 1;
        let Some((at_ns, outcome)) = returned else {
            let offered = lives.get(&root).is_some_and(|life| life.invoked_ns.is_some());
            *if offered { &mut tasks.unfinished } else { &mut tasks.not_offered } += 1;
            continue;
        };
        let response_ns = at_ns.saturating_sub(facts.origin_ns + task.arrival_ns);
        let counter = match outcome {
            Outcome::Completed => &mut tasks.completed,
            Outcome::Rejected(_) => &mut tasks.rejected,
            Outcome::Refused(_) => &mut tasks.refused,
            Outcome::Failed(_) => &mut tasks.failed,
            Outcome::TimedOut => &mut tasks.timed_out,
            Outcome::Unknown(_) => &mut tasks.unknown,
        };
        *counter += 1;
        if **outcome == Outcome::Completed {
            *served_ns = (*served_ns).max(response_ns);
            figures.latency.response.record_ns(response_ns);
            let slice = ((at_ns - facts.origin_ns) / SLICE_NS) as usize;
            if figures.completed_per_slice.len() <= slice {
                figures.completed_per_slice.resize(slice + 1, 0);
            }
            figures.completed_per_slice[slice] += 1;
        } else {
            figures.latency.response_failed.record_ns(response_ns);
        }
    }
    for (_, served_ns) in bursts.into_values().filter(|(tasks, served_ns)| *tasks > 1 && *served_ns > 0) {
        figures.latency.burst.record_ns(served_ns);
    }
    // Work that ends after the window was still offered within it; a burst has no window to speak of.
    let span_s = window_s.max(
        (facts.end_ns.saturating_sub(facts.origin_ns)) as f64 / 1e9 * f64::from(u8::from(window_s < 0.1)),
    );
    figures.goodput_per_s = tasks.completed as f64 / span_s;
}

/// Little's law: the mean number of open tasks, integrated from the events, must equal rate × mean latency, taken
/// from the histograms. A histogram that lost or doubled something does not pass.
fn implausible(facts: &Facts, figures: &Figures, returned: &[Option<(u64, &Outcome)>]) -> Vec<String> {
    let mut reasons = Vec::new();
    let open_ns: f64 = facts
        .plan
        .tasks
        .iter()
        .zip(returned)
        .filter_map(|(task, returned)| {
            Some(returned.as_ref()?.0.saturating_sub(facts.origin_ns + task.arrival_ns) as f64)
        })
        .sum();
    let measured: f64 = [&figures.latency.response, &figures.latency.response_failed]
        .into_iter()
        .filter_map(|histogram| Some(histogram.mean_ns()? * histogram.count() as f64))
        .sum();
    if (open_ns - measured).abs() > 0.01 * open_ns.max(1e6) {
        reasons.push(format!(
            "Little's law: {open_ns:.0} ns of open tasks, but {measured:.0} ns in the histograms"
        ));
    }
    let tasks = &figures.tasks;
    let gone = tasks.not_offered
        + tasks.completed
        + tasks.rejected
        + tasks.refused
        + tasks.failed
        + tasks.timed_out
        + tasks.unknown
        + tasks.unfinished;
    if gone != tasks.planned {
        reasons.push(format!("conservation: {} tasks planned, {gone} accounted for", tasks.planned));
    }
    reasons
}
