//! How much a plan asks of its resources, and what it would show if nothing were kept apart.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap};

use super::closed::Unhindered;
use super::plan::Plan;
use super::resource::{Crowd, Mode, Resource, ResourceKind};
use super::task::Step;

/// Windows shorter than this are bursts: nothing arrives after the first tasks have begun.
const LEAST_WINDOW_NS: u64 = 100_000_000;

impl Plan {
    /// Tasks that arrive per second of the window; `None` of a burst, which has no rate, and of a closed loop, where that hangs on how
    /// soon callers are answered.
    #[must_use]
    pub fn arrivals_per_s(&self) -> Option<f64> {
        let window_ns = self.settings.window_ns;
        (self.closed.is_none() && window_ns >= LEAST_WINDOW_NS)
            .then(|| self.tasks.len() as f64 / (window_ns as f64 / 1e9))
    }

    /// The longest that any task is inside when nothing waits, and nothing exists yet.
    #[must_use]
    pub fn longest_hold_ns(&self) -> u64 {
        let longest_ns = |step: Step| step.hold_ns.max(step.create_ns.unwrap_or(0));
        self.tasks.iter().map(|task| task.steps().map(longest_ns).sum()).max().unwrap_or(0)
    }

    /// When the last of all deadlines is over, from the start of the run. In a closed loop each step has one of its own.
    #[must_use]
    pub fn last_deadline_ns(&self) -> u64 {
        let deadline_ns = self.settings.deadline_ns;
        if self.closed.is_none() {
            return self.tasks.last().map_or(0, |task| task.arrival_ns) + deadline_ns;
        }
        let steps = self.tasks.iter().map(|task| task.step_count()).max().unwrap_or(0) as u64;
        self.settings.window_ns + deadline_ns.saturating_mul(steps)
    }

