//! Progress: everyone is served or told so, and a key that nobody holds does not stay free while somebody waits.

use super::check::{Check, Fold, MustCatch};
use super::findings::{AT_THE_END, Findings, Found};
use crate::judge::breakage::{Blow, Breakage, breakages};
use crate::judge::per::{LivePerStep, PerSlot};
use crate::judge::settled::Settles;
use crate::model::{Event, Facts, NodeId, StepRef, TaskId, What};

/// How long after its deadline, or after the last fault, a step may still be without an outcome.
const GRACE_NS: u64 = 5_000_000_000;

/// Two rules, neither of which depends on the load:
///
/// * Where the mechanism promises a bound ([`Promises::free_within_ns`](crate::model::Promises::free_within_ns)), no
///   resource has waiters and nobody inside for longer, counted from the end of the last fault before. The kill and the
///   standstill of a node count as over at once: the bound is for them. Whoever is inside at a node that stands still is not
///   inside for this rule, since his lease is to end, and whoever waits there does not wait. The loss of a leader counts as over when the members that are
///   left have promised to serve again ([`Promises::led_within_ns`](crate::model::Promises::led_within_ns)).
/// * A step that waits is let in or returns by its deadline, except at a node that was hit by a fault.
///
/// Recovery is the time from a fault that hit a holder to the next entry on its slot.
pub(super) const CHECK: Check = Check {
    name: "progress",
    question: "Was everyone served or told so, and every free key taken within the promised bound?",
    counted: "waiters left unserved",
    must_catch_none: MustCatch::No,
    begin,
};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Before,
    Waiting,
    Inside,
    /// Waits or is inside at a node that stands still.
    Frozen(Froze),
    After,
}

/// What a section does again when its node goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Froze {
    Waiting,
    Inside,
}

#[derive(Debug, Clone, Copy, Default)]
struct Section {
    phase: Phase,
    /// Where it waits or runs.
    node: Option<NodeId>,
    slot: Option<u32>,
    /// When it was asked for.
    asked_ns: u64,
}

impl Settles for Section {
    /// Whether it is over, and where it was let in last: it may be run again.
    type Brief = (bool, Option<NodeId>);

    fn brief(&self) -> Option<Self::Brief> {
        // In which slot it was is asked no more.
        let over = self.phase == Phase::After;
        (over || self.phase == Phase::Before && self.slot.is_none()).then_some((over, self.node))
    }

    fn from_brief((over, node): Self::Brief) -> Self {
        Self { phase: if over { Phase::After } else { Phase::Before }, node, slot: None, asked_ns: 0 }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Resource {
    waiting: u32,
    inside: u32,
    /// Since when somebody waits and nobody is inside.
    idle_since_ns: Option<u64>,
    /// Who was inside last.
    last: Option<StepRef>,
}

struct Watch<'a> {
    facts: &'a Facts,
    /// By start.
    breakages: Vec<Breakage>,
    /// How many of them have begun.
    struck: usize,
    /// When which node goes on after a standstill.
    thaws: Vec<(u64, NodeId)>,
    found: Findings,
    sections: LivePerStep<'a, Section>,
    resources: Vec<Resource>,
    /// Per slot: when a fault hit its holder.
    hit_ns: PerSlot<Option<u64>>,
    /// End of the last fault so far.
    calm_ns: u64,
    longest_idle_ns: u64,
    recoveries: u64,
    longest_recovery_ns: u64,
}

fn begin(facts: &Facts) -> Box<dyn Fold + '_> {
    Box::new(Watch {
        facts,
        breakages: breakages(facts),
        struck: 0,
        thaws: Vec::new(),
        found: Findings::default(),
        sections: LivePerStep::new(&facts.plan),
        resources: vec![Resource::default(); facts.plan.resources.len()],
        hit_ns: PerSlot::new(&facts.plan),
        calm_ns: 0,
        longest_idle_ns: 0,
        recoveries: 0,
        longest_recovery_ns: 0,
    })
}

