//! State per step and per slot, in vectors in the order of the plan.

use std::ops::{Index, IndexMut};

use super::settled::{Settled, Settles};
use crate::model::{Plan, StepRef, Tasks};

/// A value for every step of a plan.
#[derive(Debug)]
pub(crate) struct PerStep<'a, T> {
    tasks: &'a Tasks,
    values: Vec<T>,
}

impl<'a, T: Clone + Default> PerStep<'a, T> {
    pub(crate) fn new(plan: &'a Plan) -> Self {
        Self { tasks: &plan.tasks, values: vec![T::default(); plan.tasks.steps()] }
    }

    /// By task, the values of its steps in pre-order.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = &[T]> {
        let mut rest = &self.values[..];
        self.tasks.iter().map(move |task| rest.split_off(..task.step_count()).expect("a value for each step"))
    }
}

impl<T> Index<StepRef> for PerStep<'_, T> {
    type Output = T;

    fn index(&self, step: StepRef) -> &T {
        &self.values[self.tasks.place(step)]
    }
}

impl<T> IndexMut<StepRef> for PerStep<'_, T> {
    fn index_mut(&mut self, step: StepRef) -> &mut T {
        let place = self.tasks.place(step);
        &mut self.values[place]
    }
}

/// A state for every step of a plan, whole while the step is under way.
pub(super) struct LivePerStep<'a, T: Settles> {
    tasks: &'a Tasks,
    states: Settled<T>,
}

impl<'a, T: Settles> LivePerStep<'a, T> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self { tasks: &plan.tasks, states: Settled::new(plan.tasks.steps()) }
    }

    pub(super) fn get(&self, step: StepRef) -> T {
        self.states.get(self.tasks.place(step))
    }

    /// To be changed.
    pub(super) fn at(&mut self, step: StepRef) -> &mut T {
        self.states.at(self.tasks.place(step))
    }

    /// The steps whose states are whole, in the order of the plan: all that are under way, and some that are not.
    pub(super) fn whole(&self) -> impl Iterator<Item = StepRef> + use<T> {
        let steps: Vec<StepRef> =
            self.states.whole().into_iter().map(|place| self.tasks.step_at(place)).collect();
        steps.into_iter()
    }

    /// By task, the states of its steps in pre-order.
    pub(super) fn tasks(&self) -> impl Iterator<Item = impl ExactSizeIterator<Item = T>> {
        let mut next = 0;
        self.tasks.iter().map(move |task| {
            let root = next;
            next += task.step_count();
            (root..next).map(|place| self.states.get(place))
        })
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
