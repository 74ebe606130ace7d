//! Figures over commits, as a page: each series, and where it changed for good.

use askama::Template;
use harness::record::{Better, ChangePoint, Metric, TrendPoint, change_points};

use crate::chart::{TrendLine, palette, trend_image};
use crate::table::{Cell, Group, Head, Mark, Table, TableRow};
use crate::{ReportError, aligned, format};

/// Series by what belongs together, in the order in which they first appear.
#[derive(Debug)]
pub struct Trends {
    series: Vec<Series>,
}

/// One metric of one contender, on one class of machines, over commits.
#[derive(Debug)]
struct Series {
    metric: &'static Metric,
    points: Vec<TrendPoint>,
    changes: Vec<ChangePoint>,
}

/// A series of so few points cannot change for good.
const FEWEST: usize = 8;

impl Trends {
    /// Of the lines of a file, oldest first; a metric that this lockbench does not know is left out.
    #[must_use]
    pub fn new(points: &[TrendPoint]) -> Self {
        let mut series: Vec<Series> = Vec::new();
        for point in points {
            let Some(metric) = Metric::named(&point.metric) else { continue };
            match series.iter_mut().find(|series| series.takes(point)) {
                Some(series) => series.points.push(point.clone()),
                None => series.push(Series { metric, points: vec![point.clone()], changes: Vec::new() }),
            }
        }
        for series in &mut series {
            series.changes = change_points(&series.steadied(), SEED);
        }
        Self { series }
    }

    /// Every change for a terminal, and how many series there are; ends with a line feed.
    #[must_use]
    pub fn terminal(&self) -> String {
        let mut out = format!("{}\n", aligned::without_controls(&self.overview()));
        let table = self.changes();
        if !table.groups[0].rows.is_empty() {
            out += &aligned::plain("Series", &table);
        }
        out
    }

    /// A page without network and without script.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn html(&self) -> Result<String, ReportError> {
        let charts =
            self.drawn().enumerate().map(|(place, series)| series.figure(place)).collect::<Result<_, _>>()?;
        let changes = self.changes();
        let page = Page {
            overview: self.overview(),
            colours: palette::css(),
            style: include_str!("../templates/report.css"),
            changes: (!changes.groups[0].rows.is_empty())
                .then(|| Table { caption: "Where figures changed for good".to_owned(), ..changes }),
            charts,
        };
        page.render().map_err(|error| ReportError::Render { renderer: "history", reason: error.to_string() })
    }

    /// Those that changed, and those that contenders are told apart by.
    fn drawn(&self) -> impl Iterator<Item = &Series> {
        let shown = |series: &&Series| series.metric.primary || !series.changes.is_empty();
        self.series.iter().filter(|series| series.points.len() > 1).filter(shown)
    }

    fn overview(&self) -> String {
        let changed = self.series.iter().filter(|series| !series.changes.is_empty()).count();
        let short = self.series.iter().filter(|series| series.points.len() < FEWEST).count();
        let short = match short {
            0 => String::new(),
            n => format!("; {n} of fewer than {FEWEST} batches, which are too few to tell"),
        };
        format!(
            "{}: {changed} changed for good{short}.",
            format::plural(self.series.len() as u64, "series").replace("seriess", "series")
        )
    }

    fn changes(&self) -> Table {
        let rows = self.series.iter().flat_map(|series| {
            series.changes.iter().enumerate().map(|(place, change)| series.row(place, change))
        });
        let head = ["Commit", "Batch", "Before", "After", "Times", "p"].map(Head::text);
        Table {
            head: head.into(),
            groups: vec![Group { label: "", rows: rows.collect() }],
            ..Table::default()
        }
    }
}

/// Of the permutations, so that a page can be made again.
const SEED: u64 = 1;

impl Series {
    fn takes(&self, point: &TrendPoint) -> bool {
        let of = |point: &TrendPoint| {
            let TrendPoint { machine_class, scenario, scenario_digest, contender, metric, .. } = point;
            [machine_class, scenario, scenario_digest, contender, metric].map(String::clone)
        };
        self.points.first().is_some_and(|first| of(first) == of(point))
    }

    /// As logarithms, since noise is in proportion; as they are where one is 0.
    fn steadied(&self) -> Vec<f64> {
        let values = || self.points.iter().map(|point| point.value);
        if values().all(|value| value > 0.0) { values().map(f64::ln).collect() } else { values().collect() }
    }

    fn name(&self) -> String {
        let first = &self.points[0];
        format!("{} {} of {}", first.scenario, self.metric.name, first.contender)
    }

    /// Where the parts between changes begin and end.
    fn parts(&self) -> Vec<(usize, usize)> {
        let starts = [0].into_iter().chain(self.changes.iter().map(|change| change.at));
        let ends = self.changes.iter().map(|change| change.at).chain([self.points.len()]);
        starts.zip(ends).collect()
    }

    fn level(&self, (from, until): (usize, usize)) -> f64 {
        let mut values: Vec<f64> = self.points[from..until].iter().map(|point| point.value).collect();
        values.sort_by(f64::total_cmp);
        f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
    }

