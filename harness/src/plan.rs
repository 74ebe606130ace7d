//! What will run: every arrival, entry node, step tree and hold of a run, drawn from one seed. Data only.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fault::Fault;

/// A management node, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u16);

/// A task by its place in the plan; from [`TaskId::BYSTANDER`] on, probes of the bystander.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub u32);

impl TaskId {
    /// First id of the bystanders' probes.
    pub const BYSTANDER: u32 = 1 << 31;

    /// Probe number `count` of the bystander at a node.
    #[must_use]
    pub fn bystander(node: NodeId, count: u32) -> Self {
        Self(Self::BYSTANDER | u32::from(node.0) << 20 & !Self::BYSTANDER | count & 0xF_FFFF)
    }

    /// The node whose bystander this is, when it is one.
    fn bystander_of(self) -> NodeId {
        NodeId(((self.0 & !Self::BYSTANDER) >> 20) as u16)
    }

    /// Whether this is a bystander's probe: outside plan, conservation and checks.
    #[must_use]
    pub fn is_bystander(self) -> bool {
        self.0 >= Self::BYSTANDER
    }
}

/// A step of a task: what travels between processes, since every process has the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepRef {
    /// The task.
    pub task: TaskId,
    /// The step's place in the pre-order of the task's tree; 0 is the root.
    pub step: u16,
}

impl fmt::Display for StepRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} step {}", self.task.0, self.step)
    }
}

/// Kinds of resource, in the one global order in which nested steps take them, so that they cannot deadlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceKind {
    /// A volume.
    Volume,
    /// A volume's tree of snapshots.
    SnapshotTree,
    /// A virtual machine.
    Vm,
    /// An L3 network.
    L3,
    /// A virtual router.
    Router,
    /// An image in the cache of a host.
    Image,
    /// A hypervisor.
    Host,
    /// A bank account.
    Account,
    /// The private key of a node's bystander; never in a task.
    Bystander,
}

impl ResourceKind {
    /// The name as it appears in keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::SnapshotTree => "snapshot-tree",
            Self::Vm => "vm",
            Self::L3 => "l3",
            Self::Router => "router",
            Self::Image => "image",
            Self::Host => "host",
            Self::Account => "account",
            Self::Bystander => "bystander",
        }
    }
}

/// Something that steps change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resource {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its number within the kind.
    pub id: u32,
    /// How many steps may be inside at once; 0 = unlimited.
    pub level: u32,
}

impl Resource {
    /// The key of locks and queues.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}-{}", self.kind.name(), self.id)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind.name(), self.id)
    }
}

/// How a step is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It takes a slot for itself.
    #[default]
    Exclusive,
    /// It reads: steps of this mode do not exclude each other, and together take one slot.
    Shared,
}

/// How many steps are inside a resource.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Crowd {
    exclusive: u32,
    shared: u32,
}

impl Crowd {
    pub(crate) fn of(&mut self, mode: Mode) -> &mut u32 {
        match mode {
            Mode::Exclusive => &mut self.exclusive,
            Mode::Shared => &mut self.shared,
        }
    }

    /// How many slots they take: shared ones one together.
    pub(crate) fn slots(self) -> u32 {
        self.exclusive + u32::from(self.shared > 0)
    }

    /// How many there are.
    pub(crate) fn count(self) -> u32 {
        self.exclusive + self.shared
    }
}

impl std::ops::Add for Crowd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { exclusive: self.exclusive + other.exclusive, shared: self.shared + other.shared }
    }
}

/// A step and its children, as a scenario draws it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTree {
    /// What it holds.
    pub resource: Resource,
    /// How.
    pub mode: Mode,
    /// How long it works before its children run.
    pub hold_ns: u64,
    /// See [`Step::create_ns`].
    pub create_ns: Option<u64>,
    /// Run in order while the slot is held.
    pub children: Vec<StepTree>,
}

/// A step in the flat form of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Index into [`Plan::resources`].
    pub resource: u32,
    /// How it is inside.
    pub mode: Mode,
    /// How long it works before its children run.
    pub hold_ns: u64,
    /// Where it finds or creates its resource: how long it works, instead, when that does not exist yet. It writes only
    /// then, so a resource exists once something was written.
    pub create_ns: Option<u64>,
    /// One past the last step of its subtree, in pre-order.
    pub end: u16,
}

/// A task: an arrival at a node and a tree of steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Index into [`Plan::kinds`].
    pub kind: u16,
    /// Intended start, from the start of the run.
    pub arrival_ns: u64,
    /// Where it enters.
    pub entry: NodeId,
    /// Its tree in pre-order.
    pub steps: Vec<Step>,
}

