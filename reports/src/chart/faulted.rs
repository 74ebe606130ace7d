//! What a fault does to throughput and to waiting: every fault of every block, aligned on its start.

use harness::record::{FaultRecord, RunRecord, SLICE_NS};

use super::axis::{Axis, log_ns};
use super::figure::Chart;
use super::look::Look;
use super::plot::{Panel, WIDTH, panels, panels_height, panels_scales};
use super::svg::{Named, image};
use crate::table::{Cell, Group, Head, Table, TableRow};
use crate::{Comparison, ReportError, Row, Spread, format};

/// Points of a line at most; more cannot be told apart.
const POINTS: usize = 60;

/// Thin lines of a panel at most; the heavy one is of all.
const LINES: usize = 40;

/// What is shown before a fault and after its end.
const BEFORE_S: f64 = 2.0;
const AFTER_S: f64 = 3.0;

/// Completed tasks per second around each fault.
pub(super) fn throughput(comparison: &Comparison, looks: &[Look]) -> Result<Option<Chart>, ReportError> {
    let figure = |run: &RunRecord, slices: std::ops::Range<usize>| {
        let done: u64 = run.completed_per_slice.get(slices.clone())?.iter().sum();
        Some(done as f64 * 1e9 / (slices.len() as f64 * SLICE_NS as f64))
    };
    let Some(around) = Around::of(comparison, looks, figure) else { return Ok(None) };
    let y = Axis::from_zero("completed /s", around.values().fold(0.0, f64::max));
    let words =
        Words { id: "throughput", title: "Throughput around each fault", what: "Completed tasks per second" };
    around.chart(&words, &y, |rate| rate, format::significant).map(Some)
}

/// What tasks took beyond their own work around each fault.
pub(super) fn beyond(comparison: &Comparison, looks: &[Look]) -> Result<Option<Chart>, ReportError> {
    let figure = |run: &RunRecord, slices: std::ops::Range<usize>| {
        let due: Vec<u64> = run.excess_per_slice_ns.get(slices)?.iter().flatten().copied().collect();
        (!due.is_empty()).then(|| due.iter().map(|ns| *ns as f64).sum::<f64>() / due.len() as f64)
    };
    let Some(around) = Around::of(comparison, looks, figure) else { return Ok(None) };
    if around.values().next().is_none() {
        return Ok(None);
    }
    let y = Axis::log_duration("beyond their work", around.values());
    let words = Words {
        id: "beyond",
        title: "Beyond their own work, around each fault",
        what: "What tasks took beyond their own planned work, by when they were due, the mean",
    };
    around.chart(&words, &y, log_ns, format::duration).map(Some)
}

struct Words {
    id: &'static str,
    title: &'static str,
    what: &'static str,
}

/// A kind of fault of one row: a line for each that was injected.
struct Panelled<'a> {
    kind: String,
    row: &'a Row,
    look: Look,
    /// How long they lasted, the median.
    lasted_s: f64,
    lines: Vec<Vec<Point>>,
}

impl Panelled<'_> {
    /// At each place that a line has: the place, the middle of it, and all lines there.
    fn medians(&self) -> Vec<(i64, f64, Spread)> {
        let points = || self.lines.iter().flatten();
        let (first, last) = (points().map(|p| p.place).min(), points().map(|p| p.place).max());
        let places = first.unwrap_or(0)..last.map_or(0, |last| last + 1);
        let at = |place| {
            let here = || points().filter(move |point| point.place == place);
            let count = here().count() as f64;
            let middle = here().map(|point| point.at_s).sum::<f64>() / count;
            Some((place, middle, Spread::of(here().map(|point| point.value))?))
        };
        places.filter_map(at).collect()
    }
}

/// A figure of some slices: their place after the fault, and their middle in seconds after it.
struct Point {
    place: i64,
    at_s: f64,
    value: f64,
}

struct Around<'a> {
    panels: Vec<Panelled<'a>>,
    /// Slices of a point.
    per_point: usize,
    /// The ends of what is shown.
    from_s: f64,
    until_s: f64,
}

