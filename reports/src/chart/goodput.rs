//! Goodput per row with the spread of its blocks.

use super::axis::Axis;
use super::figure::Chart;
use super::look::Look;
use super::plot::{Strip, WIDTH, strips, strips_height, strips_scales};
use super::svg::{Named, image};
use crate::matrix::by_role;
use crate::table::{Cell, Head};
use crate::{Comparison, ReportError, format};

pub(super) fn draw(comparison: &Comparison, looks: &[Look]) -> Result<Option<Chart>, ReportError> {
    // What is the same for all is said in a sentence.
    if comparison.goodput_is_alike() {
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
    let named = Named { id: "goodput", title, description: caption, scales: strips_scales(&axis, &rows) };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn goodput_that_is_alike_for_all_is_not_drawn() {
        let mut comparison = fixture::small();
        let drawn = |comparison: &Comparison| draw(comparison, &Look::of_rows(comparison)).unwrap().is_some();
        let all = [399.0, 400.0, 401.0];
        for row in &mut comparison.rows {
            row.goodput_per_s = crate::Spread::of(all);
        }
        assert!(!drawn(&comparison), "400 for all");
        comparison.rows[0].goodput_per_s = crate::Spread::of([300.0, 310.0]);
        assert!(drawn(&comparison));
        comparison.rows.truncate(1);
        assert!(!drawn(&comparison), "there is nobody to compare it with");
    }
}
