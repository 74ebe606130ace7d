//! What came of the faults of a run, read off its history in one pass.

use super::moved::{Move, Moved, Moving};
use crate::model::{Event, Events, Facts, FaultTarget, Injected, NodeId, Outcome, Section, StepRef, What};
use crate::record::{FaultFacts, FaultRecord};

/// The facts about a run's faults; empty where none was planned.
///
/// # Errors
/// Those of the history.
pub fn aftermath<E: Events + ?Sized>(facts: &Facts, events: &E) -> Result<FaultFacts, E::Error> {
    let mut seeing = Seeing::new(facts);
    events.pass(&mut |_, event| seeing.see(event))?;
    Ok(seeing.finish())
}

struct Seeing<'a> {
    facts: &'a Facts,
    /// When the first fault began.
    first_ns: Option<u64>,
    entries_before: u64,
    /// Whether the last task to return completed.
    last_completed: bool,
    moving: Option<Moving<'a>>,
    faults: Vec<(&'a Injected, Option<Following<'a>>)>,
}

impl<'a> Seeing<'a> {
    fn new(facts: &'a Facts) -> Self {
        let lasted = facts.injected.iter().filter_map(|fault| fault.lasted_ns);
        let following = |fault: &'a Injected| {
            (fault, fault.lasted_ns.map(|lasted_ns| Following::new(facts, fault, lasted_ns)))
        };
        Self {
            facts,
            first_ns: lasted.map(|(from_ns, _)| from_ns).min(),
            entries_before: 0,
            last_completed: false,
            moving: facts.promises.one_owner.then(|| Moving::new(facts)),
            faults: facts.injected.iter().map(following).collect(),
        }
    }

    fn see(&mut self, event: &Event) {
        match &event.what {
            What::Entered { .. } => {
                self.entries_before +=
                    u64::from(self.first_ns.is_some_and(|first_ns| event.at_ns < first_ns));
            }
            What::Returned { outcome } if event.step.step == 0 => {
                self.last_completed = *outcome == Outcome::Completed;
            }
            _ => {}
        }
        if let Some(moving) = &mut self.moving {
            moving.see(event);
        }
        self.faults
            .iter_mut()
            .filter_map(|(_, following)| following.as_mut())
            .for_each(|fault| fault.see(event));
    }

    fn finish(self) -> FaultFacts {
        let Self { facts, entries_before, last_completed, moving, faults, .. } = self;
        let moves = moving.map(Moving::finish).unwrap_or_default();
        let mut faults = faults.into_iter().peekable();
        let mut records = Vec::new();
        while let Some((injected, following)) = faults.next() {
            // Keys that move before the next fault moved because of this one.
            let next = faults.peek().and_then(|(next, _)| next.lasted_ns);
            let mut record = record(facts, injected);
            if let Some(following) = following {
                following.finish(&moves, next.map_or(u64::MAX, |(from_ns, _)| from_ns), &mut record);
            }
            records.push(record);
        }
        FaultFacts {
            planned: facts.plan.faults.len() as u64,
            faults: records,
            entries_before,
            last_completed,
            least: Vec::new(),
            least_share: None,
            freed_bound_ns: None,
        }
    }
}

/// What is known of a fault before the history is looked at.
fn record(facts: &Facts, injected: &Injected) -> FaultRecord {
    let since = |at_ns: u64| at_ns.saturating_sub(facts.origin_ns);
    FaultRecord {
        verb: injected.fault.to_string(),
        target: injected.fault.target.to_string(),
        node: injected.node.map(|node| node.0),
        member: injected.member.map(|place| place as u32),
        planned_ns: injected.fault.at_ns,
        from_ns: injected.lasted_ns.map(|(from_ns, _)| since(from_ns)),
        until_ns: injected.lasted_ns.map(|(_, until_ns)| since(until_ns)),
        misses: injected.misses,
        hits: 0,
        regressions: 0,
        rejections: 0,
        freed_ns: None,
        unserved_ns: None,
        moved_keys: 0,
        stall_ns: None,
        completed_before: 0,
        completed_after: 0,
        effective: false,
        failure: injected.failure.clone(),
    }
}

