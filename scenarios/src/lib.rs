//! What is compared and why: scenario files, contenders, and the `lockbench` command.
//!
//! This crate knows *what*: which tasks, how hot, which mechanisms. It has no clock, no histogram and no check; those
//! are in `harness`.
//!
//! In reading order:
//!
//! * [`spec`]: a scenario file, what was asked. [`catalog`] has those that come with lockbench.
//! * [`workload`]: draws the plan, what will run.
//! * [`contenders`]: controls, the ring and the lock variants as mechanisms.
//! * [`batch`]: every contender in every block, each on a fresh server; the exit code.
//! * [`command`]: the command line; [`progress`]: what it shows meanwhile; `ring`: the subcommand of that name.

pub mod batch;
pub mod catalog;
pub mod command;
pub mod contenders;
pub mod progress;
mod ring;
pub mod spec;
pub mod workload;
