//! From a history to figures, in one pass. Latency counts from the intended start; only completed work is goodput.

use super::awareness::Watching;
use super::elsewhere::Diverted;
use super::life::{End, Ended, Life};
use super::per::{LivePerStep, PerSlot};
use super::per_slice::PerSlice;
use super::settled::Settled;
use super::stamp::Stamp;
use crate::model::{Event, Events, Facts, Histogram, StepRef, TaskId, What};
use crate::record::{Awareness, Backlog, Elsewhere, Latency, OnTime, SLICE_NS, Tally};

/// The figures of one run.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Where every planned task went.
    pub tasks: Tally,
    /// Those that another node took, since theirs was down.
    pub elsewhere: Elsewhere,
    /// Tasks per second that completed within the arrival window; of a burst, until the last completed.
    pub goodput_per_s: f64,
    /// What was left of the arrivals; `None` of a burst.
    pub backlog: Option<Backlog>,
    /// What was due early enough to be done in the arrival window, where the facts have a limit.
    pub on_time: Option<OnTime>,
    /// Distributions.
    pub latency: Latency,
    /// What those who wait and those who hold were told.
    pub awareness: Awareness,
    /// Completed tasks by slice of time.
    pub completed_per_slice: Vec<u64>,
    /// What the tasks that were due in each slice took beyond their own planned work, the mean.
    pub excess_per_slice_ns: Vec<Option<u64>>,
    /// Steps that were granted.
    pub grants: u64,
    /// Steps that the agent let in and of which no node has told that it was asked for: their events are missing.
    pub untold: u64,
    /// Why the figures cannot be true; empty = plausible.
    pub implausible: Vec<String>,
}

/// The figures of a history.
///
/// # Errors
/// Those of the history.
pub fn measure<E: Events + ?Sized>(facts: &Facts, events: &E) -> Result<Figures, E::Error> {
    let mut measuring = Measuring::new(facts);
    events.pass(&mut |_, event| measuring.see(event))?;
    Ok(measuring.finish())
}

/// How many tasks were open over time, counted up and down as the nodes tell: what Little's law calls N.
#[derive(Default)]
struct Open {
    now: i64,
    since_ns: u64,
    /// Task-nanoseconds.
    sum: i128,
}

impl Open {
    fn change(&mut self, at_ns: u64, by: i64) {
        self.sum += i128::from(self.now) * i128::from(at_ns.saturating_sub(self.since_ns));
        self.since_ns = self.since_ns.max(at_ns);
        self.now += by;
    }
}

struct Measuring<'a> {
    facts: &'a Facts,
    unlimited: bool,
    lives: LivePerStep<'a, Life>,
    /// By task.
    ends: Settled<End>,
    /// By task of a closed loop: when it was asked for. None of an open load, where that is intended beforehand.
    asked: Vec<Stamp>,
    /// What the tasks that have returned took, together.
    took_ns: i128,
    /// When the last section left a slot.
    freed: PerSlot<Option<u64>>,
    open: Open,
    watching: Watching<'a>,
    diverted: Diverted<'a>,
    figures: Figures,
}

impl<'a> Measuring<'a> {
    fn new(facts: &'a Facts) -> Self {
        let plan = &facts.plan;
        Self {
            facts,
            unlimited: plan.is_unlimited(),
            lives: LivePerStep::new(plan),
            ends: Settled::new(plan.tasks.len()),
            asked: vec![Stamp::default(); plan.closed.map_or(0, |_| plan.tasks.len())],
            took_ns: 0,
            freed: PerSlot::new(plan),
            open: Open::default(),
            watching: Watching::new(plan),
            diverted: Diverted::new(facts),
            figures: Figures::default(),
        }
    }

    /// When a task was to begin: by the plan, or in a closed loop whenever it was asked for.
    fn intended_ns(&self, task: TaskId) -> u64 {
        let planned = || self.facts.origin_ns + self.facts.plan.task(task).arrival_ns;
        self.asked.get(task.0 as usize).and_then(|asked| asked.ns()).unwrap_or_else(planned)
    }

