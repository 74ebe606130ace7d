//! The command line: a file for each verb, one line for it in `verbs`.
//!
//! What a verb is (`verb`); what several verbs need (`print`, `servers`, `signals`, and for a `batch` what is told of it: `manifest`
//! and `harness_cost`, how it goes: `measured`; a `sweep` is many); the verbs; and the command line that they make up (`verbs`).

mod print;
mod servers;
mod signals;
mod verb;

mod harness_cost;
mod manifest;
mod measured;
mod batch;
mod sweep;

mod capacity;
mod check;
mod compare;
mod doctor;
mod floors;
mod gate;
mod history;
mod list;
mod node;
mod report;
mod ring;
mod run;

mod calibrate;

mod verbs;

pub use self::verbs::main;