    fn row(&self, place: usize, change: &ChangePoint) -> TableRow {
        let parts = self.parts();
        let [before, after] = [place, place + 1].map(|place| self.level(parts[place]));
        let point = &self.points[change.at];
        let times =
            if before > 0.0 { format::significant(after / before) } else { format::MISSING.to_owned() };
        let better = (after > before) == (self.metric.better == Better::More);
        let mark = if better { Cell::marked(Mark::Good, times) } else { Cell::marked(Mark::Bad, times) };
        let word = if better { "better" } else { "worse" };
        TableRow {
            name: format!("{} ({})", self.name(), point.machine_class),
            goes_on: false,
            cells: vec![
                Cell::words(&point.commit),
                Cell::text(format::utc(&point.started_utc)),
                Cell::text(self.metric.unit.show(before)),
                Cell::text(self.metric.unit.show(after)),
                mark.noted(word),
                Cell::text(format!("{:.4}", change.p)),
            ],
        }
    }

    fn figure(&self, place: usize) -> Result<Figure, ReportError> {
        let first = self.points[0].value.abs().max(f64::MIN_POSITIVE);
        let relative: Vec<f64> = self.points.iter().map(|point| point.value / first).collect();
        let levels =
            self.parts().into_iter().map(|part| (part.0, part.1, self.level(part) / first)).collect();
        let title = self.name();
        let caption = format!(
            "Times the first of {} on {}: {}. Dashed: the median between changes; shaded: where it changed for good.",
            format::plural(self.points.len() as u64, "batch").replace("batchs", "batches"),
            self.points[0].machine_class,
            self.metric.unit.show(self.points[0].value),
        );
        let line = TrendLine {
            id: format!("trend-{place}"),
            title: &title,
            description: &caption,
            relative,
            levels,
        };
        let svg = trend_image(&line)?;
        let show = |value: Option<f64>| {
            value.map_or_else(|| format::MISSING.to_owned(), |value| self.metric.unit.show(value))
        };
        let rows = self.points.iter().map(|point| TableRow {
            name: if point.commit.is_empty() { format::MISSING.to_owned() } else { point.commit.clone() },
            goes_on: false,
            cells: vec![
                Cell::text(format::utc(&point.started_utc)),
                Cell::number(show(Some(point.value))),
                Cell::number(show(point.low)),
                Cell::number(show(point.high)),
                Cell::count(point.blocks.into()),
            ],
        });
        let head = vec![
            Head::text("Batch"),
            Head::number("Value", ""),
            Head::number("From", "99 % interval"),
            Head::number("To", "99 % interval"),
            Head::number("Blocks", ""),
        ];
        let data =
            Table { head, groups: vec![Group { label: "", rows: rows.collect() }], ..Table::default() };
        Ok(Figure { title, caption, svg, data })
    }
}

struct Figure {
    title: String,
    caption: String,
    svg: String,
    data: Table,
}

#[derive(Template)]
#[template(path = "history.html")]
struct Page {
    overview: String,
    colours: String,
    style: &'static str,
    changes: Option<Table>,
    charts: Vec<Figure>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits c0, c1 …; the figure of `slow` doubles at commit c20, that of `same` never does.
    fn points() -> Vec<TrendPoint> {
        let point = |at: u32, contender: &str, value: f64| TrendPoint {
            commit: format!("c{at}"),
            started_utc: format!("2026-11-{:02}T00:00:00Z", at % 28 + 1),
            machine_class: "two <cores>".to_owned(),
            scenario: "smoke".to_owned(),
            scenario_digest: "5f".to_owned(),
            contender: contender.to_owned(),
            metric: "wait_p50".to_owned(),
            value,
            low: Some(value * 0.9),
            high: None,
            blocks: 6,
        };
        let noise = |at: u32| 1.0 + f64::from(at * 7 % 5) / 100.0;
        (0..40)
            .flat_map(|at| {
                let slow = if at < 20 { 1e6 } else { 2e6 };
                [point(at, "slow", slow * noise(at)), point(at, "same", 1e6 * noise(at))]
            })
            .collect()
    }

    #[test]
    fn a_change_is_told_by_its_commit_its_levels_and_which_way_it_is() {
        let trends = Trends::new(&points());
        let table = trends.changes();
        let rows = &table.groups[0].rows;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].name, "smoke wait_p50 of slow (two <cores>)");
        let cells: Vec<_> = rows[0].cells.iter().map(|cell| cell.text.as_str()).collect();
        assert_eq!((cells[0], cells[2], cells[3], cells[4]), ("c20", "1.02 ms", "2.04 ms", "2.00"));
        assert_eq!(rows[0].cells[4].note, "worse");
        assert!(trends.terminal().starts_with("2 series: 1 changed for good."), "{}", trends.terminal());
    }

    #[test]
    fn another_machine_or_scenario_is_another_series() {
        let mut points = points();
        points.iter_mut().step_by(4).for_each(|point| point.machine_class = "another".to_owned());
        points.iter_mut().skip(1).step_by(4).for_each(|point| point.scenario_digest = "6a".to_owned());
        assert_eq!(Trends::new(&points).series.len(), 4);
    }

    #[test]
    fn the_page_needs_no_network_and_no_script_and_has_unique_ids() {
        let html = Trends::new(&points()).html().unwrap();
        for part in ["<script", "src=", "http://", "https://", "@import", "url(", "<link", "<cores>"] {
            assert!(!html.contains(part), "{part}");
        }
        for place in 0..2 {
            assert_eq!(html.matches(&format!("id=\"trend-{place}-t\"")).count(), 1, "{html}");
        }
        assert_eq!(html, Trends::new(&points()).html().unwrap(), "equal input gives equal bytes");
        Trends::new(&[]).html().unwrap();
    }
}
