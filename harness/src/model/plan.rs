//! What will run: every arrival, entry node, step tree and hold of a run, drawn from one seed. Data only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::closed::Closed;
use super::fault::{Fault, FaultTarget, FaultVerb};
use super::id::{StepRef, TaskId};
use super::resource::{Mode, Resource, ResourceKind};
use super::seed::splitmix;
use super::task::{Arrival, Step, StepTree, Task};
use super::tasks::{Planned, Tasks};

/// What a holder does about its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// Never looks at it.
    Oblivious,
    /// Looks just before it leaves.
    #[default]
    Checks,
    /// Cancels its hold when the lease is lost.
    Stops,
}

/// What users do whose node is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryPolicy {
    /// They know one node: what it cannot take is refused, and what it had taken may have happened.
    #[default]
    Sticky,
    /// Whoever comes while it is down goes to the next node that lives. Nobody asks twice.
    Any,
    /// As `any`; and whose node dies while he waits asks the next one again, under the task's own id, by which the agent
    /// knows what it has applied already.
    Failover,
}

/// Settings of a plan that are not drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSettings {
    /// Seed of everything drawn, slot orders included.
    pub seed: u64,
    /// Management nodes.
    pub nodes: u16,
    /// Length of the arrival window.
    pub window_ns: u64,
    /// Deadline of a task, from its intended start.
    pub deadline_ns: u64,
    /// What holders do about their lease.
    pub holder: Holder,
}

/// Everything that a run will do. As JSON it is what the driver sends to nodes in other processes.
///
/// Invariant: nested steps take resources in the global order (kind, then id); every step's resource exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What was not drawn.
    pub settings: PlanSettings,
    /// Names of the kinds of task.
    pub kinds: Vec<String>,
    /// Every resource of the run; the bystanders' private ones are the last [`PlanSettings::nodes`].
    pub resources: Vec<Resource>,
    /// By arrival; of a closed loop by the earliest time at which each can begin, which is when nobody ever waits.
    pub tasks: Tasks,
    /// What is broken on purpose, by time; one at a time.
    pub faults: Vec<Fault>,
    /// Who asks, where tasks do not arrive by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
    /// What users do whose node is down.
    #[serde(default)]
    pub entry: EntryPolicy,
}

/// Why a plan was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nested steps against the global order could deadlock.
    #[error(
        "a task of kind `{kind}` takes {inner} while it holds {outer}: against the resource order \
         (volume, snapshot-tree, vm, l3, router, image, host, account, job; within a kind by id), so it could deadlock"
    )]
    Order {
        /// Kind of the task.
        kind: String,
        /// The resource held.
        outer: Resource,
        /// The resource taken inside.
        inner: Resource,
    },
    /// A resource has two levels.
    #[error("resource {0} is used with two different levels")]
    Level(Resource),
    /// More than 2^31 tasks, or more than 65,535 steps in one.
    #[error("the plan is too large: {0}")]
    Size(String),
    /// A task enters at a node that does not exist.
    #[error("a task enters at node {0}, but there are fewer nodes")]
    Entry(u16),
}

