//! State per step and per slot, in vectors in the order of the plan.

use std::ops::{Index, IndexMut};

use crate::model::{Plan, StepRef};

/// A value for every step of a plan.
#[derive(Debug)]
pub(crate) struct PerStep<T> {
    /// By task: the place of its root.
    roots: Vec<u32>,
    values: Vec<T>,
}

impl<T: Clone + Default> PerStep<T> {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut steps = 0;
        let root = |task: &crate::model::Task| {
            let root = steps;
            steps += task.steps.len() as u32;
            root
        };
        let roots = plan.tasks.iter().map(root).collect();
        Self { roots, values: vec![T::default(); steps as usize] }
    }

    /// By task, the values of its steps in pre-order.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = &[T]> {
        let ends = self.roots.iter().skip(1).copied().chain([self.values.len() as u32]);
        self.roots.iter().zip(ends).map(|(root, end)| &self.values[*root as usize..end as usize])
    }

    fn place(&self, step: StepRef) -> usize {
        self.roots[step.task.0 as usize] as usize + usize::from(step.step)
    }
}

impl<T: Clone + Default> Index<StepRef> for PerStep<T> {
    type Output = T;

    fn index(&self, step: StepRef) -> &T {
        &self.values[self.place(step)]
    }
}

impl<T: Clone + Default> IndexMut<StepRef> for PerStep<T> {
    fn index_mut(&mut self, step: StepRef) -> &mut T {
        let place = self.place(step);
        &mut self.values[place]
    }
}

/// A value for every slot of every resource of a plan.
#[derive(Debug)]
pub(super) struct PerSlot<T> {
    /// By resource: the place of its first slot; one more at the end.
    firsts: Vec<u32>,
    values: Vec<T>,
}

impl<T: Clone + Default> PerSlot<T> {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut firsts = vec![0];
        let mut slots = 0;
        for resource in &plan.resources {
            slots += resource.level;
            firsts.push(slots);
        }
        Self { firsts, values: vec![T::default(); slots as usize] }
    }

    /// `None` where the resource has no such slot: the agent refuses it.
    pub(super) fn get(&mut self, resource: u32, slot: u32) -> Option<&mut T> {
        let resource = resource as usize;
        let place = self.firsts[resource].checked_add(slot)?;
        (place < self.firsts[resource + 1]).then(|| &mut self.values[place as usize])
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.values.iter()
    }
}
