//! A register with compare-and-set.

use super::super::object::Model;

/// Holds one value; values are numbers given by whoever reads the history, 0 is the initial one.
#[derive(Debug, Clone, Copy)]
pub struct Register;

/// An operation on a [`Register`] and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegisterOp {
    /// This value was seen.
    Read(u32),
    /// This value was written.
    Write(u32),
    /// The first value was there and was replaced by the second.
    Swap(u32, u32),
    /// Another value than this was there, so nothing was replaced.
    NoSwap(u32),
}

impl Model for Register {
    type Op = RegisterOp;
    type State = u32;

    fn initial(&self) -> u32 {
        0
    }

    fn step(&self, value: &u32, op: &RegisterOp) -> Option<u32> {
        match *op {
            RegisterOp::Read(seen) => (seen == *value).then_some(*value),
            RegisterOp::Write(written) => Some(written),
            RegisterOp::Swap(from, to) => (from == *value).then_some(to),
            RegisterOp::NoSwap(from) => (from != *value).then_some(*value),
        }
    }

    fn changes(&self, op: &RegisterOp) -> bool {
        match op {
            RegisterOp::Read(_) | RegisterOp::NoSwap(_) => false,
            RegisterOp::Write(_) => true,
            RegisterOp::Swap(from, to) => from != to,
        }
    }
}