const SECOND_NS: u64 = 1_000_000_000;

/// A fault that came about, as the history goes by.
struct Following<'a> {
    facts: &'a Facts,
    injected: &'a Injected,
    from_ns: u64,
    until_ns: u64,
    hit: Vec<Hit<'a>>,
    /// Tasks that completed in the second before it, and in the one after its beginning.
    completed: [u64; 2],
    /// Of those that it concerns, the tasks that had returned before it.
    returned: usize,
    unserved: Unserved,
}

impl<'a> Following<'a> {
    fn new(facts: &'a Facts, injected: &'a Injected, (from_ns, until_ns): (u64, u64)) -> Self {
        let hit = injected.hit.iter().map(|section| Hit::new(facts, section)).collect();
        let unserved = Unserved { longest_ns: 0, last_ns: from_ns, over: false };
        Self { facts, injected, from_ns, until_ns, hit, completed: [0; 2], returned: 0, unserved }
    }

    /// Whether it concerns the tasks that enter there.
    fn concerns(&self, entry: NodeId) -> bool {
        match self.injected.fault.target {
            FaultTarget::Node(node) => entry == node,
            FaultTarget::Holder | FaultTarget::Server | FaultTarget::Leader | FaultTarget::At(_) => true,
        }
    }

    fn see(&mut self, event: &Event) {
        let (at_ns, from_ns) = (event.at_ns, self.from_ns);
        match &event.what {
            What::Returned { outcome } if event.step.step == 0 => {
                if *outcome == Outcome::Completed {
                    let before = (from_ns.saturating_sub(SECOND_NS)..from_ns).contains(&at_ns);
                    let after = (from_ns..from_ns + SECOND_NS).contains(&at_ns);
                    self.completed[0] += u64::from(before);
                    self.completed[1] += u64::from(after);
                }
                if at_ns < from_ns && self.concerns(self.facts.plan.task(event.step.task).entry) {
                    self.returned += 1;
                }
            }
            What::Entered { .. } if at_ns >= from_ns && !event.step.task.is_bystander() => {
                self.unserved.entered(at_ns, self.until_ns);
            }
            _ => {}
        }
        if at_ns >= from_ns {
            self.hit.iter_mut().for_each(|hit| hit.see(event, from_ns));
        }
    }

    fn finish(mut self, moves: &[Move], next_ns: u64, record: &mut FaultRecord) {
        let (from_ns, until_ns) = (self.from_ns, self.until_ns);
        [record.completed_before, record.completed_after] = self.completed;
        record.unserved_ns = Some(self.unserved.until(self.facts.end_ns));
        let moved = Moved::within(moves, from_ns, next_ns);
        (record.moved_keys, record.stall_ns) = (moved.resources.len() as u64, moved.stall_ns);
        let of_ring = self.injected.fault.verb.is_of_ring();
        if of_ring {
            let moved = Moved::within(moves, from_ns, until_ns).resources;
            self.hit.retain(|hit| moved.contains(&hit.resource));
        }
        record.hits = self.hit.len() as u64;
        for hit in &self.hit {
            record.regressions += u64::from(hit.regressed);
            record.rejections += u64::from(hit.rejected);
            record.freed_ns = record.freed_ns.max(hit.freed_ns);
        }
        record.effective = match self.injected.fault.target {
            FaultTarget::Holder => record.hits > 0,
            _ if of_ring => record.moved_keys > 0,
            // Somebody stood there, or it had not come about.
            FaultTarget::At(_) => true,
            FaultTarget::Node(_) | FaultTarget::Server | FaultTarget::Leader => self.met_an_open_task(),
        };
    }

    /// Whether a task was open while it lasted, that had entered at one of the nodes that it concerned.
    fn met_an_open_task(&self) -> bool {
        let due = |task: &crate::model::Planned<'_>| self.facts.origin_ns + task.arrival_ns < self.until_ns;
        let tasks = self.facts.plan.tasks.iter().filter(due);
        tasks.filter(|task| self.concerns(task.entry)).count() > self.returned
    }
}

