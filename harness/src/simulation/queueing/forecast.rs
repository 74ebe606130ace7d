//! A plan gone through, event by event.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::costs::{Costs, Route};
use super::station::Station;
use crate::model::{Histogram, Plan, StepRef, TaskId};

/// Steps that are open at one time, above which what is asked for is more than can be carried.
const MOST_OPEN: usize = 2_000_000;

/// What a plan would take.
#[derive(Debug, Clone, Default)]
pub struct Forecast {
    /// Asked to entered; the first step of a task counts from the intended start. Steps of level 0 are not in it, unless all are.
    pub wait: Histogram,
    /// Whole tasks: what the response is longer than the planned work.
    pub excess: Histogram,
    /// Tasks that ended.
    pub completed: u64,
    /// When the last of them did, from the start.
    pub end_ns: u64,
    /// Whether it was given up since too much was open.
    pub overrun: bool,
    /// Steps that were open at one time, at most.
    pub most_open: usize,
}

/// What happens next to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Its task is due.
    Due,
    /// The request has come to the server, or the owner.
    Arrived,
    /// It has been worked on: let in, or in line.
    Decided,
    /// Its node hears that it is let in.
    Granted,
    /// It is inside.
    Inside,
    /// Hold or child is over.
    Worked,
    /// The release has come.
    Released,
    /// It has been worked on: the next one's turn.
    Freed,
    /// The caller may go on.
    Returned,
}

/// A step that is open.
#[derive(Debug, Clone, Copy)]
struct Open {
    step: StepRef,
    parent: Option<u32>,
    /// Where it was asked for.
    asked_at: u16,
    /// Where it runs.
    runs_at: u16,
    asked_ns: u64,
    /// The next of its children; past its subtree when all are over.
    next: u16,
}

/// Who is inside of a resource, and who waits.
#[derive(Debug, Default)]
struct Line {
    inside: u32,
    waiting: VecDeque<u32>,
}

struct Course<'a> {
    plan: &'a Plan,
    costs: &'a Costs,
    /// By resource.
    owners: &'a [u16],
    nodes: Vec<Station>,
    server: Station,
    /// Nodes and server, where they share processors.
    machine: Option<Station>,
    /// What happens when, in the order of its planning where at one time.
    next: BinaryHeap<Reverse<(u64, u64, Stage, u32)>>,
    planned: u64,
    open: Vec<Open>,
    /// Places in `open` that are free again.
    spare: Vec<u32>,
    lines: Vec<Line>,
    /// Whether all resources are of level 0.
    unlimited: bool,
    told: Forecast,
}

/// What a plan takes at these costs, its faults left aside. Owners are nodes by resource; nobody asks for them where steps run where
/// they were asked for. Same plan, same forecast.
#[must_use]
pub fn forecast(plan: &Plan, costs: &Costs, owners: &[u16]) -> Forecast {
    let mut course = Course {
        plan,
        costs,
        owners,
        nodes: vec![Station::new(costs.node_width); usize::from(plan.settings.nodes)],
        server: Station::new(costs.server_width),
        machine: costs.shared.map(Station::new),
        next: BinaryHeap::new(),
        planned: 0,
        open: Vec::new(),
        spare: Vec::new(),
        lines: plan.resources.iter().map(|_| Line::default()).collect(),
        unlimited: plan.is_unlimited(),
        told: Forecast::default(),
    };
    let mut tasks = (0..).zip(plan.tasks.iter()).peekable();
    loop {
        let due = tasks.peek().map(|(_, task)| task.arrival_ns);
        let next = course.next.peek().map(|Reverse((at_ns, ..))| *at_ns);
        match (due, next) {
            (None, None) => break,
            (Some(due_ns), next) if next.is_none_or(|next_ns| due_ns <= next_ns) => {
                let (number, task) = tasks.next().expect("it was looked at");
                let step = StepRef { task: TaskId(number), step: 0 };
                course.ask(due_ns, step, None, task.entry.0);
            }
            _ => {
                let Some(Reverse((at_ns, _, stage, open))) = course.next.pop() else { break };
                course.go_on(at_ns, stage, open);
            }
        }
        let open = course.open.len() - course.spare.len();
        course.told.most_open = course.told.most_open.max(open);
        if open > MOST_OPEN {
            course.told.overrun = true;
            break;
        }
    }
    course.told
}

