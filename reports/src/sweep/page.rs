//! `report.html` of a sweep: one file without network and without script, with a way to the report of each cell.

use askama::Template;
use harness::record::{BatchEnd, Unit};

use super::cells::Sweep;
use super::map::{self, Map, Sides};
use super::told::Told;
use super::{crossing, csv, words};
use crate::chart::{Chart, palette};
use crate::table::{Cell, Mark};
use crate::{ReportError, format};

/// A file of a sweep, and what is in it.
type Look = (&'static str, fn(&Sweep) -> Result<String, ReportError>);

/// The files of a sweep; the page first.
pub(crate) const LOOKS: &[Look] = &[
    ("report.html", html),
    ("summary.md", |sweep| Ok(sweep.markdown())),
    ("sweep.csv", |sweep| Ok(csv::render(&Told::of(sweep)))),
];

#[derive(Template)]
#[template(path = "sweep.html")]
struct Page<'a> {
    scenario: &'a str,
    started: String,
    overview: String,
    colours: String,
    style: &'static str,
    field: String,
    columns: Vec<String>,
    sentences: Vec<String>,
    metrics: Vec<OfMetric>,
    reference: &'a str,
    compared: usize,
    capacity: bool,
    cells: Vec<OfCell>,
    seed: u64,
    spec: &'a str,
}

/// A metric with its maps.
struct OfMetric {
    title: &'static str,
    hint: &'static str,
    figures: Vec<Map>,
    answers: Vec<Map>,
    charts: Vec<Chart>,
}

/// A cell with the way to its report.
struct OfCell {
    values: String,
    /// `None`: it has not begun.
    folder: Option<String>,
    standing: Cell,
    reasons: Vec<String>,
}

fn html(sweep: &Sweep) -> Result<String, ReportError> {
    let told = Told::of(sweep);
    let sides = Sides::of(sweep);
    let record = &sweep.record;
    let metrics = told.metrics.iter().enumerate().map(|(at, metric)| {
        Ok(OfMetric {
            title: metric.title,
            hint: match (metric.name, metric.unit) {
                ("capacity", _) => "the highest rate that meets the service level, tasks a second",
                (_, Unit::PerS) => "tasks a second",
                _ => "",
            },
            figures: map::figures(&told, metric),
            answers: map::answers(&told, at).into_iter().filter(|map| !map.rows.is_empty()).collect(),
            charts: crossing::charts(&told, at)?,
        })
    });
    let page = Page {
        scenario: &record.scenario,
        started: format::utc(&record.started_utc),
        overview: overview(sweep),
        colours: palette::css(),
        style: concat!(include_str!("../../templates/report.css"), include_str!("../../templates/sweep.css")),
        field: sides.field,
        columns: sides.columns,
        sentences: words::sentences(&told),
        metrics: metrics.collect::<Result<_, ReportError>>()?,
        reference: told.reference.unwrap_or_default(),
        compared: told.others.len() * told.metrics.len() * record.cells.len(),
        capacity: record.capacity,
        cells: cells(sweep),
        seed: record.seed,
        spec: &record.spec_toml,
    };
    page.render().map_err(|error| ReportError::Render { renderer: "sweep", reason: error.to_string() })
}

fn overview(sweep: &Sweep) -> String {
    let record = &sweep.record;
    let axes: Vec<String> =
        record.axes.iter().map(|axis| format!("{} ({})", axis.field, axis.values.join(", "))).collect();
    let begun = sweep.batches.iter().flatten().count();
    let count = record.cells.len();
    let of = if begun < count { format!(", of which {begun} have begun") } else { String::new() };
    format!("{} over {}{of}.", format::plural(count as u64, "cell"), axes.join(" × "))
}

fn cells(sweep: &Sweep) -> Vec<OfCell> {
    let record = &sweep.record;
    let each = record.cells.iter().zip(&sweep.batches);
    each.map(|(cell, batch)| {
        let values: Vec<String> =
            record.values_of(cell).into_iter().map(|(field, value)| format!("{field} = {value}")).collect();
        let Some(batch) = batch else {
            let standing = Cell::marked(Mark::Doubt, "not run");
            return OfCell { values: values.join(", "), folder: None, standing, reasons: Vec::new() };
        };
        let conclusion = batch.conclusion();
        let standing = match BatchEnd::of(&batch.manifest) {
            BatchEnd::Missing | BatchEnd::Interrupted => Cell::marked(Mark::Doubt, "not at its end"),
            _ => Cell::from(conclusion.standing),
        };
        OfCell {
            values: values.join(", "),
            folder: Some(cell.folder.clone()),
            standing,
            reasons: conclusion.reasons,
        }
    })
    .collect()
}