impl<'a> Around<'a> {
    /// `None` where nothing was broken.
    fn of(
        comparison: &'a Comparison,
        looks: &[Look],
        figure: impl Fn(&RunRecord, std::ops::Range<usize>) -> Option<f64>,
    ) -> Option<Self> {
        let mut kinds: Vec<String> = Vec::new();
        for (fault, _) in comparison.contenders().flat_map(injected) {
            if !kinds.contains(&kind(fault)) {
                kinds.push(kind(fault));
            }
        }
        let longest_s = comparison.contenders().flat_map(injected).map(|(fault, _)| lasted_s(fault));
        let until_s = longest_s.reduce(f64::max)?.min(60.0) + AFTER_S;
        let slice_s = SLICE_NS as f64 / 1e9;
        let per_point = ((BEFORE_S + until_s) / slice_s / POINTS as f64).ceil().max(1.0) as usize;
        let point_s = per_point as f64 * slice_s;
        let [before, after] = [BEFORE_S, until_s].map(|s| (s / point_s).ceil() as i64);
        let line = |(fault, run): (&FaultRecord, &RunRecord)| {
            let from_ns = fault.from_ns.unwrap_or_default();
            let first = (from_ns / SLICE_NS) as i64;
            let point = |place: i64| {
                let from = usize::try_from(first + place * per_point as i64).ok()?;
                let value = figure(run, from..from + per_point)?;
                let at_s = (from as f64 + per_point as f64 / 2.0) * slice_s - from_ns as f64 / 1e9;
                Some(Point { place, at_s, value })
            };
            (-before..after).filter_map(point).collect::<Vec<_>>()
        };
        let rows: Vec<(&Row, Look)> = comparison.contenders().zip(looks.iter().copied()).collect();
        let panels = kinds.iter().flat_map(|of| rows.iter().map(move |(row, look)| (of, *row, *look)));
        let panels = panels.map(|(of, row, look)| {
            let own: Vec<_> = injected(row).filter(|(fault, _)| kind(fault) == *of).collect();
            let lasted = Spread::of(own.iter().map(|(fault, _)| lasted_s(fault)));
            Panelled {
                kind: of.clone(),
                row,
                look,
                lasted_s: lasted.map_or(0.0, |of| of.median),
                lines: own.into_iter().map(&line).collect(),
            }
        });
        let panels = panels.filter(|panel| !panel.lines.is_empty()).collect();
        // A fault begins somewhere within its slice.
        let (from_s, until_s) = (-(before as f64) * point_s - slice_s, after as f64 * point_s);
        Some(Self { panels, per_point, from_s, until_s })
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.panels.iter().flat_map(|panel| &panel.lines).flatten().map(|point| point.value)
    }

