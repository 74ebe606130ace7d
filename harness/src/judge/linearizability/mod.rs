//! Linearizability: could one atomic object have given these answers, each at some moment between call and return?
//!
//! Not a check of every run: who was inside is known from the agent there, and a sweep decides it. This is for
//! histories of which only the clients' side is known, in the forms that [`read`] takes, for `lockbench check` and for
//! the tests of locks themselves. In reading order:
//!
//! * [`Model`]: the atomic object; one file each in [`model`].
//! * [`decide`]: the search. [`witness`](fn@witness): the smallest excerpt that shows a violation.
//! * [`History`] and [`read`]: stored histories, and what their operations mean to a model.
//!
//! ```
//! use harness::judge::linearizability::{Budget, Decision, Operation, decide};
//! use harness::judge::linearizability::model::{Register, RegisterOp};
//!
//! // A: |--- write 1 ---|
//! // B:                    |- read: nothing -|
//! let history = [
//!     Operation { call: 0, ret: Some(1), op: RegisterOp::Write(1) },
//!     Operation { call: 2, ret: Some(3), op: RegisterOp::Read(0) },
//! ];
//! assert!(matches!(decide(&Register, &history, Budget::default()), Decision::Violated { .. }));
//! ```

mod object;
mod history;
pub mod model;
mod memo;
mod part;
mod search;
mod witness;
mod overlap;
mod judge;
pub mod read;
#[cfg(test)]
mod tests;

pub use history::{Call, End, Format, History, Return, Value, Verb};
pub use judge::{Answer, FailedRelease, Judged, ModelKind, judge};
pub use object::{Budget, Decision, Model, Operation};
pub use overlap::{Overlaps, overlaps};
pub use search::decide;
pub use witness::{Core, witness};
