//! `report.html` of a review: one file without network and without script, with a way to the report of each phase.

use askama::Template;

use super::phases::Review;
use crate::chart::palette;
use crate::table::{Cell, Table};
use crate::{ReportError, format};

/// A file of a review, and what is in it.
type Look = (&'static str, fn(&Review) -> Result<String, ReportError>);

/// The files of a review; the page first.
pub(crate) const LOOKS: &[Look] = &[("report.html", html), ("summary.md", |review| Ok(review.markdown()))];

#[derive(Template)]
#[template(path = "review.html")]
struct Page<'a> {
    scenario: &'a str,
    started: String,
    overview: String,
    colours: String,
    style: &'static str,
    sentences: Vec<String>,
    table: Table,
    required_by: &'a str,
    phases: Vec<OfPhase<'a>>,
    left_out: &'a [(String, String)],
    seed: u64,
}

struct OfPhase<'a> {
    name: &'a str,
    question: &'a str,
    /// `None`: it has not begun.
    folder: Option<&'a str>,
    standing: Cell,
    reasons: Vec<String>,
    spec: &'a str,
}

fn html(review: &Review) -> Result<String, ReportError> {
    let decision = review.decision();
    let phases = review.phases().map(|(phase, batch)| {
        let conclusion = batch.map(crate::Comparison::conclusion);
        let standing = conclusion.as_ref().map_or_else(
            || Cell::marked(crate::table::Mark::Doubt, "not run"),
            |conclusion| Cell::from(conclusion.standing.clone()),
        );
        OfPhase {
            name: &phase.name,
            question: &phase.question,
            folder: batch.map(|_| phase.folder.as_str()),
            standing,
            reasons: conclusion.map(|conclusion| conclusion.reasons).unwrap_or_default(),
            spec: &phase.spec_toml,
        }
    });
    let page = Page {
        scenario: &review.record.scenario,
        started: format::utc(&review.record.started_utc),
        overview: review.overview(),
        colours: palette::css(),
        style: include_str!("../../templates/report.css"),
        table: review.table(&decision),
        sentences: decision.sentences,
        required_by: &review.record.required_by,
        phases: phases.collect(),
        left_out: &review.record.left_out,
        seed: review.record.seed,
    };
    page.render().map_err(|error| ReportError::Render { renderer: "review", reason: error.to_string() })
}