    /// Whether every resource of a task is of level 0, so that nothing has to be kept apart.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.resources.iter().all(|resource| resource.level == 0 || resource.kind == ResourceKind::Bystander)
    }

    /// Load ρ of each resource of level ≥ 1, the busiest first. What is found or created is created once. A closed loop has none: its
    /// callers ask no more than they are served.
    #[must_use]
    pub fn loads(&self) -> Vec<(Resource, f64)> {
        if self.closed.is_some() {
            return Vec::new();
        }
        let mut busy_ns = vec![0_u64; self.resources.len()];
        let mut create_ns = vec![0_u64; self.resources.len()];
        for task in self.tasks.iter() {
            for (place, step) in task.steps().enumerate() {
                let resource = step.resource as usize;
                busy_ns[resource] += task.inside_ns(place as u16);
                create_ns[resource] = create_ns[resource].max(step.create_ns.unwrap_or(0));
            }
        }
        busy_ns.iter_mut().zip(create_ns).for_each(|(busy_ns, create_ns)| *busy_ns += create_ns);
        let window = self.settings.window_ns.max(1) as f64;
        let mut loads: Vec<_> =
            self.resources.iter().zip(busy_ns).filter(|(resource, _)| resource.level > 0).collect();
        loads.retain(|(_, busy)| *busy > 0);
        let mut loads: Vec<_> = loads
            .into_iter()
            .map(|(resource, busy)| (*resource, busy as f64 / f64::from(resource.level) / window))
            .collect();
        loads.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        loads
    }

    /// How many entries would find the resource full if nobody ever waited: what the control `none` should show.
    #[must_use]
    pub fn overlaps_without_exclusion(&self) -> u64 {
        let mut crossed =
            Crossed { plan: self, inside: vec![Crowd::default(); self.resources.len()], overlaps: 0 };
        // What is still to come of the tasks that have arrived.
        let mut edges = BinaryHeap::new();
        let mut exists_from_ns: Vec<Option<u64>> = vec![None; self.resources.len()];
        // Who holds for longer asks later, in a twin of this plan.
        let mut callers = self.closed.map(|closed| Unhindered::new(closed, self.settings.seed));
        for task in self.tasks.iter() {
            let asked = callers.as_mut().and_then(|callers| callers.take(task.inside_ns(0)));
            let mut start_ns = asked.map_or(task.arrival_ns, |(at_ns, _)| at_ns);
            if self.closed.is_some() && start_ns >= self.settings.window_ns {
                break;
            }
            while let Some(next) =
                edges.peek_mut().filter(|next: &PeekMut<'_, Reverse<Edge>>| next.0.at_ns < start_ns)
            {
                crossed.cross(PeekMut::pop(next).0);
            }
            for (place, step) in task.steps().enumerate() {
                let resource = step.resource as usize;
                let exists = exists_from_ns[resource].is_some_and(|from_ns| from_ns <= start_ns);
                let own_ns = step.create_ns.filter(|_| !exists).unwrap_or(step.hold_ns);
                if step.create_ns.is_some() {
                    exists_from_ns[resource].get_or_insert(start_ns + own_ns);
                }
                if self.resources[resource].level > 0 {
                    let inside_ns = task.inside_ns(place as u16) - step.hold_ns + own_ns;
                    let edge =
                        |at_ns, way| Reverse(Edge { at_ns, way, mode: step.mode, resource: step.resource });
                    if inside_ns == 0 {
                        edges.push(edge(start_ns, Way::Through));
                    } else {
                        edges.extend([edge(start_ns, Way::In), edge(start_ns + inside_ns, Way::Out)]);
                    }
                }
                start_ns += own_ns;
            }
        }
        while let Some(Reverse(edge)) = edges.pop() {
            crossed.cross(edge);
        }
        crossed.overlaps
    }

    /// A twin of this plan in which every step of level ≥ 1 holds for `least_ns` at least, everything else the same. The control
    /// `none` runs on it when even one key would see too few overlaps, since nothing is held for long.
    #[must_use]
    pub fn stretched(&self, least_ns: u64) -> Self {
        let mut twin = self.clone();
        let resources = &twin.resources;
        twin.tasks.change(|task| {
            let kept_apart = |step: &&mut Step| resources[step.resource as usize].level > 0;
            task.steps
                .iter_mut()
                .filter(kept_apart)
                .for_each(|step| step.hold_ns = step.hold_ns.max(least_ns));
        });
        twin
    }

    /// A twin of this plan with `1/fold` of the keys: all ids divided by `fold`, everything else the same. The
    /// control `none` runs on it when the plan alone predicts too few overlaps.
    #[must_use]
    pub fn folded(&self, fold: u32) -> Self {
        let mut twin = self.clone();
        for resource in &mut twin.resources {
            if resource.kind != ResourceKind::Bystander {
                resource.id /= fold.max(1);
            }
        }
        // Equal resources must share one state at the agent: point all steps to the first of its name.
        let mut first = BTreeMap::new();
        for (place, resource) in twin.resources.iter().enumerate() {
            first.entry((resource.kind, resource.id)).or_insert(place as u32);
        }
        let canonical: Vec<u32> = twin.resources.iter().map(|r| first[&(r.kind, r.id)]).collect();
        twin.tasks.change(|task| {
            task.steps.iter_mut().for_each(|step| step.resource = canonical[step.resource as usize]);
        });
        twin
    }
}

/// A step goes in or out. By time; of one time, those that leave come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    at_ns: u64,
    way: Way,
    mode: Mode,
    resource: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Out,
    In,
    /// In, and out at the same time.
    Through,
}

/// Who is inside where nobody ever waits.
struct Crossed<'a> {
    plan: &'a Plan,
    inside: Vec<Crowd>,
    overlaps: u64,
}