impl Plan {
    /// Flattens and checks the arrivals one by one, and sorts them by time where they are not.
    ///
    /// # Errors
    /// When a tree violates the resource order, a resource has two levels, or something does not fit.
    pub fn new(
        settings: PlanSettings,
        kinds: Vec<String>,
        arrivals: impl IntoIterator<Item = Arrival>,
    ) -> Result<Self, PlanError> {
        let mut index = Index::new();
        let (mut count, mut refused) = (0_usize, None);
        let mut flat = |Arrival { kind, at_ns: arrival_ns, entry, root }: Arrival| {
            count += 1;
            if count > TaskId::BYSTANDER as usize {
                return Err(PlanError::Size(format!("more than {} tasks", TaskId::BYSTANDER)));
            }
            if entry.0 >= settings.nodes {
                return Err(PlanError::Entry(entry.0));
            }
            let mut steps = Vec::new();
            flatten(&root, &mut index, &mut steps, &kinds[usize::from(kind)])?;
            Ok(Task { kind, arrival_ns, entry, steps: steps.into() })
        };
        // Packed as they are drawn.
        let mut tasks: Tasks = arrivals
            .into_iter()
            .map_while(|arrival| flat(arrival).map_err(|error| refused = Some(error)).ok())
            .collect();
        if let Some(error) = refused {
            return Err(error);
        }
        if !tasks.iter().map(|task| task.arrival_ns).is_sorted() {
            let mut loose: Vec<Task> = tasks.iter().map(|task| task.to_task()).collect();
            loose.sort_by_key(|task| task.arrival_ns);
            tasks = loose.into_iter().collect();
        }
        // Until all are known, a resource's place is that of its first appearance.
        let mut places = vec![0; index.len()];
        let mut resources = Vec::with_capacity(index.len());
        for (place, (&(kind, id), &(level, appeared))) in (0..).zip(&index) {
            resources.push(Resource { kind, id, level });
            places[appeared as usize] = place;
        }
        tasks.change(|task| {
            task.steps.iter_mut().for_each(|step| step.resource = places[step.resource as usize]);
        });
        resources.extend((0..settings.nodes).map(|node| Resource {
            kind: ResourceKind::Bystander,
            id: u32::from(node),
            level: 1,
        }));
        let entry = EntryPolicy::default();
        Ok(Self { settings, kinds, resources, tasks, faults: Vec::new(), closed: None, entry })
    }

    /// The same plan with faults.
    #[must_use]
    pub fn with_faults(self, faults: Vec<Fault>) -> Self {
        Self { faults, ..self }
    }

    /// The same plan for callers who ask one task after the other. Those that they do not come to within the window do not take place.
    #[must_use]
    pub fn with_callers(self, closed: Closed) -> Self {
        Self { closed: Some(closed), ..self }
    }

    /// The same plan with users who do this when their node is down.
    #[must_use]
    pub fn with_entry(self, entry: EntryPolicy) -> Self {
        Self { entry, ..self }
    }

    /// Whether nodes are to be killed.
    #[must_use]
    pub fn kills(&self) -> bool {
        let of_node =
            |target| matches!(target, FaultTarget::Node(_) | FaultTarget::Holder | FaultTarget::At(_));
        self.faults.iter().any(|fault| fault.verb == FaultVerb::Kill && of_node(fault.target))
    }

    /// Whether there is such a step; those of other processes may name any.
    #[must_use]
    pub fn contains(&self, step: StepRef) -> bool {
        if step.task.is_bystander() {
            return step.step == 0 && step.task.bystander_of().0 < self.settings.nodes;
        }
        self.tasks.get(step.task.0 as usize).is_some_and(|task| usize::from(step.step) < task.step_count())
    }

    /// The step that a reference means.
    #[must_use]
    pub fn step(&self, step: StepRef) -> Step {
        if step.task.is_bystander() {
            let node = step.task.bystander_of().0;
            let resource = self.resources.len() as u32 - u32::from(self.settings.nodes - node);
            return Step { resource, mode: Mode::Exclusive, hold_ns: 0, create_ns: None, end: 1 };
        }
        self.tasks.step(step)
    }

    /// A task of the plan; there must be one.
    #[must_use]
    pub fn task(&self, task: TaskId) -> Planned<'_> {
        self.tasks.get(task.0 as usize).expect("a task of this plan")
    }

    /// The resource of a step.
    #[must_use]
    pub fn resource(&self, step: StepRef) -> Resource {
        self.resources[self.step(step).resource as usize]
    }

    /// Seeds the order in which slots are tried for a step.
    #[must_use]
    pub fn slot_seed(&self, step: StepRef) -> u64 {
        splitmix(self.settings.seed ^ u64::from(step.task.0) << 16 ^ u64::from(step.step))
    }

    /// SHA-256 of everything that decides what will run; equal specs and seeds have equal digests.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut sha = Sha256::new();
        sha.update(format!("{:?}{:?}{:?}", self.settings, self.kinds, self.resources));
        for task in self.tasks.iter() {
            sha.update(format!("{task:?}"));
        }
        sha.update(format!("{:?}", self.faults));
        // Open loads have the digests that they had before there were others.
        if let Some(closed) = self.closed {
            sha.update(format!("{closed:?}"));
        }
        // Plans were drawn before users had a choice: theirs keep their digests.
        if self.entry != EntryPolicy::Sticky {
            sha.update(format!("{:?}", self.entry));
        }
        sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Level of every resource, and how many others appeared before it.
