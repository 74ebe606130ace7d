//! The smallest excerpt that shows a violation.

use super::object::{Budget, Model, Operation};
use super::part::{Need, Part};
use super::search::{Found, search};

/// What remains of a history when everything that does not matter to its violation is taken away.
///
/// An operation is never simply left out, since the answer of another may depend on it: it becomes one that may have
/// happened between call and return, or not at all. So what is shown here is proof for the whole history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    /// Operations that no order explains together, by index. None can be spared.
    pub must: Vec<usize>,
    /// Of all others that overlap them in time, those that explain some of the answers on the way, by index.
    pub may: Vec<usize>,
}

/// Shrinks a violation, found by [`decide`](super::search::decide) to be stuck at an operation, to a part that is locally
/// minimal: without any one of its operations there would be an order. The budget is for all tries together; when it is
/// used up, the part is what was reached.
#[must_use]
pub fn witness<M: Model>(model: &M, ops: &[Operation<M::Op>], stuck: usize, budget: Budget) -> Core {
    let must: Vec<_> = (0..ops.len()).filter(|index| ops[*index].ret.is_some()).collect();
    let mut shrinker = Shrinker { model, ops, budget, must: must.clone(), may: Vec::new() };
    if !shrinker.cut(stuck) {
        shrinker.keep_only(&must);
    }
    let mut chunk = shrinker.must.len().div_ceil(2);
    while chunk > 0 && shrinker.budget.steps > 0 {
        if !shrinker.sweep(chunk) || chunk > 1 {
            chunk /= 2;
        }
    }
    let Shrinker { must, mut may, .. } = shrinker;
    let start = must.iter().map(|index| ops[*index].call).min();
    may.retain(|index| ops[*index].ret.is_none_or(|ret| Some(ret) >= start));
    Core { must, may }
}

struct Shrinker<'a, M: Model> {
    model: &'a M,
    ops: &'a [Operation<M::Op>],
    budget: Budget,
    must: Vec<usize>,
    may: Vec<usize>,
}

impl<M: Model> Shrinker<'_, M> {
    /// Tries to spare each chunk of operations; whether any could be.
    fn sweep(&mut self, chunk: usize) -> bool {
        let (mut place, mut shrunk) = (0, false);
        while place < self.must.len() && self.budget.steps > 0 {
            let mut fewer = self.must.clone();
            fewer.drain(place..(place + chunk).min(fewer.len()));
            if self.keep_only(&fewer) {
                shrunk = true;
            } else {
                place += chunk;
            }
        }
        shrunk
    }

    /// Keeps only these, and fewer where that is easily seen, if they still have no order.
    fn keep_only(&mut self, must: &[usize]) -> bool {
        let Some(mut stuck) = self.try_only(must) else { return false };
        while self.must.iter().any(|index| self.ops[*index].ret > self.ops[stuck].ret) {
            match self.try_only(&self.until(stuck)) {
                Some(earlier) => stuck = earlier,
                None => break,
            }
        }
        true
    }

    /// Leaves out what returned after the return that no order gets past. A model that foresees may have looked further
    /// ahead, so this too has to be tried.
    fn cut(&mut self, stuck: usize) -> bool {
        self.keep_only(&self.until(stuck))
    }

    fn until(&self, stuck: usize) -> Vec<usize> {
        let limit = self.ops[stuck].ret;
        self.must.iter().copied().filter(|index| self.ops[*index].ret <= limit).collect()
    }

    /// Keeps only these if they still have no order: where the search got stuck.
    fn try_only(&mut self, must: &[usize]) -> Option<usize> {
        let limit = must.iter().filter_map(|index| self.ops[*index].ret).max()?;
        let mut certain = vec![false; self.ops.len()];
        must.iter().for_each(|index| certain[*index] = true);
        let called = |index: &usize| self.ops[*index].call <= limit;
        let parts: Vec<_> = (0..self.ops.len())
            .filter(called)
            .map(|index| {
                let ret = self.ops[index].ret;
                Part { index, need: ret.filter(|_| certain[index]).map_or(Need::May(ret), Need::Must) }
            })
            .collect();
        // One hard try must not use up what many easy ones need.
        let steps = (self.budget.steps / 16).max(10_000).min(self.budget.steps);
        let searched = search(self.model, self.ops, &parts, Budget { steps, ..self.budget });
        self.budget.steps -= searched.steps.min(self.budget.steps);
        let Found::Stuck { at } = searched.found else { return None };
        (self.must, self.may) = (must.to_vec(), searched.helpful);
        Some(at)
    }
}
