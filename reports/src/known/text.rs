//! Known failures for a terminal, and as GitHub reads them.

use harness::record::{FEWER_LEVEL, Fewer, FewerClaim, MatrixRow};

use super::cell::Outcome;
use super::rows::{KnownFailures, claimed};
use crate::Comparison;
use crate::aligned::{self, without_controls};
use crate::format;
use crate::markup::{self, escape, line};
use crate::table::{Cell, Group, Head, Mark, Table, TableRow};

impl KnownFailures {
    /// What was foretold and what happened, for a terminal; ends with a line feed.
    #[must_use]
    pub fn terminal(&self) -> String {
        let mut out = String::new();
        for (row, told) in self.rows() {
            line(&mut out, &without_controls(&title(row)));
            match told {
                Some((batch, outcomes)) => {
                    out += &aligned::plain("contender", &row_table(&outcomes));
                    if let Some(fewer) = fewer(row, batch) {
                        line(&mut out, &without_controls(&fewer));
                    }
                }
                None => line(&mut out, "not run"),
            }
            out.push('\n');
        }
        line(&mut out, &self.sum());
        out
    }

    /// The same as GitHub reads it, with the commands.
    pub(super) fn markdown(&self) -> String {
        let mut out = String::new();
        line(&mut out, "# Known failures: what was foretold, and what was done");
        line(&mut out, "");
        line(&mut out, &format!("{} Started {}.", self.sum(), format::utc(&self.record.started_utc)));
        line(&mut out, "");
        markup::table(&mut out, "", &self.overview());
        for (row, told) in self.rows() {
            line(&mut out, "");
            line(&mut out, &format!("## {}", escape(&title(row))));
            line(&mut out, "");
            for page in &row.published {
                line(&mut out, &format!("- published: <{}>", page.replace(['<', '>', ' '], "")));
            }
            line(&mut out, &format!("- again: `{} --contenders …`", row.command.replace('`', "'")));
            line(&mut out, "");
            match told {
                Some((batch, outcomes)) => {
                    markup::table(&mut out, "contender", &row_table(&outcomes));
                    if let Some(fewer) = fewer(row, batch) {
                        line(&mut out, "");
                        line(&mut out, &escape(&fewer));
                    }
                }
                None => line(&mut out, "Not run."),
            }
        }
        out
    }

    /// How many cells were as foretold.
    pub(super) fn sum(&self) -> String {
        let cells: Vec<Outcome> =
            self.rows().filter_map(|(_, told)| told).flat_map(|(_, cells)| cells).collect();
        let differ = cells.iter().filter(|cell| cell.as_foretold == Some(false)).count();
        let untold = cells.iter().filter(|cell| cell.as_foretold.is_none()).count();
        format!(
            "{} in {}: {} as foretold, {differ} not as foretold, {untold} that nothing can be said of.",
            format::plural(cells.len() as u64, "cell"),
            format::plural(self.record.rows.len() as u64, "row"),
            cells.len() - differ - untold,
        )
    }

    /// Everybody in every row, in a word.
    pub(super) fn overview(&self) -> Table {
        let rows: Vec<_> = self.rows().collect();
        let mut names: Vec<&str> = Vec::new();
        for (_, told) in &rows {
            for cell in told.iter().flat_map(|(_, cells)| cells) {
                if !names.contains(&cell.contender.as_str()) {
                    names.push(&cell.contender);
                }
            }
        }
        let lines = names.iter().map(|name| {
            let cells = rows.iter().map(|(_, told)| {
                let (_, cells) = told.as_ref()?;
                cells.iter().find(|cell| cell.contender == *name)
            });
            TableRow {
                name: (*name).to_owned(),
                goes_on: false,
                cells: cells
                    .map(|cell| cell.map_or_else(|| Cell::text(format::MISSING), |cell| cell.short.clone()))
                    .collect(),
            }
        });
        let group = Group { label: "", rows: lines.collect() };
        let head = rows.iter().map(|(row, _)| Head::text(&row.name)).collect();
        Table { head, groups: vec![group], ..Table::default() }
    }
}

pub(super) fn title(row: &MatrixRow) -> String {
    format!("{}: {}", row.name, row.failure)
}

/// Who was to do something less often than another, and what they did.
pub(super) fn fewer(row: &MatrixRow, batch: &Comparison) -> Option<String> {
    let (FewerClaim { check, contender, than }, judged) = claimed(row, batch)?;
    let Some(Fewer { less, more, p }) = judged else {
        return Some(format!("{check}: {contender} and {than} did not both run: nothing can be said."));
    };
    let told = if p < FEWER_LEVEL { "fewer" } else { "that may be chance" };
    Some(format!(
        "{check}: {contender} {} of {}, {than} {} of {}: {told}, Fisher's exact test p = {p:.2e}.",
        less.count, less.of, more.count, more.of
    ))
}

/// One row, a line for each contender.
pub(super) fn row_table(outcomes: &[Outcome]) -> Table {
    let line = |outcome: &Outcome| {
        let mark = match outcome.as_foretold {
            Some(true) => Cell::marked(Mark::Good, "yes"),
            Some(false) => Cell::marked(Mark::Bad, "NO"),
            None => Cell::marked(Mark::Doubt, "cannot tell"),
        };
        TableRow {
            name: outcome.contender.clone(),
            goes_on: false,
            cells: vec![
                Cell::text(outcome.foretold.clone()),
                outcome.observed.clone(),
                mark,
                Cell::text(outcome.faults.clone()),
                Cell::duration(outcome.unserved_ns),
                Cell::text(outcome.server.clone()),
            ],
        }
    };
    Table {
        head: vec![
            Head::text("foretold"),
            Head::text("done"),
            Head::text("as foretold"),
            Head::text("faults that hit"),
            Head::number("longest without service", "nobody was let in anywhere"),
            Head::text("server"),
        ],
        groups: vec![Group { label: "", rows: outcomes.iter().map(line).collect() }],
        ..Table::default()
    }
}
