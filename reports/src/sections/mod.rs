//! What stands below the charts, one file a section.

mod again;
mod bench;
mod differences;
mod capacity;
mod facts;
mod faults;
mod guarantees;
mod servers;
mod tally;
mod told;
mod verdicts;

pub(crate) use again::{command, order};
pub(crate) use bench::cost as bench_cost;
pub(crate) use capacity::capacity;
pub(crate) use differences::{cells as difference_cells, differences, head as difference_head};
pub(crate) use facts::{Facts, bench, environment};
pub(crate) use faults::faults;
pub(crate) use guarantees::guarantees;
pub(crate) use servers::servers;
pub(crate) use tally::tally;
pub(crate) use told::told;
pub(crate) use verdicts::{not_asked, verdicts};
