//! The command line: a file for each verb, one line for it in `verbs`.
//!
//! What a verb is (`verb`); what several verbs need (`print`, `servers`, `signals`, and for a `batch` what is told of it: `manifest`
//! and `harness_cost`, how it goes: `how` and `measured`, who takes part of his own accord: `guests`; a `sweep` is `several`); the verbs; and the
//! command line that they make up (`verbs`).

mod print;
mod servers;
mod signals;
mod verb;

mod harness_cost;
mod manifest;
mod measured;
mod guests;
mod remote;
mod how;
mod fetch;
mod batch;
mod several;
mod sweep;

mod capacity;
mod check;
mod compare;
mod completions;
mod doctor;
mod explain;
mod explore;
mod floors;
mod gate;
mod history;
mod init;
mod list;
mod man;
mod matrix;
mod keys;
mod kubernetes;
mod hosts;
mod node;
mod peers;
mod verified;
mod kept;
mod port;
mod predict;
mod report;
mod review;
mod ring;
mod run;

mod calibrate;

mod verbs;

pub use self::verbs::main;
