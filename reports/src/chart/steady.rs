//! What tasks took beyond their own work over the time of a run, and from where on that is warm by the data.

use harness::record::{SLICE_NS, Steadiness};

use super::axis::{Axis, log_ns};
use super::figure::{Chart, key};
use super::look::Look;
use super::plot::{Line, WIDTH, lines, lines_scales};
use super::svg::{Named, image};
use crate::format::MISSING;
use crate::table::{Cell, Group, Head, Table, TableRow};
use crate::{Comparison, ReportError, Row, Spread, format};

/// Points of a line at most; more cannot be told apart.
const POINTS: usize = 60;

pub(super) fn draw(comparison: &Comparison, looks: &[Look]) -> Result<Option<Chart>, ReportError> {
    // Contenders stand first, so that their looks do, too.
    let rows: Vec<(&Row, Look)> = comparison.contenders().zip(looks.iter().copied()).collect();
    // Where something is broken in every block at another time, it is drawn around that.
    if comparison.records().any(|run| run.faults.injected() > 0) {
        return Ok(None);
    }
    let runs = || rows.iter().flat_map(|(row, _)| row.valid());
    let slices = runs().map(|run| run.excess_per_slice_ns.len()).max().unwrap_or(0);
    if slices < 2 {
        return Ok(None);
    }
    let per_point = slices.div_ceil(POINTS);
    let seconds = |slices: f64| slices * SLICE_NS as f64 / 1e9;
    let curves: Vec<Vec<(f64, f64)>> = rows.iter().map(|(row, _)| curve(row, per_point, slices)).collect();
    let y = Axis::log_duration("beyond their own work", curves.iter().flatten().map(|(_, ns)| *ns));
    let mut x = Axis::from_zero("seconds since the start", seconds(slices as f64));
    x.to = seconds(slices as f64);
    let told: Vec<Told> = rows.iter().map(|(row, _)| Told::of(row)).collect();
    let mut all: Vec<Line> = rows
        .iter()
        .zip(&curves)
        .map(|((_, look), points)| Line {
            look: *look,
            points: points.iter().map(|(slice, ns)| (seconds(*slice), log_ns(*ns))).collect(),
        })
        .collect();
    let cuts = rows.iter().zip(&told).filter_map(|((_, look), told)| Some((*look, told.cut_s?)));
    all.extend(
        cuts.filter(|(_, cut_s)| *cut_s > 0.0)
            .map(|(look, cut_s)| Line { look, points: vec![(cut_s, y.from), (cut_s, y.to)] }),
    );
    let title = "Beyond their own work, over time";
    let caption = "What tasks took beyond their own planned work, by when they were due: the mean of each step of time, the median of the \
                   blocks. An upright line is where that contender is warm by the data (MSER-5, the median of the blocks); without \
                   one it is from the beginning on. The table has the warm-up that was asked for beside it."
        .to_owned();
    let named = Named { id: "steady", title, description: &caption, scales: lines_scales(320, &x, &y) };
    let svg = image(&named, (WIDTH, 320), |area| lines(area, &x, &y, &all, &[]))?;
    let data = Table {
        head: vec![
            Head::number("Warm-up before", "as asked, not measured"),
            Head::number("Warm after", "by the data, median of the blocks"),
            Head::text("Too short in"),
            Head::text("Not steady in"),
        ],
        groups: vec![Group {
            label: "",
            rows: rows.iter().zip(&told).map(|((row, _), told)| told.row(&row.contender)).collect(),
        }],
        ..Table::default()
    };
    let legend = rows.iter().map(|(row, look)| key(&row.contender, *look)).collect();
    Ok(Some(Chart { id: "steady", title: title.to_owned(), caption, svg, legend, data }))
}

/// The middle of each group of slices, and the median of the blocks there; slices in which nobody was due are left out.
fn curve(row: &Row, per_point: usize, slices: usize) -> Vec<(f64, f64)> {
    let mean = |run: &harness::record::RunRecord, from: usize| {
        let of: Vec<u64> =
            run.excess_per_slice_ns.iter().skip(from).take(per_point).flatten().copied().collect();
        (!of.is_empty()).then(|| of.iter().map(|ns| *ns as f64).sum::<f64>() / of.len() as f64)
    };
    let points = (0..slices).step_by(per_point).filter_map(|from| {
        let spread = Spread::of(row.valid().filter_map(|run| mean(run, from)))?;
        Some((from as f64 + per_point as f64 / 2.0, spread.median))
    });
    points.collect()
}

/// What the blocks of a row say of its warm-up.
struct Told {
    warm_up_ns: u64,
    /// The median; `None` where the runs are too short to tell.
    cut_s: Option<f64>,
    cold: usize,
    drifting: usize,
    blocks: usize,
}

impl Told {
    fn of(row: &Row) -> Self {
        let each: Vec<Steadiness> =
            row.valid().filter_map(|run| Steadiness::of(&run.excess_per_slice_ns)).collect();
        Self {
            warm_up_ns: row.records.iter().map(|run| run.warm_up_ns).max().unwrap_or(0),
            cut_s: Spread::of(each.iter().map(|of| of.cut_ns as f64 / 1e9)).map(|spread| spread.median),
            cold: each.iter().filter(|of| of.cold.is_some()).count(),
            drifting: each.iter().filter(|of| of.drift.is_some()).count(),
            blocks: each.len(),
        }
    }

    fn row(&self, name: &str) -> TableRow {
        let of = |count: usize| match self.blocks {
            0 => Cell::text("too short to tell"),
            blocks => Cell::text(format!("{count} of {}", format::plural(blocks as u64, "block"))),
        };
        let seconds = |s: f64| format!("{s:.1} s");
        TableRow {
            name: name.to_owned(),
            goes_on: false,
            cells: vec![
                Cell::number(seconds(self.warm_up_ns as f64 / 1e9)),
                Cell::number(self.cut_s.map_or_else(|| MISSING.to_owned(), seconds)),
                of(self.cold),
                of(self.drifting),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn where_a_run_is_warm_by_the_data_is_drawn_and_stands_beside_what_was_asked() {
        let comparison = fixture::small();
        let chart = draw(&comparison, &Look::of_rows(&comparison)).unwrap().unwrap();
        let cells = &chart.data.groups[0].rows[0].cells;
        assert_eq!(cells[0].text, "0.5 s");
        let cut_s: f64 = cells[1].text.trim_end_matches(" s").parse().unwrap();
        assert!((1.5..=2.0).contains(&cut_s), "{cut_s}");
        assert_eq!(cells[2].text, "3 of 3 blocks");
        assert_eq!(chart.svg.matches("class=\"k").count(), 4, "a curve and an upright line each");
        let mut old = fixture::small();
        old.rows.iter_mut().flat_map(|row| &mut row.records).for_each(|run| run.excess_per_slice_ns.clear());
        assert!(draw(&old, &Look::of_rows(&old)).unwrap().is_none(), "records of before have none");
    }
}
