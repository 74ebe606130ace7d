//! What is compared and why: scenario files, contenders, and the `lockbench` command.
//!
//! This crate knows *what*: which tasks, how hot, which mechanisms. It has no clock, no histogram and no check; those
//! are in `harness`.
//!
//! From the ground up, which is the reading order too:
//!
//! * [`spec`]: a scenario file, what was asked.
//! * [`workload`]: draws the plan, what will run.
//! * [`catalog`]: the scenarios that come with lockbench.
//! * [`comparable`]: whether batches may stand side by side; [`thresholds`]: what a gate asks,
//!   [`requirements`]: what an architect requires.
//! * [`port`]: how a program in any language takes part.
//! * [`contenders`]: controls, lock variants, the ring and the job queue as mechanisms.
//! * [`foresight`]: scenarios in virtual time.
//! * [`batch`]: every contender in every block, each on a fresh server; the exit code.
//! * [`command`]: the command line, a file for each verb; [`progress`]: what it shows meanwhile.

pub mod spec;

pub mod workload;

pub mod catalog;

pub mod comparable;

pub mod thresholds;

pub mod requirements;

pub mod port;

pub mod contenders;

pub mod foresight;

pub mod calibration;

pub mod batch;

pub mod progress;

pub mod command;