impl Crossed<'_> {
    fn cross(&mut self, Edge { way, mode, resource, .. }: Edge) {
        let inside = &mut self.inside[resource as usize];
        if way != Way::Out {
            *inside.of(mode) += 1;
            self.overlaps += u64::from(inside.slots() > self.plan.resources[resource as usize].level);
        }
        if way != Way::In {
            *inside.of(mode) -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::fixture::{plan, step};
    use super::super::task::StepTree;
    use super::*;

    #[test]
    fn a_rate_is_of_the_window_and_a_burst_has_none() {
        let roots = (0..50).map(|id| (u64::from(id), step(ResourceKind::Vm, id, 0, vec![]))).collect();
        let mut plan = plan(roots).unwrap();
        assert_eq!(plan.arrivals_per_s(), None);
        plan.settings.window_ns = 500_000_000;
        assert_eq!(plan.arrivals_per_s(), Some(100.0));
    }

    #[test]
    fn load_counts_the_children_and_divides_by_window_and_level() {
        use ResourceKind::{Host, Vm};
        let plan = plan(vec![(0, step(Vm, 1, 100, vec![step(Host, 1, 300, vec![])]))]).unwrap();
        // vm: (100 + 300) / 1000; host: 300 / 1000.
        assert_eq!(plan.loads().iter().map(|(_, rho)| *rho).collect::<Vec<_>>(), [0.4, 0.3]);
    }

    #[test]
    fn overlaps_are_predicted_and_folding_makes_more_of_them() {
        use ResourceKind::Vm;
        let roots = (0..10).map(|id| (u64::from(id) * 10, step(Vm, id, 50, vec![]))).collect();
        let plan = plan(roots).unwrap();
        assert_eq!(plan.overlaps_without_exclusion(), 0);
        // One key: each but the first arrives while an earlier one is inside.
        assert_eq!(plan.folded(10).overlaps_without_exclusion(), 9);
        assert_ne!(plan.digest(), plan.folded(10).digest());
    }

    #[test]
    fn who_does_not_stay_overlaps_with_who_is_inside_and_with_nobody_else() {
        use ResourceKind::Vm;
        let at = |ns, hold_ns| (ns, step(Vm, 1, hold_ns, vec![]));
        assert_eq!(plan(vec![at(0, 0), at(0, 0), at(5, 0)]).unwrap().overlaps_without_exclusion(), 0);
        assert_eq!(plan(vec![at(0, 10), at(5, 0), at(10, 0)]).unwrap().overlaps_without_exclusion(), 1);
    }

    #[test]
    fn without_exclusion_everybody_creates_who_comes_before_the_first_is_done() {
        let find = |id| StepTree { create_ns: Some(100), ..step(ResourceKind::Router, id, 5, vec![]) };
        let at = |ns: &[u64]| plan(ns.iter().map(|ns| (*ns, find(1))).collect()).unwrap();
        // The second comes while the first creates, the third when it is done but the second is not.
        let stampede = at(&[0, 99, 100, 300]);
        assert_eq!(stampede.overlaps_without_exclusion(), 2);
        assert_eq!(stampede.longest_hold_ns(), 100);
        // One creation, and four looks, of a window of 1,000.
        assert_eq!(stampede.loads()[0].1, 0.12);
        assert_eq!(at(&[0, 100, 105]).overlaps_without_exclusion(), 0);
    }

    #[test]
    fn a_plan_is_unlimited_when_all_its_tasks_are() {
        let at_level = |level| {
            let limited = step(ResourceKind::Host, 1, 5, vec![]);
            StepTree { resource: Resource { level, ..limited.resource }, ..limited }
        };
        assert!(plan(vec![(0, at_level(0)), (1, at_level(0))]).unwrap().is_unlimited());
        assert!(!plan(vec![(0, at_level(1))]).unwrap().is_unlimited());
        let vm = step(ResourceKind::Vm, 1, 5, vec![]);
        assert!(!plan(vec![(0, at_level(0)), (1, vm)]).unwrap().is_unlimited());
    }
}