impl Course<'_> {
    fn plan_at(&mut self, at_ns: u64, stage: Stage, open: u32) {
        self.planned += 1;
        self.next.push(Reverse((at_ns, self.planned, stage, open)));
    }

    fn ask(&mut self, now_ns: u64, step: StepRef, parent: Option<u32>, asked_at: u16) {
        let runs_at = match self.costs.route {
            Route::Lock => asked_at,
            Route::Owner => {
                self.owners.get(self.plan.step(step).resource as usize).copied().unwrap_or(asked_at)
            }
        };
        let open = Open { step, parent, asked_at, runs_at, asked_ns: now_ns, next: step.step + 1 };
        let place = match self.spare.pop() {
            Some(place) => {
                self.open[place as usize] = open;
                place
            }
            None => {
                self.open.push(open);
                (self.open.len() - 1) as u32
            }
        };
        self.plan_at(now_ns, Stage::Due, place);
    }

    /// When a node has done half of its work for a step.
    fn node_ns(&mut self, node: u16, now_ns: u64) -> u64 {
        let work_ns = self.costs.node_ns / 2;
        match &mut self.machine {
            Some(machine) => machine.done_ns(now_ns, work_ns),
            None => self.nodes[usize::from(node)].done_ns(now_ns, work_ns),
        }
    }

    fn server_ns(&mut self, now_ns: u64) -> u64 {
        let work_ns = self.costs.at_server_ns();
        self.machine.as_mut().unwrap_or(&mut self.server).done_ns(now_ns, work_ns)
    }

    /// What a message takes between where a step was asked for and where it waits.
    fn way_ns(&self, open: &Open) -> u64 {
        match self.costs.route {
            Route::Owner if open.asked_at == open.runs_at => 0,
            _ => self.costs.one_way_ns,
        }
    }

    fn go_on(&mut self, now_ns: u64, stage: Stage, place: u32) {
        let open = self.open[place as usize];
        let resource = self.plan.step(open.step).resource as usize;
        let level = self.plan.resources[resource].level;
        let way_ns = self.way_ns(&open);
        match (stage, self.costs.route) {
            (Stage::Due, Route::Lock) if level == 0 => {
                let done_ns = self.node_ns(open.asked_at, now_ns);
                self.plan_at(done_ns, Stage::Inside, place);
            }
            (Stage::Due, _) => {
                let done_ns = self.node_ns(open.asked_at, now_ns);
                self.plan_at(done_ns + way_ns, Stage::Arrived, place);
            }
            (Stage::Arrived, Route::Lock) => {
                let done_ns = self.server_ns(now_ns);
                self.plan_at(done_ns, Stage::Decided, place);
            }
            (Stage::Arrived, Route::Owner) => {
                let done_ns = self.node_ns(open.runs_at, now_ns);
                self.plan_at(done_ns, Stage::Decided, place);
            }
            (Stage::Decided, _) => {
                let line = &mut self.lines[resource];
                if level == 0 || line.inside < level {
                    line.inside += 1;
                    self.let_in(now_ns, place, way_ns);
                } else {
                    line.waiting.push_back(place);
                }
            }
            (Stage::Granted, _) => {
                let done_ns = self.node_ns(open.runs_at, now_ns);
                self.plan_at(done_ns, Stage::Inside, place);
            }
            (Stage::Inside, _) => {
                if level > 0 || self.unlimited {
                    self.told.wait.record_ns(now_ns - open.asked_ns);
                }
                let hold_ns = self.plan.step(open.step).hold_ns;
                self.plan_at(now_ns + hold_ns, Stage::Worked, place);
            }
            (Stage::Worked, route) => self.work(now_ns, place, route, level, way_ns),
            (Stage::Released, _) => {
                let done_ns = self.server_ns(now_ns);
                self.plan_at(done_ns, Stage::Freed, place);
            }
            (Stage::Freed, route) => {
                self.pass_on(now_ns, resource, route);
                self.plan_at(now_ns + way_ns, Stage::Returned, place);
            }
            (Stage::Returned, _) => self.give_back(now_ns, place),
        }
    }

    fn let_in(&mut self, now_ns: u64, place: u32, way_ns: u64) {
        match self.costs.route {
            Route::Lock => self.plan_at(now_ns + way_ns, Stage::Granted, place),
            // It waited where it runs.
            Route::Owner => self.plan_at(now_ns, Stage::Inside, place),
        }
    }

    /// The next child, or the end.
    fn work(&mut self, now_ns: u64, place: u32, route: Route, level: u32, way_ns: u64) {
        let open = self.open[place as usize];
        let end = self.plan.step(open.step).end;
        if open.next < end {
            let child = StepRef { task: open.step.task, step: open.next };
            self.open[place as usize].next = self.plan.step(child).end;
            self.ask(now_ns, child, Some(place), open.runs_at);
            return;
        }
        let done_ns = self.node_ns(open.runs_at, now_ns);
        match route {
            Route::Lock if level == 0 => self.plan_at(done_ns, Stage::Returned, place),
            Route::Lock => self.plan_at(done_ns + way_ns, Stage::Released, place),
            Route::Owner => self.plan_at(done_ns, Stage::Freed, place),
        }
    }

    fn pass_on(&mut self, now_ns: u64, resource: usize, route: Route) {
        let Some(next) = self.lines[resource].waiting.pop_front() else {
            self.lines[resource].inside -= 1;
            return;
        };
        let told_ns = match route {
            Route::Lock => self.server_ns(now_ns),
            Route::Owner => now_ns,
        };
        let way_ns = self.way_ns(&self.open[next as usize]);
        self.let_in(told_ns, next, way_ns);
    }

    fn give_back(&mut self, now_ns: u64, place: u32) {
        let open = self.open[place as usize];
        self.spare.push(place);
        if let Some(parent) = open.parent {
            let Open { step, .. } = self.open[parent as usize];
            let level = self.plan.resource(step).level;
            let way_ns = self.way_ns(&self.open[parent as usize]);
            return self.work(now_ns, parent, self.costs.route, level, way_ns);
        }
        let task = self.plan.task(open.step.task);
        let planned_ns: u64 = task.steps().map(|step| step.hold_ns).sum();
        self.told.excess.record_ns(now_ns.saturating_sub(task.arrival_ns + planned_ns));
        self.told.completed += 1;
        self.told.end_ns = self.told.end_ns.max(now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Arrival, Holder, Mode, NodeId, PlanSettings, Resource, ResourceKind, StepTree};

    const MS: u64 = 1_000_000;

    const LOCK: Costs = Costs {
        route: Route::Lock,
        node_ns: 2 * MS,
        node_width: 1,
        server_ns: 3 * MS,
        server_width: 1,
        one_way_ns: 10 * MS,
        background: 0.0,
        shared: None,
    };

    /// Tasks of two nodes on one VM, in each of which a host, that hold for so long.
    fn plan(at_ms: &[u64], hold_ms: u64, host_ms: Option<u64>) -> Plan {
        let settings = PlanSettings {
            seed: 1,
            nodes: 2,
            window_ns: 1_000 * MS,
            deadline_ns: MS,
            holder: Holder::Checks,
        };
        let step = |kind, hold_ms, children| StepTree {
            resource: Resource { kind, id: 0, level: 1 },
            mode: Mode::Exclusive,
            hold_ns: hold_ms * MS,
            create_ns: None,
            children,
        };
        let arrivals = at_ms.iter().zip(0_u16..).map(|(at_ms, number)| {
            let host = host_ms.map(|hold_ms| step(ResourceKind::Host, hold_ms, vec![]));
            let root = step(ResourceKind::Vm, hold_ms, host.into_iter().collect());
            Arrival { kind: 0, at_ns: at_ms * MS, entry: NodeId(number % 2), root }
        });
        Plan::new(settings, vec!["vm".to_owned()], arrivals).unwrap()
    }

    /// The longest wait and the longest excess, in ms, as exactly as a histogram tells them.
    fn longest(told: &Forecast) -> [u64; 2] {
        [&told.wait, &told.excess].map(|one| (one.max_ns().unwrap() as f64 / MS as f64).round() as u64)
    }

    #[test]
    fn a_lock_that_nobody_else_wants_takes_two_round_trips_and_the_work_for_them() {
        let told = forecast(&plan(&[0], 100, None), &LOCK, &[]);
        // Asked: node 1, way 10, server 3, way 10, node 1. Released: node 1, way 10, server 3, way 10.
        assert_eq!((longest(&told), told.completed), ([25, 49], 1));
        let busy = Costs { background: 0.5, ..LOCK };
        assert_eq!(longest(&forecast(&plan(&[0], 100, None), &busy, &[])), [28, 55], "half a server");
    }

    #[test]
    fn whoever_waits_is_let_in_when_the_one_before_has_released() {
        let told = forecast(&plan(&[0, 0], 100, None), &LOCK, &[]);
        // The first: inside at 25 until 125, its release done at 139; the hand-over takes 3, a way and 1.
        assert_eq!((longest(&told)[0], told.completed), (153, 2));
    }

    #[test]
    fn an_owner_passes_on_without_a_message() {
        let owner = Costs { route: Route::Owner, ..LOCK };
        let told = forecast(&plan(&[0, 0], 100, None), &owner, &[0, 0, 0]);
        // The one at the owner: 1 to ask, 1 there, inside at 2 until 102, freed at 103. The other came at 12.
        assert_eq!((longest(&told)[0], told.completed), (103, 2));
        let alone = forecast(&plan(&[0], 100, None), &owner, &[1, 1, 1]);
        // 1, a way, 1, inside; 1, and a way back.
        assert_eq!(longest(&alone), [12, 23]);
    }

    #[test]
    fn children_are_asked_for_while_the_outer_step_is_inside() {
        let told = forecast(&plan(&[0], 100, Some(40)), &LOCK, &[]);
        // The child's 49 come on top.
        assert_eq!((longest(&told)[1], told.wait.count()), (98, 2));
    }

    #[test]
    fn what_shares_its_processors_waits_for_them() {
        let tasks: Vec<u64> = vec![0; 50];
        let apart = forecast(&plan(&tasks, 0, None), &LOCK, &[]);
        let together = forecast(&plan(&tasks, 0, None), &Costs { shared: Some(1), ..LOCK }, &[]);
        assert!(together.end_ns > apart.end_ns, "{} {}", together.end_ns, apart.end_ns);
        assert_eq!((apart.completed, together.completed), (50, 50));
    }
}
