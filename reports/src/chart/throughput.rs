//! Completed tasks per second over the time of a run.

use harness::record::{RunRecord, SLICE_NS};

use super::axis::Axis;
use super::figure::{Chart, key};
use super::palette::Look;
use super::plot::{Line, WIDTH, lines};
use super::svg::{Named, image};
use crate::table::{Cell, Group, Head, Table, TableRow};
use crate::{Comparison, ReportError, Row, Spread, format};

/// Points of a line at most; more cannot be told apart.
const POINTS: usize = 40;

pub(super) fn draw(comparison: &Comparison, looks: &[Look]) -> Result<Option<Chart>, ReportError> {
    // Contenders stand first, so that their looks do, too.
    let rows: Vec<(&Row, Look)> = comparison.contenders().zip(looks.iter().copied()).collect();
    let slices = rows
        .iter()
        .flat_map(|(row, _)| &row.records)
        .map(|run| run.completed_per_slice.len())
        .max()
        .unwrap_or(0);
    if slices == 0 {
        return Ok(None);
    }
    let per_point = slices.div_ceil(POINTS);
    let points = slices.div_ceil(per_point);
    let seconds = |point: usize| (point * per_point) as f64 * SLICE_NS as f64 / 1e9;
    let rates: Vec<Vec<f64>> = rows.iter().map(|(row, _)| rates(row, per_point, points)).collect();
    let curves: Vec<Line> = rows
        .iter()
        .zip(&rates)
        .map(|((_, look), rates)| {
            // A point stands in the middle of the slices that it sums up.
            let middle = seconds(1) / 2.0;
            Line {
                look: *look,
                points: rates.iter().enumerate().map(|(n, rate)| (seconds(n) + middle, *rate)).collect(),
            }
        })
        .collect();
    let greatest = rates.iter().flatten().copied().fold(0.0, f64::max);
    let (mut x, y) = (
        Axis::from_zero("seconds since the start", seconds(points)),
        Axis::from_zero("completed /s", greatest),
    );
    x.to = seconds(points);
    let width = format::duration(seconds(1) * 1e9);
    let title = "Throughput over time";
    let bands = bands(comparison);
    let caption = format!(
        "Completed tasks per second, in steps of {width}; each point is the median of the blocks. Arrivals end after {}; \
         what follows is the drain.{}",
        format::duration(comparison.manifest.plan.window_ns as f64),
        if bands.is_empty() {
            ""
        } else {
            " Shaded: while something was broken on purpose, in any of the blocks."
        }
    );
    let named = Named { id: "throughput", title, description: &caption };
    let svg = image(&named, (WIDTH, 320), |area| lines(area, &x, &y, &curves, &bands))?;
    let data = Table {
        head: rows.iter().map(|(row, _)| Head::number(&row.contender, "")).collect(),
        groups: vec![Group {
            label: "",
            rows: (0..points)
                .map(|point| TableRow {
                    name: format!("from {:.1} s", seconds(point)),
                    goes_on: false,
                    cells: rates
                        .iter()
                        .map(|rates| Cell::number(format::significant(rates[point])))
                        .collect(),
                })
                .collect(),
        }],
        ..Table::default()
    };
    let legend = rows.iter().map(|(row, look)| key(&row.contender, *look)).collect();
    Ok(Some(Chart { id: "throughput", title: title.to_owned(), caption, svg, legend, data }))
}

/// When something was broken, in seconds: of each block once, since its contenders share the plan.
fn bands(comparison: &Comparison) -> Vec<(f64, f64)> {
    let mut blocks: Vec<&RunRecord> = Vec::new();
    for run in comparison.records().filter(|run| !run.faults.faults.is_empty()) {
        if !blocks.iter().any(|known| known.block == run.block) {
            blocks.push(run);
        }
    }
    let seconds = |ns: u64| ns as f64 / 1e9;
    let faults = blocks.iter().flat_map(|run| &run.faults.faults);
    faults.filter_map(|fault| Some((seconds(fault.from_ns?), seconds(fault.until_ns?)))).collect()
}

/// Median over blocks of the rate in each group of slices; a run that ended earlier completed nothing there.
fn rates(row: &Row, per_point: usize, points: usize) -> Vec<f64> {
    let rate = |slices: &[u64], point: usize| {
        let done: u64 = slices.iter().skip(point * per_point).take(per_point).sum();
        done as f64 * 1e9 / (per_point as f64 * SLICE_NS as f64)
    };
    let median = |point| Spread::of(row.records.iter().map(|run| rate(&run.completed_per_slice, point)));
    (0..points).map(|point| median(point).map_or(0.0, |spread| spread.median)).collect()
}
