//! `report.html` of all questions: one file without network and without script, with a way to the report of each.

use askama::Template;

use super::questions::Peers;
use super::text::{METHOD, tables, title};
use crate::chart::palette;
use crate::table::Table;
use crate::{ReportError, format};

/// A file, and what is in it.
type Look = (&'static str, fn(&Peers) -> Result<String, ReportError>);

/// The files; the page first.
pub(crate) const LOOKS: &[Look] = &[("report.html", html), ("peers.md", |peers| Ok(peers.markdown()))];

#[derive(Template)]
#[template(path = "peers.html")]
struct Page<'a> {
    started: String,
    colours: String,
    style: &'static str,
    method: &'static str,
    who: Table,
    questions: Vec<OfQuestion<'a>>,
    left_out: &'a [(String, String)],
    command: &'a str,
}

struct OfQuestion<'a> {
    title: String,
    name: &'a str,
    folder: &'a str,
    /// Empty: it has not begun.
    tables: Vec<(&'static str, Table)>,
    reasons: Vec<String>,
}

fn html(peers: &Peers) -> Result<String, ReportError> {
    let questions = peers.questions().map(|(question, batch)| OfQuestion {
        title: title(question),
        name: &question.name,
        folder: &question.folder,
        tables: batch.map(tables).unwrap_or_default(),
        reasons: batch.map(|batch| batch.conclusion().reasons).unwrap_or_default(),
    });
    let page = Page {
        started: format::utc(&peers.record.started_utc),
        colours: palette::css(),
        style: include_str!("../../templates/report.css"),
        method: METHOD,
        who: peers.who(),
        questions: questions.collect(),
        left_out: &peers.record.left_out,
        command: &peers.record.command,
    };
    page.render().map_err(|error| ReportError::Render { renderer: "peers", reason: error.to_string() })
}
