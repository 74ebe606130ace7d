//! A whole run: a plan, a mechanism and where its nodes live.
//!
//! [`single`] has all nodes in this process, [`process`] each in its own, on this machine or at a host of [`remote`]; both return a
//! [`Run`].

mod stage;
mod frames;
mod door;
pub mod remote;
pub mod single;
pub mod process;

pub use stage::{Run, RunOptions};
