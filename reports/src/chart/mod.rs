//! Charts as SVG, each with the table of its data.

mod scales;
mod axis;
pub(crate) mod palette;
mod look;
mod figure;
mod svg;
mod plot;

mod capacity;
mod curve;
mod tail;
mod goodput;
mod throughput;
mod steady;
mod faulted;
mod bystander;

mod timeline;
mod trend;
mod course;

use crate::{Comparison, ReportError};

pub(crate) use course::{Course, Courses, Crossing, Point, course_chart};
pub(crate) use figure::{Chart, Key};
pub use look::KNOWN_LOOKS;
use look::Look;
pub(crate) use timeline::timelines;
pub(crate) use trend::{TrendLine, trend_image};

/// Draws a chart; `None` when no run has the data for it.
type Draw = fn(&Comparison, &[Look]) -> Result<Option<Chart>, ReportError>;

/// All charts, in the order of the page.
const ALL: &[Draw] = &[
    capacity::draw,
    curve::draw,
    tail::draw,
    goodput::draw,
    throughput::draw,
    steady::draw,
    faulted::throughput,
    faulted::beyond,
    bystander::draw,
];

/// All charts that the data allow.
pub(crate) fn all(comparison: &Comparison) -> Result<Vec<Chart>, ReportError> {
    let looks = Look::of_rows(comparison);
    let mut charts = Vec::new();
    for draw in ALL {
        charts.extend(draw(comparison, &looks)?);
    }
    for chart in &mut charts {
        let chart: &mut Chart = chart;
        chart.data = std::mem::take(&mut chart.data).without_empty_columns();
    }
    Ok(charts)
}

/// How each row of the page is drawn.
pub(crate) fn contenders(comparison: &Comparison) -> Vec<Key> {
    let looks = Look::of_rows(comparison);
    comparison.rows.iter().zip(looks).map(|(row, look)| figure::key(&row.contender, look)).collect()
}
