//! Breaks on purpose what a plan says, while a run goes on, and takes each fault back.

mod nodes;
mod views;
mod surroundings;
mod channel;
mod channels;
mod injector;

pub(crate) use injector::Injector;
pub(crate) use nodes::Nodes;
pub(crate) use surroundings::Surroundings;
pub(crate) use views::Views;