type Index = BTreeMap<(ResourceKind, u32), (u32, u32)>;

fn flatten(tree: &StepTree, index: &mut Index, steps: &mut Vec<Step>, kind: &str) -> Result<(), PlanError> {
    let place = steps.len();
    let appeared = u32::try_from(index.len()).map_err(|_| PlanError::Size("resources".into()))?;
    let Resource { kind: of, id, level } = tree.resource;
    let (known, resource) = *index.entry((of, id)).or_insert((level, appeared));
    if known != level {
        return Err(PlanError::Level(tree.resource));
    }
    let StepTree { mode, hold_ns, create_ns, .. } = *tree;
    steps.push(Step { resource, mode, hold_ns, create_ns, end: 0 });
    for child in &tree.children {
        if (child.resource.kind, child.resource.id) <= (tree.resource.kind, tree.resource.id) {
            return Err(PlanError::Order {
                kind: kind.to_owned(),
                outer: tree.resource,
                inner: child.resource,
            });
        }
        flatten(child, index, steps, kind)?;
    }
    let end = u16::try_from(steps.len()).map_err(|_| PlanError::Size("steps of one task".into()))?;
    steps[place].end = end;
    Ok(())
}

#[cfg(test)]
pub(super) mod fixture {
    //! Small plans.

    use super::*;
    use crate::model::NodeId;

    pub(crate) fn step(kind: ResourceKind, id: u32, hold_ns: u64, children: Vec<StepTree>) -> StepTree {
        StepTree {
            resource: Resource { kind, id, level: 1 },
            mode: Mode::Exclusive,
            hold_ns,
            create_ns: None,
            children,
        }
    }

    pub(crate) fn plan(roots: Vec<(u64, StepTree)>) -> Result<Plan, PlanError> {
        let settings =
            PlanSettings { seed: 1, nodes: 2, window_ns: 1_000, deadline_ns: 10_000, holder: Holder::Checks };
        let arrivals =
            roots.into_iter().map(|(at_ns, root)| Arrival { kind: 0, at_ns, entry: NodeId(0), root });
        Plan::new(settings, vec!["test".into()], arrivals)
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::{plan, step};
    use super::*;
    use crate::model::NodeId;

    #[test]
    fn a_tree_in_pre_order_knows_its_children() {
        use ResourceKind::{Host, L3, Vm};
        let start = step(Vm, 1, 5, vec![step(L3, 1, 1, vec![]), step(Host, 1, 7, vec![])]);
        let plan = plan(vec![(0, start)]).unwrap();
        let task = plan.task(TaskId(0));
        assert_eq!(task.children(0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(task.children(1).count(), 0);
        assert_eq!(task.inside_ns(0), 13);
    }

    #[test]
    fn nested_steps_against_the_resource_order_are_refused() {
        use ResourceKind::{Host, Vm};
        let against = step(Host, 1, 0, vec![step(Vm, 1, 0, vec![])]);
        assert!(matches!(plan(vec![(0, against)]), Err(PlanError::Order { .. })));
        let twice = step(Vm, 1, 0, vec![step(Vm, 1, 0, vec![])]);
        assert!(matches!(plan(vec![(0, twice)]), Err(PlanError::Order { .. })));
    }

    #[test]
    fn bystanders_have_private_resources() {
        let plan = plan(vec![]).unwrap();
        for node in [NodeId(0), NodeId(1)] {
            let probe = StepRef { task: TaskId::bystander(node, 77), step: 0 };
            assert!(probe.task.is_bystander());
            let resource = plan.resource(probe);
            assert_eq!((resource.kind, resource.id), (ResourceKind::Bystander, u32::from(node.0)));
        }
    }
}