    fn chart(
        &self,
        words: &Words,
        y: &Axis,
        position: fn(f64) -> f64,
        text: fn(f64) -> String,
    ) -> Result<Chart, ReportError> {
        let several = self.panels.iter().any(|panel| panel.kind != self.panels[0].kind);
        let name = |panel: &Panelled<'_>| match several {
            true => format!("{}: {}", panel.kind, panel.row.contender),
            false => panel.row.contender.clone(),
        };
        let all: Vec<Panel> = self
            .panels
            .iter()
            .map(|panel| Panel {
                name: name(panel),
                look: panel.look,
                thin: panel
                    .lines
                    .iter()
                    .step_by(panel.lines.len().div_ceil(LINES).max(1))
                    .map(|line| line.iter().map(|point| (point.at_s, position(point.value))).collect())
                    .collect(),
                heavy: panel.medians().into_iter().map(|(_, at_s, of)| (at_s, position(of.median))).collect(),
                band: Some((0.0, panel.lasted_s, panel.kind.clone())),
            })
            .collect();
        let x = Axis::around("seconds after the fault began", self.from_s, self.until_s);
        let caption = format!(
            "{}, in steps of {}. A thin line is one fault of one block, the heavy line their median at each distance from the start of              the fault. Shaded: while it lasted, the median. Other faults of a block may fall into the same seconds.{}",
            words.what,
            format::duration(self.per_point as f64 * SLICE_NS as f64),
            if self.panels.iter().any(|panel| panel.lines.len() > LINES) {
                format!(" Of more than {LINES} faults only some are drawn; the median is of all.")
            } else {
                String::new()
            },
        );
        let scales = panels_scales(all.len(), &x, y);
        let Words { id, title, .. } = *words;
        let named = Named { id, title, description: &caption, scales };
        let svg = image(&named, (WIDTH, panels_height(all.len())), |area| panels(area, &x, y, &all))?;
        let head = self.panels.iter().map(|panel| Head {
            name: name(panel),
            hint: "median, range of the faults",
            numeric: true,
        });
        let data = Table {
            head: head.collect(),
            groups: vec![Group { label: "", rows: self.rows(text) }],
            ..Table::default()
        };
        Ok(Chart { id, title: title.to_owned(), caption, svg, legend: Vec::new(), data })
    }

    fn rows(&self, text: fn(f64) -> String) -> Vec<TableRow> {
        let columns: Vec<Vec<_>> = self.panels.iter().map(Panelled::medians).collect();
        let places = || columns.iter().flatten().map(|(place, ..)| *place);
        let (Some(first), Some(last)) = (places().min(), places().max()) else { return Vec::new() };
        let point_s = self.per_point as f64 * SLICE_NS as f64 / 1e9;
        let cell = |column: &Vec<(i64, f64, Spread)>, place| {
            let Some((.., of)) = column.iter().find(|(other, ..)| *other == place) else {
                return Cell::number(format::MISSING);
            };
            Cell::number(text(of.median)).noted(format!("{}–{}", text(of.min), text(of.max)))
        };
        (first..=last)
            .map(|place| TableRow {
                name: format!("from {:.1} s", place as f64 * point_s),
                goes_on: false,
                cells: columns.iter().map(|column| cell(column, place)).collect(),
            })
            .collect()
    }
}

/// The faults of a row that came about, each with its run.
fn injected(row: &Row) -> impl Iterator<Item = (&FaultRecord, &RunRecord)> {
    let all = row.records.iter().flat_map(|run| run.faults.faults.iter().map(move |fault| (fault, run)));
    all.filter(|(fault, _)| fault.from_ns.is_some())
}

/// `pause holder`.
fn kind(fault: &FaultRecord) -> String {
    format!("{} {}", fault.verb, fault.target)
}

fn lasted_s(fault: &FaultRecord) -> f64 {
    match (fault.from_ns, fault.until_ns) {
        (Some(from), Some(until)) => until.saturating_sub(from) as f64 / 1e9,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    /// A second of nothing from each fault on, whenever it came.
    fn stalled() -> Comparison {
        let mut comparison = fixture::faulted();
        let fault = comparison.rows[0].records[0].faults.faults[0].clone();
        for (run, from_s) in comparison.rows[0].records.iter_mut().zip([2, 4, 7]) {
            let (from_ns, until_ns) = (from_s * 1_000_000_000, (from_s + 1) * 1_000_000_000);
            run.completed_per_slice = vec![40; 100];
            run.completed_per_slice[from_s as usize * 10..][..10].fill(0);
            run.faults.faults =
                vec![FaultRecord { from_ns: Some(from_ns), until_ns: Some(until_ns), ..fault.clone() }];
        }
        comparison
    }

    #[test]
    fn a_stall_that_comes_at_another_time_in_each_block_is_seen() {
        let comparison = stalled();
        let chart = throughput(&comparison, &Look::of_rows(&comparison)).unwrap().unwrap();
        let row = |name: &str| {
            let rows = &chart.data.groups[0].rows;
            let row = rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name}"));
            (row.cells[0].text.clone(), row.cells[0].note.clone())
        };
        assert_eq!(row("from 0.5 s"), ("0".to_owned(), "0–0".to_owned()));
        assert_eq!(row("from -0.5 s").0, "400");
        assert_eq!(row("from 1.5 s").0, "400");
        assert_eq!(chart.data.head.len(), 1, "the other contender was spared");
        assert!(chart.svg.contains("pause holder"), "the band says what it is");
    }

    #[test]
    fn where_nothing_was_broken_nothing_is_drawn() {
        let comparison = fixture::small();
        let looks = Look::of_rows(&comparison);
        assert!(
            throughput(&comparison, &looks).unwrap().is_none()
                && beyond(&comparison, &looks).unwrap().is_none()
        );
    }
}
