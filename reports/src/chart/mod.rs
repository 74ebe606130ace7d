//! Charts as SVG, each with the table of its data.

mod axis;
pub(crate) mod palette;
mod figure;
mod svg;
mod plot;

mod capacity;
mod curve;
mod goodput;
mod tail;
mod throughput;
mod steady;
mod bystander;

mod trend;

use crate::{Comparison, ReportError};

pub(crate) use figure::Chart;
use palette::Look;
pub(crate) use trend::{TrendLine, trend_image};

/// Draws a chart; `None` when no run has the data for it.
type Draw = fn(&Comparison, &[Look]) -> Result<Option<Chart>, ReportError>;

/// All charts, in the order of the page.
const ALL: &[Draw] = &[
    capacity::draw,
    curve::draw,
    goodput::draw,
    tail::draw,
    throughput::draw,
    steady::draw,
    bystander::draw,
];

/// All charts that the data allow.
pub(crate) fn all(comparison: &Comparison) -> Result<Vec<Chart>, ReportError> {
    let looks = Look::of_rows(comparison);
    let mut charts = Vec::new();
    for draw in ALL {
        charts.extend(draw(comparison, &looks)?);
    }
    Ok(charts)
}
