//! Which operations take part in a search, and what they mean to each other.

use super::object::{Model, Operation};

/// Which operations take part, by index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) index: usize,
    pub(super) need: Need,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It happened, before this return.
    Must(u64),
    /// It may have happened, up to this return where it has one.
    May(Option<u64>),
}

/// All operations as they are.
pub(super) fn view<O>(ops: &[Operation<O>]) -> Vec<Part> {
    let need = |ret: Option<u64>| ret.map_or(Need::May(None), Need::Must);
    ops.iter().enumerate().map(|(index, op)| Part { index, need: need(op.ret) }).collect()
}

/// Whether another part overlaps this one and could make it do something.
pub(super) fn wakes<M: Model>(model: &M, ops: &[Operation<M::Op>], part: &Part, other: &Part) -> bool {
    let span = |part: &Part| {
        let (Need::Must(ret) | Need::May(Some(ret))) = part.need else {
            return (ops[part.index].call, u64::MAX);
        };
        (ops[part.index].call, ret)
    };
    let ((call, ret), (other_call, other_ret)) = (span(part), span(other));
    let overlap = part.index != other.index && other_call <= ret && other_ret >= call;
    overlap && model.woken(&ops[part.index].op, &ops[other.index].op)
}
