//! The tasks of a plan, held in a few bytes each: there may be tens of millions, and any may be asked for while a run lasts.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::column::Column;
use super::id::{NodeId, StepRef, TaskId};
use super::resource::Mode;
use super::task::{Step, Task};

/// Tasks that are packed together: what all of a block have in common takes no room.
const BLOCK: usize = 512;

/// The tasks of a plan, by arrival. Packed by blocks; each is looked up without unpacking its block.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tasks {
    /// All full but the last.
    blocks: Vec<Block>,
    /// In all blocks.
    tasks: usize,
    steps: usize,
}

/// A task of a plan, where it is held.
#[derive(Clone, Copy)]
pub struct Planned<'a> {
    /// Index into [`Plan::kinds`](super::plan::Plan::kinds).
    pub kind: u16,
    /// Intended start, from the start of the run.
    pub arrival_ns: u64,
    /// Where it enters.
    pub entry: NodeId,
    block: &'a Block,
    root: usize,
    end: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    /// Steps in the blocks before.
    before: usize,
    tasks: usize,
    steps: usize,
    /// By task; the place of its first step is the number of those before it.
    kind: Column,
    arrival_ns: Column,
    entry: Column,
    root: Column,
    /// By step.
    resource: Column,
    mode: Column,
    hold_ns: Column,
    /// One more than what it takes, 0 where it creates nothing.
    creates: Column,
    create_ns: Column,
    end: Column,
}

impl Tasks {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks == 0
    }

    /// Steps of all of them together.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The task at this place.
    #[must_use]
    pub fn get(&self, task: usize) -> Option<Planned<'_>> {
        (task < self.tasks).then(|| self.blocks[task / BLOCK].task(task % BLOCK))
    }

    /// The last to arrive.
    #[must_use]
    pub fn last(&self) -> Option<Planned<'_>> {
        self.get(self.tasks.checked_sub(1)?)
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Planned<'_>> {
        (0..self.tasks).map(|task| self.blocks[task / BLOCK].task(task % BLOCK))
    }

    /// The step that a reference means; there must be one.
    pub(super) fn step(&self, step: StepRef) -> Step {
        let task = step.task.0 as usize;
        let block = &self.blocks[task / BLOCK];
        block.step(block.root(task % BLOCK) + usize::from(step.step))
    }

    /// The place of a step among those of all tasks; there must be one.
    pub(crate) fn place(&self, step: StepRef) -> usize {
        let task = step.task.0 as usize;
        let block = &self.blocks[task / BLOCK];
        block.before + block.root(task % BLOCK) + usize::from(step.step)
    }

    /// The step at a place among those of all tasks; there must be one.
    pub(crate) fn step_at(&self, place: usize) -> StepRef {
        let number = self.blocks.partition_point(|block| block.before <= place) - 1;
        let block = &self.blocks[number];
        let place = place - block.before;
        // The last that begins there or before.
        let (mut from, mut to) = (0, block.tasks);
        while to - from > 1 {
            let middle = from.midpoint(to);
            if block.root(middle) <= place { from = middle } else { to = middle }
        }
        StepRef { task: TaskId((number * BLOCK + from) as u32), step: (place - block.root(from)) as u16 }
    }

    /// Changes each of them, one after the other. Where arrivals change, their order has to be the same afterwards.
    pub fn change(&mut self, mut change: impl FnMut(&mut Task)) {
        let blocks = std::mem::take(self).blocks;
        // Block by block, so that they are never all there twice.
        self.extend(blocks.into_iter().flat_map(|block| {
            let mut tasks: Vec<Task> = (0..block.tasks).map(|task| block.task(task).to_task()).collect();
            tasks.iter_mut().for_each(&mut change);
            tasks
        }));
    }
}

impl Extend<Task> for Tasks {
    fn extend<T: IntoIterator<Item = Task>>(&mut self, tasks: T) {
        let mut open = Open::default();
        if let Some(last) = self.blocks.pop_if(|last| last.tasks < BLOCK) {
            (self.tasks, self.steps) = (self.tasks - last.tasks, self.steps - last.steps);
            (0..last.tasks).for_each(|task| open.push(last.task(task).to_task()));
        }
        for task in tasks {
            open.push(task);
            if open.kind.len() == BLOCK {
                self.close(&mut open);
            }
        }
        if !open.kind.is_empty() {
            self.close(&mut open);
        }
    }
}

