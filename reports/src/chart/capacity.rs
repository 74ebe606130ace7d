//! What each row carries, block by block.

use super::axis::Axis;
use super::figure::Chart;
use super::look::Look;
use super::plot::{Strip, WIDTH, strips, strips_height, strips_scales};
use super::svg::{Named, image};
use crate::format::{self, MISSING};
use crate::matrix::CONTROLS;
use crate::table::{Cell, Group, Head, Table, TableRow};
use crate::{Comparison, ReportError};
use harness::record::Role;
use harness::record::capacity::Carried;

pub(super) fn draw(comparison: &Comparison, looks: &[Look]) -> Result<Option<Chart>, ReportError> {
    let all = comparison.carried();
    if all.iter().all(|carried| carried.blocks.is_empty()) {
        return Ok(None);
    }
    let look = |carried: &Carried| {
        let place = comparison.rows.iter().position(|row| row.contender == carried.contender);
        place
            .and_then(|place| looks.get(place))
            .copied()
            .unwrap_or_else(|| Look::of_control(&carried.contender))
    };
    let rows: Vec<Strip> = all
        .iter()
        .map(|carried| Strip {
            name: carried.contender.clone(),
            look: look(carried),
            dots: carried.blocks.iter().map(|(_, rate)| *rate).collect(),
            rings: Vec::new(),
            middle: carried.per_s(),
        })
        .collect();
    let greatest = all.iter().flat_map(|carried| &carried.blocks).map(|(_, rate)| *rate).fold(0.0, f64::max);
    let title = "Capacity";
    let caption = "The highest rate of tasks that meets the service level. A dot is a block, the bar their range, the upright \
                   stroke their geometric mean. Controls are grey: they are ceilings.";
    let axis = Axis::from_zero("tasks per second", greatest);
    let named = Named { id: "capacity", title, description: caption, scales: strips_scales(&axis, &rows) };
    let svg = image(&named, (WIDTH, strips_height(rows.len())), |area| strips(area, &axis, &rows))?;
    let blocks = all.iter().flat_map(|carried| &carried.blocks).map(|(block, _)| *block).max().unwrap_or(0);
    let mut head = vec![Head::number("Mean /s", "geometric")];
    head.extend((1..=blocks).map(|block| Head::number(&format!("Block {block} /s"), "")));
    let number =
        |rate: Option<f64>| Cell::number(rate.map_or_else(|| MISSING.to_owned(), format::significant));
    let row =
        |carried: &Carried| TableRow {
            name: carried.contender.clone(),
            goes_on: false,
            cells: std::iter::once(carried.per_s())
                .chain((1..=blocks).map(|block| {
                    carried.blocks.iter().find(|(other, _)| *other == block).map(|(_, rate)| *rate)
                }))
                .map(number)
                .collect(),
        };
    let group = |label, role| Group {
        label,
        rows: all.iter().filter(|carried| carried.role == role).map(row).collect(),
    };
    let mut groups = vec![group("", Role::Contender), group(CONTROLS, Role::Control)];
    groups.retain(|group| !group.rows.is_empty());
    let data = Table { head, groups, ..Table::default() };
    let caption = caption.to_owned();
    Ok(Some(Chart { id: "capacity-blocks", title: title.to_owned(), caption, svg, legend: Vec::new(), data }))
}