/// The longest time without an entry, from the fault until the first entry after it was taken back.
struct Unserved {
    longest_ns: u64,
    last_ns: u64,
    over: bool,
}

impl Unserved {
    fn entered(&mut self, at_ns: u64, until_ns: u64) {
        if !self.over {
            self.longest_ns = self.longest_ns.max(at_ns - self.last_ns);
            self.last_ns = at_ns;
            self.over = at_ns >= until_ns;
        }
    }

    fn until(&self, end_ns: u64) -> u64 {
        let rest_ns = if self.over { 0 } else { end_ns.saturating_sub(self.last_ns) };
        self.longest_ns.max(rest_ns)
    }
}

/// A section that was hit, what became of it, and of its slot.
struct Hit<'a> {
    facts: &'a Facts,
    section: &'a Section,
    resource: u32,
    /// It wrote although a later token had entered its slot.
    regressed: bool,
    /// Its write was refused.
    rejected: bool,
    /// From the fault to the next entry of its slot, where it was wanted until then.
    freed_ns: Option<u64>,
    /// Who has asked for its resource since the fault, and when; `None` once somebody has entered.
    asked: Option<Vec<(StepRef, u64)>>,
    /// A later token has entered.
    later: bool,
    stage: Stage,
}

/// How exactly it must be known when a key was free, as a part of the time since the fault: a fifth.
const KNOWN: u64 = 5;

/// Whether a key was wanted until somebody entered, so many ns after the fault, and not just found free, for nobody knows how long: he
/// had waited, or somebody had asked in vain not long before.
fn was_wanted(asked: &[(StepRef, u64)], entered: StepRef, from_ns: u64, took_ns: u64) -> bool {
    let of_it = asked.iter().find(|(step, _)| *step == entered);
    // Before the fault.
    let Some((_, asked_ns)) = of_it else { return true };
    let after_ns = |ns: u64| ns - from_ns;
    let in_vain =
        asked.iter().filter(|(step, ns)| *step != entered && ns <= asked_ns).map(|(_, ns)| *ns).max();
    KNOWN * (took_ns - after_ns(*asked_ns)) >= took_ns
        || in_vain.is_some_and(|ns| KNOWN * (took_ns - after_ns(ns)) <= took_ns)
}

/// How far a section that was hit has come.
#[derive(PartialEq, Eq)]
enum Stage {
    Inside,
    Left,
    /// It has left, and somebody has entered after it.
    Followed,
}

impl<'a> Hit<'a> {
    fn new(facts: &'a Facts, section: &'a Section) -> Self {
        let resource = facts.plan.step(section.step).resource;
        let (regressed, rejected, later, stage) = (false, false, false, Stage::Inside);
        Self {
            facts,
            section,
            resource,
            regressed,
            rejected,
            freed_ns: None,
            asked: Some(Vec::new()),
            later,
            stage,
        }
    }

    /// An event from the fault on.
    fn see(&mut self, event: &Event, from_ns: u64) {
        let (hit, step) = (self.section, event.step);
        let same =
            |step: StepRef| !step.task.is_bystander() && self.facts.plan.step(step).resource == self.resource;
        if self.stage == Stage::Followed || !same(step) {
            return;
        }
        match &event.what {
            What::Invoked => {
                if let Some(asked) = &mut self.asked {
                    asked.push((step, event.at_ns));
                }
            }
            What::Entered { slot, token, .. } if *slot == hit.slot && step != hit.step => {
                if let Some(asked) = self.asked.take() {
                    let took_ns = event.at_ns - from_ns;
                    self.freed_ns = was_wanted(&asked, step, from_ns, took_ns).then_some(took_ns);
                }
                self.later |= *token > hit.token;
                if self.stage == Stage::Left {
                    self.stage = Stage::Followed;
                }
            }
            // It found another place.
            What::Entered { .. } => {
                if let Some(asked) = &mut self.asked {
                    asked.retain(|(asked, _)| *asked != step);
                }
            }
            What::Rejected { .. } if step == hit.step => self.rejected = true,
            What::Left { wrote } if step == hit.step => {
                self.regressed = self.later && wrote.is_some();
                self.stage = Stage::Left;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