impl Tasks {
    fn close(&mut self, open: &mut Open) {
        let block = open.pack(self.steps);
        (self.tasks, self.steps) = (self.tasks + block.tasks, self.steps + block.steps);
        self.blocks.push(block);
        open.clear();
    }
}

impl FromIterator<Task> for Tasks {
    fn from_iter<T: IntoIterator<Item = Task>>(tasks: T) -> Self {
        let mut packed = Self::default();
        packed.extend(tasks);
        packed
    }
}

impl Planned<'_> {
    /// How many steps it has.
    #[must_use]
    pub fn step_count(&self) -> usize {
        self.end - self.root
    }

    /// The step at this place of its tree in pre-order; there must be one.
    #[must_use]
    pub fn step(&self, step: u16) -> Step {
        assert!(usize::from(step) < self.step_count(), "no such step. step={step}");
        self.block.step(self.root + usize::from(step))
    }

    /// Its steps, in pre-order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = Step> + '_ {
        (self.root..self.end).map(|place| self.block.step(place))
    }

    /// The children of a step, in order.
    pub fn children(&self, step: u16) -> impl Iterator<Item = u16> + '_ {
        let end = self.step(step).end;
        let mut next = step + 1;
        std::iter::from_fn(move || {
            let child = (next < end).then_some(next)?;
            next = self.step(child).end;
            Some(child)
        })
    }

    /// How long a step is inside when nothing in its subtree waits, and all that it looks for exists.
    #[must_use]
    pub fn inside_ns(&self, step: u16) -> u64 {
        (step..self.step(step).end).map(|step| self.step(step).hold_ns).sum()
    }

    /// The task on its own.
    #[must_use]
    pub fn to_task(&self) -> Task {
        let Self { kind, arrival_ns, entry, .. } = *self;
        Task { kind, arrival_ns, entry, steps: self.steps().collect() }
    }
}

impl fmt::Debug for Planned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_task().fmt(f)
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Block {
    fn root(&self, task: usize) -> usize {
        self.root.get(task) as usize
    }

    fn task(&self, task: usize) -> Planned<'_> {
        Planned {
            kind: self.kind.get(task) as u16,
            arrival_ns: self.arrival_ns.get(task),
            entry: NodeId(self.entry.get(task) as u16),
            block: self,
            root: self.root(task),
            end: if task + 1 < self.tasks { self.root(task + 1) } else { self.steps },
        }
    }

    fn step(&self, place: usize) -> Step {
        Step {
            resource: self.resource.get(place) as u32,
            mode: if self.mode.get(place) == 0 { Mode::Exclusive } else { Mode::Shared },
            hold_ns: self.hold_ns.get(place),
            create_ns: (self.creates.get(place) == 1).then(|| self.create_ns.get(place)),
            end: self.end.get(place) as u16,
        }
    }
}

/// A block that tasks are still added to: the columns, not packed yet.
#[derive(Default)]
struct Open {
    kind: Vec<u64>,
    arrival_ns: Vec<u64>,
    entry: Vec<u64>,
    root: Vec<u64>,
    resource: Vec<u64>,
    mode: Vec<u64>,
    hold_ns: Vec<u64>,
    creates: Vec<u64>,
    create_ns: Vec<u64>,
    end: Vec<u64>,
}

impl Open {
    fn push(&mut self, task: Task) {
        self.kind.push(task.kind.into());
        self.arrival_ns.push(task.arrival_ns);
        self.entry.push(task.entry.0.into());
        self.root.push(self.resource.len() as u64);
        for step in task.steps {
            self.resource.push(step.resource.into());
            self.mode.push((step.mode == Mode::Shared).into());
            self.hold_ns.push(step.hold_ns);
            self.creates.push(step.create_ns.is_some().into());
            self.create_ns.push(step.create_ns.unwrap_or(0));
            self.end.push(step.end.into());
        }
    }

    fn pack(&self, before: usize) -> Block {
        Block {
            before,
            tasks: self.kind.len(),
            steps: self.resource.len(),
            kind: Column::flat(&self.kind),
            arrival_ns: Column::rising(&self.arrival_ns),
            entry: Column::flat(&self.entry),
            root: Column::rising(&self.root),
            resource: Column::flat(&self.resource),
            mode: Column::flat(&self.mode),
            hold_ns: Column::flat(&self.hold_ns),
            creates: Column::flat(&self.creates),
            create_ns: Column::flat(&self.create_ns),
            end: Column::flat(&self.end),
        }
    }