impl Fold for Watch<'_> {
    fn see(&mut self, at: usize, event: &Event) {
        while let Some(breakage) = self.breakages.get(self.struck).copied()
            && breakage.from_ns <= event.at_ns
        {
            self.struck += 1;
            self.thaw(at, breakage.from_ns);
            self.strike(at, &breakage);
        }
        self.thaw(at, event.at_ns);
        self.follow(at, event);
    }

    fn finish(mut self: Box<Self>) -> Found {
        for resource in 0..self.resources.len() {
            self.resources[resource].waiting = 0;
            self.settle(AT_THE_END, resource, self.facts.end_ns, None);
        }
        self.find_forgotten();
        let Self { mut found, breakages, longest_idle_ns, recoveries, longest_recovery_ns, .. } = *self;
        found.time("longest free while waited for", longest_idle_ns);
        if !breakages.is_empty() {
            found.count("recoveries", recoveries);
            found.time("longest recovery", longest_recovery_ns);
        }
        found.answer(shown, "no step of level ≥ 1 was asked for")
    }
}

impl Watch<'_> {
    fn follow(&mut self, at: usize, event: &Event) {
        let resource = self.facts.plan.step(event.step).resource;
        if self.facts.plan.resources[resource as usize].level == 0 {
            return;
        }
        let section = self.sections.at(event.step);
        let state = &mut self.resources[resource as usize];
        match &event.what {
            What::Invoked if section.phase == Phase::Before => {
                self.found.examined += 1;
                *section =
                    Section { phase: Phase::Waiting, node: event.node, slot: None, asked_ns: event.at_ns };
                state.waiting += 1;
            }
            What::Granted { .. } => section.node = event.node,
            // Whatever was on its way when its node stood still.
            What::Entered { slot, .. } if section.phase == Phase::Frozen(Froze::Waiting) => {
                (section.phase, section.slot) = (Phase::Frozen(Froze::Inside), *slot);
                return;
            }
            What::Left { .. } | What::Abandoned | What::Returned { .. }
                if matches!(section.phase, Phase::Frozen(_)) =>
            {
                section.phase = Phase::After;
                return;
            }
            What::Entered { slot, .. } if section.phase != Phase::Inside => {
                state.waiting -= u32::from(section.phase == Phase::Waiting);
                state.inside += 1;
                (section.phase, section.slot) = (Phase::Inside, *slot);
                let hit_ns = slot.and_then(|slot| self.hit_ns.get(resource, slot)).and_then(Option::take);
                if let Some(hit_ns) = hit_ns {
                    self.recoveries += 1;
                    self.longest_recovery_ns = self.longest_recovery_ns.max(event.at_ns - hit_ns);
                }
            }
            What::Left { .. } | What::Abandoned if section.phase == Phase::Inside => {
                state.inside -= 1;
                state.last = Some(event.step);
                section.phase = Phase::After;
            }
            What::Returned { .. } if section.phase == Phase::Waiting => {
                state.waiting -= 1;
                section.phase = Phase::After;
            }
            _ => return,
        }
        self.settle(at, resource as usize, event.at_ns, Some(event.step));
    }

    /// Opens or closes the time in which the resource is free and waited for.
    fn settle(&mut self, at: usize, resource: usize, now_ns: u64, step: Option<StepRef>) {
        let state = &mut self.resources[resource];
        let idle = state.waiting > 0 && state.inside == 0;
        match (idle, state.idle_since_ns) {
            (true, None) => state.idle_since_ns = Some(now_ns),
            (false, Some(since_ns)) => {
                state.idle_since_ns = None;
                self.longest_idle_ns = self.longest_idle_ns.max(now_ns.saturating_sub(since_ns));
                let judged_ns = now_ns.saturating_sub(since_ns.max(self.calm_ns));
                let bound_ns = self.facts.promises.free_within_ns;
                if let Some(bound_ns) = bound_ns.filter(|bound_ns| judged_ns > *bound_ns) {
                    let steps = state.last.into_iter().chain(step).collect();
                    let ms = |ns| ns as f64 / 1e6;
                    let note = format!(
                        "free and waited for over {:.3} ms, promised within {:.3} ms",
                        ms(judged_ns),
                        ms(bound_ns)
                    );
                    self.found.violated(at, || (steps, note));
                }
            }
            _ => {}
        }
    }

    fn strike(&mut self, at: usize, breakage: &Breakage) {
        let killed = breakage.blow == Blow::Kill && breakage.node.is_some();
        let stalled = breakage.blow == Blow::Stall && breakage.node.is_some();
        let until_ns = breakage.until_ns.unwrap_or(u64::MAX);
        let calm_ns = match (breakage.blow, self.facts.promises.led_within_ns) {
            _ if killed || stalled => breakage.from_ns,
            (Blow::Leader, Some(within_ns)) => until_ns.min(breakage.from_ns.saturating_add(within_ns)),
            _ => until_ns,
        };
        self.calm_ns = self.calm_ns.max(calm_ns);
        let Some(node) = breakage.node else { return };
        if stalled {
            self.thaws.push((until_ns, node));
        }
        for step in self.sections.whole() {
            let resource = self.facts.plan.step(step).resource;
            let section = self.sections.at(step);
            match section.phase {
                Phase::Inside if section.node == Some(node) => {
                    let slot = section.slot.and_then(|slot| self.hit_ns.get(resource, slot));
                    if let Some(hit_ns) = slot {
                        *hit_ns = Some(breakage.from_ns);
                    }
                    if stalled {
                        section.phase = Phase::Frozen(Froze::Inside);
                        let state = &mut self.resources[resource as usize];
                        (state.inside, state.last) = (state.inside - 1, Some(step));
                        self.settle(at, resource as usize, breakage.from_ns, None);
                    }
                }
                Phase::Waiting if section.node == Some(node) && (killed || stalled) => {
                    section.phase = if killed { Phase::After } else { Phase::Frozen(Froze::Waiting) };
                    self.resources[resource as usize].waiting -= 1;
                    self.settle(at, resource as usize, breakage.from_ns, None);
                }
                _ => {}
            }
        }
    }

    /// Whoever stood still until then waits or is inside again.
    fn thaw(&mut self, at: usize, now_ns: u64) {
        while let Some(next) = self.thaws.iter().position(|(until_ns, _)| *until_ns <= now_ns) {
            let (until_ns, node) = self.thaws.swap_remove(next);
            for step in self.sections.whole() {
                let resource = self.facts.plan.step(step).resource as usize;
                let section = self.sections.at(step);
                let Phase::Frozen(froze) = section.phase else { continue };
                if section.node != Some(node) {
                    continue;
                }
                let state = &mut self.resources[resource];
                match froze {
                    Froze::Waiting => (section.phase, state.waiting) = (Phase::Waiting, state.waiting + 1),
                    Froze::Inside => (section.phase, state.inside) = (Phase::Inside, state.inside + 1),
                }
                self.settle(at, resource, until_ns, None);
            }
        }
    }

    /// Steps that wait although their deadline is long over.
    fn find_forgotten(&mut self) {
        let plan = &self.facts.plan;
        let (closed, stalled_ns) = (plan.closed.is_some(), self.calm_ns);
        let hit = |node| self.breakages.iter().any(|breakage| breakage.node == Some(node));
        for (number, (task, sections)) in plan.tasks.iter().zip(self.sections.tasks()).enumerate() {
            let due_ns = self.facts.origin_ns + task.arrival_ns;
            for (place, section) in sections.enumerate() {
                // In a closed loop no plan says when a task is due.
                let from_ns = if closed { section.asked_ns } else { due_ns };
                let deadline_ns = from_ns.saturating_add(plan.settings.deadline_ns);
                let over = deadline_ns.max(stalled_ns).saturating_add(GRACE_NS) < self.facts.end_ns;
                if over && section.phase == Phase::Waiting && !section.node.is_some_and(hit) {
                    let step = StepRef { task: TaskId(number as u32), step: place as u16 };
                    let note = "neither let in nor told, though its deadline is long over";
                    self.found.violated(AT_THE_END, || (vec![step], note.to_owned()));
                }
            }
        }
    }
}

fn shown(event: &Event) -> bool {
    matches!(event.what, What::Invoked | What::Granted { .. } | What::Lost) || event.node.is_none()
}

#[cfg(test)]
mod tests;
