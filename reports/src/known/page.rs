//! `report.html` of known failures: one file without network and without script, with a way to the report of each row.

use askama::Template;

use super::rows::KnownFailures;
use super::text::{fewer, row_table, title};
use crate::chart::palette;
use crate::table::Table;
use crate::{ReportError, format};

/// A file of a matrix, and what is in it.
type Look = (&'static str, fn(&KnownFailures) -> Result<String, ReportError>);

/// The files of a matrix; the page first.
pub(crate) const LOOKS: &[Look] = &[
    ("report.html", html),
    ("summary.md", |matrix| Ok(matrix.markdown())),
    ("guarantees.md", |matrix| Ok(matrix.guarantees())),
];

#[derive(Template)]
#[template(path = "known.html")]
struct Page<'a> {
    started: String,
    sum: String,
    colours: String,
    style: &'static str,
    overview: Table,
    rows: Vec<OfRow<'a>>,
    seed: u64,
}

struct OfRow<'a> {
    title: String,
    name: &'a str,
    /// Pages on the web; nothing else becomes a link.
    published: Vec<&'a str>,
    command: &'a str,
    /// `None`: it has not begun.
    told: Option<Table>,
    /// Who was to do something less often than another.
    fewer: Option<String>,
    folder: &'a str,
    reasons: Vec<String>,
}

fn html(matrix: &KnownFailures) -> Result<String, ReportError> {
    let rows = matrix.rows().map(|(row, told)| {
        let reasons = told.as_ref().map(|(batch, _)| batch.conclusion().reasons).unwrap_or_default();
        let web = row.published.iter().map(String::as_str).filter(|page| page.starts_with("https://"));
        OfRow {
            title: title(row),
            name: &row.name,
            published: web.collect(),
            command: &row.command,
            fewer: told.as_ref().and_then(|(batch, _)| fewer(row, batch)),
            told: told.map(|(_, outcomes)| row_table(&outcomes)),
            folder: &row.folder,
            reasons,
        }
    });
    let page = Page {
        started: format::utc(&matrix.record.started_utc),
        sum: matrix.sum(),
        colours: palette::css(),
        style: include_str!("../../templates/report.css"),
        overview: matrix.overview(),
        rows: rows.collect(),
        seed: matrix.record.seed,
    };
    page.render().map_err(|error| ReportError::Render { renderer: "matrix", reason: error.to_string() })
}