impl Task {
    /// The children of a step, in order.
    pub fn children(&self, step: u16) -> impl Iterator<Item = u16> + '_ {
        let end = self.steps[usize::from(step)].end;
        let mut next = step + 1;
        std::iter::from_fn(move || {
            let child = (next < end).then_some(next)?;
            next = self.steps[usize::from(child)].end;
            Some(child)
        })
    }

    /// How long a step is inside when nothing in its subtree waits, and all that it looks for exists.
    #[must_use]
    pub fn inside_ns(&self, step: u16) -> u64 {
        let end = self.steps[usize::from(step)].end;
        self.steps[usize::from(step)..usize::from(end)].iter().map(|step| step.hold_ns).sum()
    }
}

/// A task as a scenario draws it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Index into the plan's kinds.
    pub kind: u16,
    /// Intended start, from the start of the run.
    pub at_ns: u64,
    /// Where it enters.
    pub entry: NodeId,
    /// What it does.
    pub root: StepTree,
}

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
    /// By arrival.
    pub tasks: Vec<Task>,
    /// What is broken on purpose, by time; one at a time.
    pub faults: Vec<Fault>,
}

/// Why a plan was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nested steps against the global order could deadlock.
    #[error(
        "a task of kind `{kind}` takes {inner} while it holds {outer}: against the resource order \
         (volume, snapshot-tree, vm, l3, router, image, host, account; within a kind by id), so it could deadlock"
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
    /// Flattens and checks the arrivals, which are sorted by time.
    ///
    /// # Errors
    /// When a tree violates the resource order, a resource has two levels, or something does not fit.
    pub fn new(
        settings: PlanSettings,
        kinds: Vec<String>,
        mut arrivals: Vec<Arrival>,
    ) -> Result<Self, PlanError> {
        if arrivals.len() >= TaskId::BYSTANDER as usize {
            return Err(PlanError::Size(format!("{} tasks", arrivals.len())));
        }
        arrivals.sort_by_key(|arrival| arrival.at_ns);
        let mut index = BTreeMap::new();
        for arrival in &arrivals {
            collect(&arrival.root, &mut index)?;
        }
        let mut resources = Vec::new();
        for (place, (&(kind, id), slot)) in index.iter_mut().enumerate() {
            resources.push(Resource { kind, id, level: slot.0 });
            slot.1 = u32::try_from(place).map_err(|_| PlanError::Size("resources".into()))?;
        }
        let mut tasks = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            if arrival.entry.0 >= settings.nodes {
                return Err(PlanError::Entry(arrival.entry.0));
            }
            let mut steps = Vec::new();
            flatten(&arrival.root, &index, &mut steps, &kinds[usize::from(arrival.kind)])?;
            tasks.push(Task { kind: arrival.kind, arrival_ns: arrival.at_ns, entry: arrival.entry, steps });
        }
        resources.extend((0..settings.nodes).map(|node| Resource {
            kind: ResourceKind::Bystander,
            id: u32::from(node),
            level: 1,
        }));
        Ok(Self { settings, kinds, resources, tasks, faults: Vec::new() })
    }

    /// The same plan with faults.
    #[must_use]
    pub fn with_faults(self, faults: Vec<Fault>) -> Self {
        Self { faults, ..self }
    }

    /// Whether there is such a step; those of other processes may name any.
    #[must_use]
    pub fn contains(&self, step: StepRef) -> bool {
        if step.task.is_bystander() {
            return step.step == 0 && step.task.bystander_of().0 < self.settings.nodes;
        }
        self.tasks.get(step.task.0 as usize).is_some_and(|task| usize::from(step.step) < task.steps.len())
    }

    /// The step that a reference means.
    #[must_use]
    pub fn step(&self, step: StepRef) -> Step {
        if step.task.is_bystander() {
            let node = step.task.bystander_of().0;
            let resource = self.resources.len() as u32 - u32::from(self.settings.nodes - node);
            return Step { resource, mode: Mode::Exclusive, hold_ns: 0, create_ns: None, end: 1 };
        }
        self.tasks[step.task.0 as usize].steps[usize::from(step.step)]
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

    /// The longest that any task is inside when nothing waits, and nothing exists yet.
    #[must_use]
    pub fn longest_hold_ns(&self) -> u64 {
        let longest_ns = |step: &Step| step.hold_ns.max(step.create_ns.unwrap_or(0));
        self.tasks.iter().map(|task| task.steps.iter().map(longest_ns).sum()).max().unwrap_or(0)
    }

    /// Whether every resource of a task is of level 0, so that nothing has to be kept apart.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.resources.iter().all(|resource| resource.level == 0 || resource.kind == ResourceKind::Bystander)
    }

    /// Load ρ of each resource of level ≥ 1, the busiest first. What is found or created is created once.
    #[must_use]
    pub fn loads(&self) -> Vec<(Resource, f64)> {
        let mut busy_ns = vec![0_u64; self.resources.len()];
        let mut create_ns = vec![0_u64; self.resources.len()];
        for task in &self.tasks {
            for (place, step) in task.steps.iter().enumerate() {
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
        // Per resource: (time, is entry, mode). Leaves sort before entries of the same time.
        let mut edges: Vec<Vec<(u64, bool, Mode)>> = vec![Vec::new(); self.resources.len()];
        let mut exists_from_ns: Vec<Option<u64>> = vec![None; self.resources.len()];
        for task in &self.tasks {
            let mut start_ns = task.arrival_ns;
            for (place, step) in task.steps.iter().enumerate() {
                let resource = step.resource as usize;
                let exists = exists_from_ns[resource].is_some_and(|from_ns| from_ns <= start_ns);
                let own_ns = step.create_ns.filter(|_| !exists).unwrap_or(step.hold_ns);
                if step.create_ns.is_some() {
                    exists_from_ns[resource].get_or_insert(start_ns + own_ns);
                }
                if self.resources[resource].level > 0 {
                    let inside_ns = task.inside_ns(place as u16) - step.hold_ns + own_ns;
                    edges[resource].push((start_ns, true, step.mode));
                    edges[resource].push((start_ns + inside_ns, false, step.mode));
                }
                start_ns += own_ns;
            }
        }
        let mut overlaps = 0;
        for (resource, mut edges) in self.resources.iter().zip(edges) {
            edges.sort_unstable();
            let mut inside = Crowd::default();
            for (_, entry, mode) in edges {
                if entry {
                    *inside.of(mode) += 1;
                    overlaps += u64::from(inside.slots() > resource.level);
                } else {
                    *inside.of(mode) -= 1;
                }
            }
        }
        overlaps
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
        for step in twin.tasks.iter_mut().flat_map(|task| &mut task.steps) {
            step.resource = canonical[step.resource as usize];
        }
        twin
    }

    /// SHA-256 of everything that decides what will run; equal specs and seeds have equal digests.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut sha = Sha256::new();
        sha.update(format!("{:?}{:?}{:?}", self.settings, self.kinds, self.resources));
        for task in &self.tasks {
            sha.update(format!("{task:?}"));
        }
        sha.update(format!("{:?}", self.faults));
        sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Steele, Lea and Flood's SplitMix64 finaliser: a child seed from a seed.
#[must_use]
pub fn splitmix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Level and later index of every resource.
type Index = BTreeMap<(ResourceKind, u32), (u32, u32)>;

fn collect(tree: &StepTree, index: &mut Index) -> Result<(), PlanError> {
    let Resource { kind, id, level } = tree.resource;
    if index.entry((kind, id)).or_insert((level, 0)).0 != level {
        return Err(PlanError::Level(tree.resource));
    }
    tree.children.iter().try_for_each(|child| collect(child, index))
}

fn flatten(tree: &StepTree, index: &Index, steps: &mut Vec<Step>, kind: &str) -> Result<(), PlanError> {
    let place = steps.len();
    let resource = index[&(tree.resource.kind, tree.resource.id)].1;
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
mod tests {
    use super::*;

    fn step(kind: ResourceKind, id: u32, hold_ns: u64, children: Vec<StepTree>) -> StepTree {
        StepTree {
            resource: Resource { kind, id, level: 1 },
            mode: Mode::Exclusive,
            hold_ns,
            create_ns: None,
            children,
        }
    }

    fn plan(roots: Vec<(u64, StepTree)>) -> Result<Plan, PlanError> {
        let settings =
            PlanSettings { seed: 1, nodes: 2, window_ns: 1_000, deadline_ns: 10_000, holder: Holder::Checks };
        let arrivals = roots
            .into_iter()
            .map(|(at_ns, root)| Arrival { kind: 0, at_ns, entry: NodeId(0), root })
            .collect();
        Plan::new(settings, vec!["test".into()], arrivals)
    }

    #[test]
    fn a_tree_in_pre_order_knows_its_children() {
        use ResourceKind::{Host, L3, Vm};
        let start = step(Vm, 1, 5, vec![step(L3, 1, 1, vec![]), step(Host, 1, 7, vec![])]);
        let plan = plan(vec![(0, start)]).unwrap();
        let task = &plan.tasks[0];
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
