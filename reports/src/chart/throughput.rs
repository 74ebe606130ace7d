//! Completed tasks per second over the time of a run, block by block.

use harness::record::SLICE_NS;

use super::axis::Axis;
use super::figure::Chart;
use super::look::Look;
use super::plot::{Panel, WIDTH, panels, panels_height, panels_scales};
use super::svg::{Named, image};
use crate::table::{Cell, Group, Head, Table, TableRow};
use crate::{Comparison, ReportError, Row, Spread, format};

/// Points of a line at most; more cannot be told apart.
const POINTS: usize = 40;

pub(super) fn draw(comparison: &Comparison, looks: &[Look]) -> Result<Option<Chart>, ReportError> {
    // Where something is broken in every block at another time, it is drawn around that.
    if comparison.records().any(|run| run.faults.injected() > 0) {
        return Ok(None);
    }
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
    let rates: Vec<Vec<Vec<f64>>> = rows.iter().map(|(row, _)| rates(row, per_point, points)).collect();
    // A point stands in the middle of the slices that it sums up.
    let middle = seconds(1) / 2.0;
    let all: Vec<Panel> = rows
        .iter()
        .zip(&rates)
        .map(|((row, look), blocks)| Panel {
            name: row.contender.clone(),
            look: *look,
            thin: blocks
                .iter()
                .map(|rates| rates.iter().enumerate().map(|(n, rate)| (seconds(n) + middle, *rate)).collect())
                .collect(),
            heavy: Vec::new(),
            band: None,
        })
        .collect();
    let greatest = rates.iter().flatten().flatten().copied().fold(0.0, f64::max);
    let (mut x, y) = (
        Axis::from_zero("seconds since the start", seconds(points)),
        Axis::from_zero("completed /s", greatest),
    );
    x.to = seconds(points);
    let title = "Throughput over time";
    let caption = format!(
        "Completed tasks per second, in steps of {}; a line is a block. Arrivals end after {}; what follows is the drain.",
        format::duration(seconds(1) * 1e9),
        format::duration(comparison.manifest.plan.window_ns as f64),
    );
    let scales = panels_scales(all.len(), &x, &y);
    let named = Named { id: "throughput", title, description: &caption, scales };
    let svg = image(&named, (WIDTH, panels_height(all.len())), |area| panels(area, &x, &y, &all))?;
    let data = Table {
        head: rows.iter().map(|(row, _)| Head::number(&row.contender, "median, range of blocks")).collect(),
        groups: vec![Group {
            label: "",
            rows: (0..points)
                .map(|point| TableRow {
                    name: format!("from {:.1} s", seconds(point)),
                    goes_on: false,
                    cells: rates.iter().map(|blocks| cell(blocks, point)).collect(),
                })
                .collect(),
        }],
        ..Table::default()
    };
    Ok(Some(Chart { id: "throughput", title: title.to_owned(), caption, svg, legend: Vec::new(), data }))
}

/// What the blocks completed there.
fn cell(blocks: &[Vec<f64>], point: usize) -> Cell {
    let Some(of) = Spread::of(blocks.iter().map(|rates| rates[point])) else {
        return Cell::number(format::MISSING);
    };
    Cell::number(format::significant(of.median)).noted(format!(
        "{}–{}",
        format::significant(of.min),
        format::significant(of.max)
    ))
}

/// The rate in each group of slices, block by block; a run that ended earlier completed nothing there.
fn rates(row: &Row, per_point: usize, points: usize) -> Vec<Vec<f64>> {
    let rate = |slices: &[u64], point: usize| {
        let done: u64 = slices.iter().skip(point * per_point).take(per_point).sum();
        done as f64 * 1e9 / (per_point as f64 * SLICE_NS as f64)
    };
    let block = |slices: &[u64]| (0..points).map(|point| rate(slices, point)).collect();
    row.records.iter().map(|run| block(&run.completed_per_slice)).collect()
}
