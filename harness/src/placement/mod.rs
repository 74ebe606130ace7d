//! A whole run: a plan, a mechanism and where its nodes live.
//!
//! [`single`] has all nodes in this process, [`process`] each in its own; both return a [`Run`].

mod stage;
pub mod single;
pub mod process;

pub use stage::{Run, RunOptions};
