//! Charts as SVG, each with the table of its data.

mod axis;
mod goodput;
pub(crate) mod palette;
mod plot;
mod svg;
mod tail;
mod throughput;

mod bystander;

use crate::table::Table;
use crate::{Comparison, ReportError};
use palette::{Look, SERIES};

/// A chart, ready for a page.
pub(crate) struct Chart {
    pub(crate) id: &'static str,
    pub(crate) title: String,
    /// What the axes are and how to read it.
    pub(crate) caption: String,
    /// Safe markup: every name in it is escaped.
    pub(crate) svg: String,
    pub(crate) legend: Vec<Key>,
    pub(crate) data: Table,
}

/// A line of a legend.
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) colour: &'static str,
    pub(crate) dashes: &'static str,
}

/// Draws a chart; `None` when no run has the data for it.
type Draw = fn(&Comparison, &[Look]) -> Result<Option<Chart>, ReportError>;

/// All charts, in the order of the page.
const ALL: &[Draw] = &[goodput::draw, tail::draw, throughput::draw, bystander::draw];

/// All charts that the data allow.
pub(crate) fn all(comparison: &Comparison) -> Result<Vec<Chart>, ReportError> {
    let looks = Look::of_rows(comparison);
    let mut charts = Vec::new();
    for draw in ALL {
        charts.extend(draw(comparison, &looks)?);
    }
    Ok(charts)
}

fn key(name: &str, look: Look) -> Key {
    Key { name: name.to_owned(), colour: SERIES[look.colour].name, dashes: look.dashes() }
}
