//! Runs a plan against a mechanism, records what the resource saw, measures it and judges it.
//!
//! This crate knows *how*: run any plan, judge any history. It names no lock backend and no scenario; products are
//! named in [`servers`] alone.
//!
//! ```text
//! Plan ─▶ placement(nodes × Mechanism) ─▶ Agent ─▶ events ─▶ judge ─▶ RunRecord
//! ```
//!
//! From the ground; a floor knows those above it in this list, and none below:
//!
//! * [`model`]: the words. What will run (a plan, drawn by whoever makes it) and what happened (events). Data only.
//! * [`record`]: what is stored, and the only module that `reports` reads.
//! * [`judge`]: figures and verdicts from a history, whoever made it.
//! * [`processors`]: who may use which; `child`: processes that cannot outlive this one; [`fingerprint`]: what programs are made of; [`program`]: those of others, which speak over pipes; [`secret`]: what only some may know; [`damage`]: what hostile bytes look like, for tests; [`servers`]: the real servers that contenders run against.
//! * [`engine`]: what a run is made of: clock, agent, nodes, links, and the contract of everything that is compared.
//! * [`faults`]: breaks what a plan says, while a run goes on.
//! * [`placement`]: a whole run, with its nodes in one process or each in its own.
//! * [`simulation`]: locks and rings without sockets, in virtual time, with flaws that the checks must catch.

pub mod model;
pub mod record;
pub mod judge;
pub mod processors;
mod child;
pub mod fingerprint;
pub mod program;
pub mod secret;
pub mod damage;
pub mod servers;
pub mod engine;
pub mod faults;
pub mod placement;
pub mod simulation;
