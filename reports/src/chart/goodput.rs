//! Goodput per row with the spread of its blocks.

use super::axis::Axis;
use super::figure::Chart;
use super::palette::Look;
use super::plot::{Strip, WIDTH, strips, strips_height};
use super::svg::{Named, image};
use crate::matrix::by_role;
use crate::table::{Cell, Head};
use crate::{Comparison, ReportError, format};

pub(super) fn draw(comparison: &Comparison, looks: &[Look]) -> Result<Option<Chart>, ReportError> {
    if comparison.rows.is_empty() {
        return Ok(None);
    }
    let rows: Vec<Strip> = comparison
        .rows
        .iter()
        .zip(looks)
        .map(|(row, look)| Strip {
            name: row.contender.clone(),
            look: *look,
            dots: row.valid().map(|run| run.goodput_per_s).collect(),
            rings: Vec::new(),
            middle: row.goodput_per_s.map(|of| of.median),
        })
        .collect();
    let greatest =
        comparison.rows.iter().filter_map(|row| row.goodput_per_s).map(|of| of.max).fold(0.0, f64::max);
    let title = "Goodput";
    let caption = "Tasks per second that completed within the arrival window. A dot is a block, the bar their range, the upright \
                   stroke their median. Controls are grey.";
    let axis = Axis::from_zero("completed tasks per second", greatest);
    let named = Named { id: "goodput", title, description: caption };
    let svg = image(&named, (WIDTH, strips_height(rows.len())), |area| strips(area, &axis, &rows))?;
    let blocks = comparison.rows.iter().flat_map(|row| &row.records).map(|run| run.block).max().unwrap_or(0);
    let mut head = vec![Head::number("Median /s", "")];
    head.extend((1..=blocks).map(|block| Head::number(&format!("Block {block} /s"), "")));
    let data = by_role(comparison, head, |row| {
        let mut cells = vec![Cell::number(
            row.goodput_per_s.map_or_else(|| format::MISSING.to_owned(), |of| format::significant(of.median)),
        )];
        cells.extend((1..=blocks).map(|block| {
            let run = row.records.iter().find(|run| run.block == block);
            Cell::number(
                run.map_or_else(|| format::MISSING.to_owned(), |run| format::significant(run.goodput_per_s)),
            )
        }));
        cells
    });
    Ok(Some(Chart {
        id: "goodput",
        title: title.to_owned(),
        caption: caption.to_owned(),
        svg,
        legend: Vec::new(),
        data,
    }))
}
