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
            FaultTarget::Holder | FaultTarget::Server | FaultTarget::Leader => true,
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
    /// From the fault to the next entry of its slot.
    freed_ns: Option<u64>,
    /// A later token has entered.
    later: bool,
    stage: Stage,
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
        Self { facts, section, resource, regressed, rejected, freed_ns: None, later, stage }
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
            What::Entered { slot, token, .. } if *slot == hit.slot && step != hit.step => {
                self.freed_ns.get_or_insert(event.at_ns - from_ns);
                self.later |= *token > hit.token;
                if self.stage == Stage::Left {
                    self.stage = Stage::Followed;
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
mod tests {
    use super::*;
    use crate::judge::fixture::{Told, completed, granted, left, run, with_a_child};
    use crate::model::{Fault, FaultVerb, LinkTo, TaskId, Token};

    const MS: u64 = 1_000_000;

    fn entered(sequence: u64, value: u64) -> What {
        What::Entered { slot: Some(0), token: Some(Token { generation: 0, sequence }), value }
    }

    fn told(facts: &Facts, events: &[Event]) -> FaultFacts {
        let Ok(told) = aftermath(facts, events);
        told
    }

    /// Task 0 is hit at 10 ms for 30 ms.
    fn hit(verb: FaultVerb, table: &[(u64, u32, What)]) -> FaultRecord {
        let mut run = run(1, 3, table);
        let hit = Section {
            node: NodeId(0),
            step: StepRef { task: TaskId(0), step: 0 },
            slot: Some(0),
            token: Some(Token { generation: 0, sequence: 1 }),
        };
        let (target, link) = (FaultTarget::Holder, LinkTo::Server);
        let fault = Fault { at_ns: 9_000_000, for_ns: 30_000_000, verb, target, link };
        run.facts.injected.push(Injected {
            fault,
            lasted_ns: Some((10_000_000, 40_000_000)),
            node: Some(NodeId(0)),
            member: None,
            hit: vec![hit],
            misses: 2,
            failure: None,
        });
        told(&run.facts, &run.events).faults.remove(0)
    }

    /// Something that was broken from 2,000 to 4,000 ms.
    fn broken(mut run: Told, target: FaultTarget, verb: FaultVerb) -> FaultFacts {
        let fault = Fault { at_ns: 9, for_ns: 9, verb, target, link: LinkTo::Server };
        let lasted_ns = Some((2_000 * MS, 4_000 * MS));
        let (node, member, hit, misses, failure) = (None, None, Vec::new(), 0, None);
        run.facts.injected.push(Injected { fault, lasted_ns, node, member, hit, misses, failure });
        told(&run.facts, &run.events)
    }

    fn ended(outcome: Outcome) -> What {
        What::Returned { outcome }
    }

    #[test]
    fn entries_and_completed_tasks_are_told_from_before_and_from_the_first_second_of_a_fault() {
        let at = |ms: u64, task| (ms, task, completed());
        let table = [
            (100, 0, entered(1, 0)),
            at(999, 0),
            at(1_000, 1),
            (1_500, 2, ended(Outcome::TimedOut)),
            (1_999, 3, entered(2, 0)),
            at(1_999, 3),
            (2_000, 4, entered(3, 0)),
            at(2_000, 4),
            at(2_500, 5),
            at(2_999, 6),
            at(3_000, 7),
        ];
        let facts = broken(run(1, 8, &table), FaultTarget::Server, FaultVerb::Kill);
        let fault = &facts.faults[0];
        assert_eq!((facts.entries_before, fault.completed_before, fault.completed_after), (2, 2, 3));
        let nothing_broken = run(1, 8, &table);
        assert_eq!(told(&nothing_broken.facts, &nothing_broken.events).entries_before, 0);
    }

    #[test]
    fn whether_the_system_came_back_is_asked_of_whole_tasks_alone() {
        let table = |root: Outcome| {
            [
                (1, false, ended(root.clone())),
                (2, true, ended(Outcome::Completed)),
                (3, true, ended(Outcome::TimedOut)),
            ]
        };
        let last =
            |table: &[(u64, bool, What)]| broken(with_a_child(table), FaultTarget::Server, FaultVerb::Kill);
        assert!(last(&table(Outcome::Completed)).last_completed);
        assert!(!last(&table(Outcome::TimedOut)[..2]).last_completed);
        let [root, child, _] =
            table(Outcome::Completed).map(|(at, of_child, what)| (at + 1_500, of_child, what));
        assert_eq!(last(&[root.clone(), child.clone()]).faults[0].completed_before, 1);
        assert_eq!(last(&[child]).faults[0].completed_before, 0);
    }

    #[test]
    fn a_fault_meets_what_is_due_before_its_end_and_returns_from_its_beginning_on() {
        let met = |due_ms: u64, returned_ms: u64| {
            let mut run = run(1, 1, &[(returned_ms, 0, completed())]);
            run.facts.origin_ns = 1_000 * MS;
            let plan = std::sync::Arc::make_mut(&mut run.facts.plan);
            plan.tasks.change(|task| task.arrival_ns = due_ms * MS);
            broken(run, FaultTarget::Server, FaultVerb::Kill).faults[0].effective
        };
        assert!(met(0, 2_000) && !met(0, 1_999));
        assert!(met(2_999, 9_000) && !met(3_000, 9_000));
    }

    #[test]
    fn a_change_of_the_ring_is_effective_where_a_key_moved() {
        let joined = |second: u16| {
            let mut run = run(
                1,
                2,
                &[
                    (1, 0, What::Invoked),
                    (2, 0, granted(1)),
                    (3, 0, entered(1, 0)),
                    (9, 0, left(1)),
                    (10, 0, completed()),
                    (2_500, 1, What::Invoked),
                    (2_501, 1, granted(2)),
                    (2_502, 1, entered(2, 1)),
                ],
            );
            run.events.iter_mut().filter(|event| event.step.task.0 == 1 && event.node.is_some()).for_each(
                |event| {
                    event.node = Some(NodeId(second));
                },
            );
            run.facts.promises.one_owner = true;
            let fault =
                broken(run, FaultTarget::Node(NodeId(0)), FaultVerb::Join { late: None }).faults.remove(0);
            (fault.moved_keys, fault.effective)
        };
        assert_eq!(joined(0), (0, false), "the second task was open, but every key stayed");
        assert_eq!(joined(1), (1, true));
    }

    #[test]
    fn what_others_do_is_not_what_a_section_that_was_hit_does() {
        let lapsed = |token| What::Entered { slot: Some(0), token, value: 0 };
        let own = Some(Token { generation: 0, sequence: 1 });
        let freed = |table: &[(u64, u32, What)]| {
            let record = hit(FaultVerb::Pause, table);
            (record.freed_ns.map(|ns| ns / MS), record.regressions, record.rejections)
        };
        // It enters again itself, or somebody enters another slot: its own is not free.
        assert_eq!(freed(&[(5, 0, entered(1, 0)), (20, 0, entered(3, 0)), (30, 0, left(1))]), (None, 0, 0));
        let elsewhere = What::Entered { slot: Some(1), token: own, value: 0 };
        assert_eq!(freed(&[(5, 0, entered(1, 0)), (20, 1, elsewhere), (30, 0, left(1))]), (None, 0, 0));
        // Somebody enters by the same token: that is none later.
        assert_eq!(freed(&[(5, 0, entered(1, 0)), (20, 1, lapsed(own)), (30, 0, left(1))]), (Some(10), 0, 0));
        // Another leaves without a write, or is refused: it has not.
        let others = [
            (5, 0, entered(1, 0)),
            (20, 1, entered(2, 0)),
            (25, 1, What::Rejected { reason: "superseded".into() }),
            (30, 0, left(1)),
            (35, 1, What::Left { wrote: None }),
        ];
        assert_eq!(freed(&others), (Some(10), 1, 0));
    }

    #[test]
    fn entries_of_other_resources_and_of_bystanders_free_nothing() {
        let mut run =
            with_a_child(&[(5, false, entered(1, 0)), (20, true, entered(2, 0)), (21, true, entered(2, 0))]);
        run.events[2].step.task = TaskId::bystander(NodeId(0), 0);
        let step = StepRef { task: TaskId(0), step: 0 };
        let hit = vec![Section { node: NodeId(0), step, slot: Some(0), token: None }];
        let fault = Fault {
            at_ns: 9,
            for_ns: 9,
            verb: FaultVerb::Pause,
            target: FaultTarget::Holder,
            link: LinkTo::Server,
        };
        let lasted_ns = Some((10 * MS, 40 * MS));
        let (node, member, misses, failure) = (None, None, 0, None);
        run.facts.injected.push(Injected { fault, lasted_ns, node, member, hit, misses, failure });
        let record = told(&run.facts, &run.events).faults.remove(0);
        assert_eq!((record.hits, record.freed_ns), (1, None));
    }

    #[test]
    fn a_write_after_a_later_token_has_entered_is_a_regression() {
        let overlap = [(5, 0, entered(1, 0)), (25, 1, entered(2, 0)), (41, 0, left(1)), (45, 1, left(1))];
        let record = hit(FaultVerb::Pause, &overlap);
        assert_eq!((record.hits, record.regressions, record.rejections), (1, 1, 0));
        assert_eq!(record.freed_ns, Some(15_000_000));
        assert_eq!(record.misses, 2);
    }

    #[test]
    fn the_time_without_service_is_the_longest_between_two_entries_from_the_fault_on() {
        let served =
            |table: &[(u64, u32, What)]| hit(FaultVerb::Pause, table).unserved_ns.unwrap() / 1_000_000;
        let gap = [(5, 0, entered(1, 0)), (12, 1, entered(2, 0)), (38, 2, entered(3, 0))];
        assert_eq!(served(&gap), 26, "from 12 to 38 ms; the one before the fault does not count");
        let late = [(5, 0, entered(1, 0)), (35, 1, entered(2, 0)), (90, 2, entered(3, 0))];
        assert_eq!(served(&late), 55, "to the first entry after its end at 40 ms");
    }

    #[test]
    fn a_holder_that_nobody_followed_in_time_is_no_regression() {
        let waited = [(5, 0, entered(1, 0)), (41, 0, left(1)), (42, 1, entered(2, 1)), (45, 1, left(2))];
        let record = hit(FaultVerb::Pause, &waited);
        assert_eq!((record.hits, record.regressions), (1, 0));
        assert_eq!(record.freed_ns, Some(32_000_000), "it was waited for");
    }

    #[test]
    fn a_fault_is_effective_where_it_met_something() {
        let effective = |target: FaultTarget, verb, table: &[(u64, u32, What)]| {
            let mut run = run(1, 3, table);
            let fault = Fault { at_ns: 9, for_ns: 9, verb, target, link: LinkTo::Server };
            let lasted_ns = Some((10_000_000, 40_000_000));
            let (node, member, hit, misses, failure) = (None, None, Vec::new(), 0, None);
            run.facts.injected.push(Injected { fault, lasted_ns, node, member, hit, misses, failure });
            told(&run.facts, &run.events).faults[0].effective
        };
        let busy = [(5, 0, entered(1, 0)), (25, 1, entered(2, 0)), (41, 0, left(1)), (45, 1, left(1))];
        assert!(hit(FaultVerb::Pause, &busy).effective, "somebody was inside");
        assert!(!effective(FaultTarget::Holder, FaultVerb::Pause, &busy), "nobody was");
        let server = |table: &[(u64, u32, What)]| effective(FaultTarget::Server, FaultVerb::Kill, table);
        let returned = |at, task| (at, task, What::Returned { outcome: Outcome::Completed });
        assert!(server(&[returned(8, 0), returned(9, 1), returned(11, 2)]), "one task was open");
        assert!(!server(&[returned(7, 0), returned(8, 1), returned(9, 2)]), "all had returned");
        let node = |node| effective(FaultTarget::Node(NodeId(node)), FaultVerb::Kill, &busy);
        assert!(node(0) && !node(1), "all tasks enter at node 0");
    }

    #[test]
    fn a_refused_write_and_a_leave_without_effect_are_no_regressions() {
        let refused = [
            (5, 0, entered(1, 0)),
            (25, 0, What::Superseded),
            (25, 1, entered(2, 0)),
            (41, 0, What::Rejected { reason: "superseded".into() }),
            (41, 0, What::Left { wrote: None }),
        ];
        let record = hit(FaultVerb::Pause, &refused);
        assert_eq!((record.regressions, record.rejections), (0, 1));
    }

    #[test]
    fn a_killed_holder_s_key_is_free_at_the_next_entry() {
        let killed = [(5, 0, entered(1, 0)), (11, 0, What::Abandoned), (30, 1, entered(2, 0))];
        let record = hit(FaultVerb::Kill, &killed);
        assert_eq!((record.regressions, record.freed_ns), (0, Some(20_000_000)));
    }
}