    /// Where anything has to be kept apart, steps of level 0 do not count.
    fn counts(&self, step: StepRef) -> bool {
        self.unlimited || self.facts.plan.resource(step).level > 0
    }

    fn see(&mut self, event: &Event) {
        let (step, at_ns) = (event.step, event.at_ns);
        let (root, counts) = (step.step == 0, self.counts(step));
        let task = step.task.0 as usize;
        self.diverted.see(event);
        if counts {
            self.watching.see(event);
        }
        match &event.what {
            What::Invoked => {
                let happened_ns = self.facts.happened_ns(event);
                // The caller of a root step is the plan; that of a child is its parent step.
                if root && let Some(asked) = self.asked.get_mut(task) {
                    *asked = Stamp::at(happened_ns);
                }
                let intended_ns = self.intended_ns(step.task);
                let life = self.lives.at(step);
                life.asked_after = Stamp::at(if root { 0 } else { happened_ns.wrapping_sub(intended_ns) });
                life.returned = false;
                if root {
                    self.open.change(at_ns, 1);
                    self.ends.at(task).asked = Stamp::at(at_ns);
                    // Nobody in a closed loop is late: there is no time to be in.
                    if self.asked.is_empty() && !self.facts.was_out(self.facts.plan.task(step.task)) {
                        self.figures.latency.lag.record_ns(happened_ns.saturating_sub(intended_ns));
                    }
                }
            }
            What::Granted { .. } => self.figures.grants += 1,
            What::Entered { slot, .. } => {
                let resource = self.facts.plan.step(step).resource;
                let intended_ns = self.intended_ns(step.task);
                let life = self.lives.at(step);
                // Who is run again did not wait in the meantime.
                let first = !std::mem::replace(&mut life.entered, true);
                life.slot = *slot;
                life.inside += 1;
                let asked_ns = life.asked_after.ns().map(|after_ns| intended_ns.wrapping_add(after_ns));
                self.figures.untold += u64::from(first && asked_ns.is_none());
                let asked_ns = asked_ns.unwrap_or(at_ns);
                if counts && first {
                    self.figures.latency.wait.record_ns(at_ns.saturating_sub(asked_ns));
                }
                let freed = slot.and_then(|slot| self.freed.get(resource, slot)).and_then(Option::take);
                if let Some(freed_ns) = freed.filter(|freed_ns| asked_ns < *freed_ns) {
                    self.figures.latency.hand_over.record_ns(at_ns - freed_ns);
                }
            }
            What::Left { wrote } => {
                let resource = self.facts.plan.step(step).resource;
                let life = self.lives.at(step);
                life.left = Stamp::at(at_ns);
                life.inside = life.inside.saturating_sub(1);
                life.wrote |= wrote.is_some();
                if let Some(freed) = life.slot.and_then(|slot| self.freed.get(resource, slot)) {
                    *freed = Some(at_ns);
                }
                life.end();
            }
            What::Returned { outcome } => {
                let happened_ns = self.facts.happened_ns(event);
                let life = self.lives.at(step);
                if let Some(left_ns) = life.left.ns().filter(|_| counts) {
                    self.figures.latency.release.record_ns(happened_ns.saturating_sub(left_ns));
                }
                life.returned = true;
                life.end();
                if root {
                    self.open.change(at_ns, -1);
                    let end = self.ends.at(task);
                    if let Some(asked_ns) = end.asked.ns() {
                        // One that returns twice took until the last time.
                        let since_ns = end.returned.map_or(asked_ns, |(at_ns, _)| at_ns.max(asked_ns));
                        self.took_ns += i128::from(at_ns.saturating_sub(since_ns));
                    }
                    end.returned = Some((happened_ns, outcome.into()));
                }
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Figures {
        self.open.change(self.facts.end_ns, 0);
        self.tally();
        self.censor_waits();
        self.figures.implausible = self.implausible();
        let Self { watching, diverted, mut figures, facts, .. } = self;
        figures.elsewhere = diverted.finish();
        figures.awareness = watching.finish(facts.end_ns);
        figures
    }

    /// Sorts every planned task into exactly one field, and measures the whole tasks.
    fn tally(&mut self) {
        let Self { facts, lives, ends, asked, figures, .. } = self;
        let (settings, closed) = (&facts.plan.settings, facts.plan.closed.is_some());
        let burst_only = facts.plan.arrivals_per_s().is_none() && !closed;
        let (middle_ns, end_ns) =
            (facts.origin_ns + settings.window_ns / 2, facts.origin_ns + settings.window_ns);
        // Those that arrive together: how many, and what the last that completed took.
        let (mut burst_ns, mut burst, mut served_ns) = (None, 0_u64, 0);
        let (mut backlog, mut in_window, mut last_ns) = (Backlog::default(), 0_u64, 0);
        let mut untouched = 0_u64;
        let mut on_time = facts.limit_ns.map(|_| OnTime::default());
        let mut excess = PerSlice::default();
        let tasks = &mut figures.tasks;
        for ((number, task), mut steps) in facts.plan.tasks.iter().enumerate().zip(lives.tasks()) {
            let arrival_ns = match asked.get(number) {
                None => task.arrival_ns,
                Some(asked) => match asked.ns() {
                    Some(at_ns) => at_ns.saturating_sub(facts.origin_ns),
                    // No caller has come to it, so it is none of the run.
                    None => {
                        untouched += 1;
                        continue;
                    }
                },
            };
            tasks.planned += 1;
            let intended_ns = facts.origin_ns + arrival_ns;
            // In a closed loop nobody arrives together with others.
            if burst_ns != Some(arrival_ns) || closed {
                record_burst(&mut figures.latency.burst, burst, served_ns);
                (burst_ns, burst, served_ns) = (Some(arrival_ns), 0, 0);
            }
            burst += 1;
            let end = ends.get(number);
            let open_at = |ns: u64| intended_ns <= ns && end.returned.is_none_or(|(at_ns, _)| at_ns > ns);
            backlog.middle += u64::from(open_at(middle_ns));
            backlog.end += u64::from(open_at(end_ns));
            let work_ns: u64 = task.steps().map(|step| step.hold_ns).sum();
            if let Some((on_time, limit_ns)) = on_time.as_mut().zip(facts.limit_ns)
                && intended_ns + work_ns + limit_ns <= end_ns.min(facts.end_ns)
            {
                on_time.due += 1;
                let done = end.returned.filter(|(_, ended)| *ended == Ended::Completed);
                on_time.completed += u64::from(done.is_some_and(|(at_ns, _)| at_ns <= end_ns));
            }
            let Some((at_ns, ended)) = end.returned else {
                *if end.asked.ns().is_some() { &mut tasks.unfinished } else { &mut tasks.not_offered } += 1;
                figures.latency.response.censor_ns(settings.deadline_ns);
                if intended_ns < facts.end_ns {
                    let excess_ns = (facts.end_ns - intended_ns).saturating_sub(work_ns);
                    figures.latency.excess.censor_ns(excess_ns);
                    excess.add(arrival_ns, excess_ns);
                }
                continue;
            };
            let response_ns = at_ns.saturating_sub(intended_ns);
            let since_origin_ns = at_ns.saturating_sub(facts.origin_ns);
            if ended == Ended::Completed {
                tasks.completed += 1;
                in_window += u64::from(at_ns <= end_ns);
                last_ns = last_ns.max(since_origin_ns);
                served_ns = served_ns.max(response_ns);
                figures.latency.response.record_ns(response_ns);
                let excess_ns = response_ns.saturating_sub(work_ns);
                figures.latency.excess.record_ns(excess_ns);
                excess.add(arrival_ns, excess_ns);
                if let Some((on_time, limit_ns)) = on_time.as_mut().zip(facts.limit_ns) {
                    on_time.within += u64::from(excess_ns <= limit_ns);
                }
                let slice = (since_origin_ns / SLICE_NS) as usize;
                if figures.completed_per_slice.len() <= slice {
                    figures.completed_per_slice.resize(slice + 1, 0);
                }
                figures.completed_per_slice[slice] += 1;
                continue;
            }
            let root = steps.next().is_some_and(|life| life.wrote);
            let wrote = root || steps.any(|life| life.wrote);
            *match ended {
                // Whoever was not told of a root's write knows that all may have happened.
                Ended::Unknown if root => &mut tasks.unknown,
                _ if wrote => &mut tasks.partial,
                Ended::Completed => unreachable!("counted above. ended={ended:?}"),
                Ended::Rejected => &mut tasks.rejected,
                Ended::Refused => &mut tasks.refused,
                Ended::Failed => &mut tasks.failed,
                Ended::TimedOut => &mut tasks.timed_out,
                Ended::Unknown => &mut tasks.unknown,
            } += 1;
            figures.latency.response.censor_ns(settings.deadline_ns);
            figures.latency.excess.censor_ns(settings.deadline_ns);
            excess.add(arrival_ns, settings.deadline_ns);
            figures.latency.response_failed.record_ns(response_ns);
        }
        figures.on_time = on_time;
        figures.excess_per_slice_ns = excess.means();
        record_burst(&mut figures.latency.burst, burst, served_ns);
        (figures.goodput_per_s, figures.backlog) = match burst_only {
            true => (tasks.completed as f64 / (last_ns.max(1) as f64 / 1e9), None),
            // Where callers came to the end of the plan, they asked no more from then on.
            false if closed && untouched == 0 => {
                (in_window as f64 / (last_ns.clamp(1, settings.window_ns) as f64 / 1e9), None)
            }
            false => (in_window as f64 / (settings.window_ns as f64 / 1e9), (!closed).then_some(backlog)),
        };
    }

    /// Planned steps that did not enter have waited until their task's deadline at least.
    fn censor_waits(&mut self) {
        let deadline_ns = self.facts.plan.settings.deadline_ns;
        for (number, steps) in self.lives.tasks().enumerate() {
            if self.asked.get(number).is_some_and(|asked| asked.ns().is_none()) {
                continue;
            }
            for (place, _) in steps.enumerate().filter(|(_, life)| !life.entered) {
                let step = StepRef { task: TaskId(number as u32), step: place as u16 };
                if self.unlimited || self.facts.plan.resource(step).level > 0 {
                    self.figures.latency.wait.censor_ns(deadline_ns);
                }
            }
        }
    }

    /// Little's law, N = λ·W: the open tasks, counted up and down over time as the nodes told, must equal the sum of what each
    /// task took. Events that were lost, doubled or mixed up do not pass.
    fn implausible(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let (counted, mut summed, mut unasked) = (self.open.sum, self.took_ns, 0_u64);
        for end in (0..self.facts.plan.tasks.len()).map(|task| self.ends.get(task)) {
            match (end.asked.ns(), end.returned) {
                (Some(asked_ns), None) => summed += i128::from(self.facts.end_ns.saturating_sub(asked_ns)),
                (None, Some(_)) => unasked += 1,
                _ => {}
            }
        }
        if (counted - summed).abs() > (summed / 100).max(1_000_000) {
            reasons.push(format!(
                "Little's law: the nodes had {counted} ns of open tasks, but their tasks took {summed} ns"
            ));
        }
        if unasked > 0 {
            reasons.push(format!(
                "conservation: {unasked} tasks returned of which no node told that it began them"
            ));
        }
        reasons
    }
}

/// A burst is served when the last of its tasks that completed has returned; one task is none.
fn record_burst(bursts: &mut Histogram, tasks: u64, served_ns: u64) {
    if tasks > 1 && served_ns > 0 {
        bursts.record_ns(served_ns);
    }
}

#[cfg(test)]
mod tests;