    fn clear(&mut self) {
        let Self { kind, arrival_ns, entry, root, resource, mode, hold_ns, creates, create_ns, end } = self;
        for column in [kind, arrival_ns, entry, root, resource, mode, hold_ns, creates, create_ns, end] {
            column.clear();
        }
    }
}

impl Serialize for Tasks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|task| task.to_task()))
    }
}

impl<'de> Deserialize<'de> for Tasks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Packs;

        impl<'de> Visitor<'de> for Packs {
            type Value = Tasks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tasks")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut tasks: A) -> Result<Tasks, A::Error> {
                let (mut packed, mut wrong) = (Tasks::default(), None);
                let next = || {
                    tasks.next_element().unwrap_or_else(|error| {
                        wrong = Some(error);
                        None
                    })
                };
                packed.extend(std::iter::from_fn(next));
                wrong.map_or(Ok(packed), Err)
            }
        }

        deserializer.deserialize_seq(Packs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn step() -> impl Strategy<Value = Step> {
        let mode = prop_oneof![Just(Mode::Exclusive), Just(Mode::Shared)];
        let fields = (any::<u32>(), mode, any::<u64>(), any::<Option<u64>>(), any::<u16>());
        fields.prop_map(|(resource, mode, hold_ns, create_ns, end)| Step {
            resource,
            mode,
            hold_ns,
            create_ns,
            end,
        })
    }

    fn task() -> impl Strategy<Value = Task> {
        let fields = (any::<u16>(), any::<u64>(), any::<u16>().prop_map(NodeId), vec(step(), 1..4));
        fields.prop_map(|(kind, arrival_ns, entry, steps)| Task {
            kind,
            arrival_ns,
            entry,
            steps: steps.into(),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn tasks_come_back_as_they_were_however_they_were_added(
            tasks in vec(task(), 0..3 * BLOCK / 2),
            cut in any::<prop::sample::Index>(),
        ) {
            let packed: Tasks = tasks.iter().cloned().collect();
            prop_assert_eq!(packed.iter().map(|task| task.to_task()).collect::<Vec<_>>(), tasks.clone());
            let (some, others) = tasks.split_at(cut.index(tasks.len() + 1));
            let mut added: Tasks = some.iter().cloned().collect();
            added.extend(others.iter().cloned());
            prop_assert_eq!(&added, &packed);
            let json = serde_json::to_string(&packed).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&tasks).unwrap());
            prop_assert_eq!(&serde_json::from_str::<Tasks>(&json).unwrap(), &packed);
            let mut place = 0;
            for (number, task) in (0..).zip(&tasks) {
                for (step, planned) in (0..).zip(&task.steps) {
                    let step = StepRef { task: TaskId(number), step };
                    prop_assert_eq!(packed.step(step), *planned);
                    prop_assert_eq!(packed.place(step), place);
                    prop_assert_eq!(packed.step_at(place), step);
                    place += 1;
                }
            }
            prop_assert_eq!(packed.steps(), place);
        }
    }

    #[test]
    fn what_is_no_list_of_tasks_is_refused() {
        let task = r#"{"kind":0,"arrival_ns":1,"entry":0,"steps":[]}"#;
        assert_eq!(serde_json::from_str::<Tasks>(&format!("[{task}]")).unwrap().len(), 1);
        assert!(serde_json::from_str::<Tasks>(&format!("[{task},7]")).is_err());
    }

    #[test]
    fn a_million_tasks_of_one_step_take_ten_bytes_each() {
        let tasks = |number: u32| {
            let resource = number.wrapping_mul(2_654_435_761) % 1_000;
            let gap = u64::from(number.wrapping_mul(40_503) % 100);
            let step = Step { resource, mode: Mode::Exclusive, hold_ns: 2_000_000, create_ns: None, end: 1 };
            Task {
                kind: (number % 3) as u16,
                arrival_ns: u64::from(number) * 20_000 + gap * 10_000,
                entry: NodeId((resource % 5) as u16),
                steps: [step].into(),
            }
        };
        let mut packed = None;
        let held =
            allocation_counter::measure(|| packed = Some((0..1_000_000).map(tasks).collect::<Tasks>()));
        assert!(held.bytes_current < 10_000_000, "{held:?}");
        assert_eq!(packed.unwrap().len(), 1_000_000);
    }
}
