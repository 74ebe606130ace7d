//! Runs a plan against a mechanism, records what the resource saw, measures it and judges it.
//!
//! This crate knows *how*: run any plan, judge any history. It names no lock backend and no scenario; products are
//! named in [`servers`] alone.
//!
//! ```text
//! Plan ─▶ run(nodes × Mechanism) ─▶ Agent ─▶ events ─▶ measure + check ─▶ RunRecord
//! ```
//!
//! In reading order:
//!
//! * [`plan`]: what will run. Data, drawn by whoever makes it.
//! * [`mechanism`]: the contract of everything that is compared; [`control`] has those that need no server.
//! * [`agent`]: the resource side, the ground truth of who is inside.
//! * [`node`] and [`run`](mod@run): a management node, and a whole run; [`placement`]: nodes as processes.
//! * [`fault`]: what is broken on purpose; [`link`]: a connection that can be; [`view`]: a ring's members, which change.
//! * [`event`]: what happened; [`clock`]: when.
//! * [`measure`] and [`check`]: figures and verdicts from a history.
//! * [`simulation`]: locks and rings without sockets, in virtual time, with flaws that the checks must catch.
//! * [`record`]: what is stored, and the only module that `reports` reads.
//! * [`machine`] and [`servers`]: where it ran, and the real servers that it ran against.

pub mod agent;
pub mod check;
mod child;
pub mod clock;
pub mod control;
pub mod event;
pub mod fault;
pub mod link;
pub mod machine;
pub mod measure;
pub mod mechanism;
pub mod node;
mod part;
mod peak;
pub mod placement;
pub mod plan;
pub mod record;
pub mod run;
pub mod servers;
pub mod simulation;
pub mod view;
