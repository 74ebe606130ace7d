//! All questions for a terminal, and as GitHub reads them: the document `docs/peers.md` is this one.

use harness::record::PeersQuestion;

use super::questions::Peers;
use crate::aligned::without_controls;
use crate::markup::{self, escape, line};
use crate::table::{Cell, Group, Head, Table, TableRow};
use crate::{Comparison, cost, format, matrix, sections, terminal_table};

/// What is said of every table.
pub(super) const METHOD: &str = "Everybody here is asked over the port, ours too: what the pipe takes is in all waits, and `port-echo`, which grants at \
     once, shows it. A question is a batch: fresh servers, the same plans for all, contenders in turns that are drawn for each block, with controls that \
     must be caught. Rates are the median of the blocks with their range; percentiles are over all blocks merged. A lock that lets the last holder in \
     again before others know looks fast: see who was overtaken.";

impl Peers {
    /// Each question with the table of its batch; ends with a line feed.
    #[must_use]
    pub fn terminal(&self) -> String {
        let mut out = String::new();
        for (question, batch) in self.questions() {
            line(&mut out, &without_controls(&title(question)));
            match batch {
                Some(batch) => out += &terminal_table(batch),
                None => line(&mut out, "not run"),
            }
            out.push('\n');
        }
        for (name, why) in &self.record.left_out {
            line(&mut out, &without_controls(&format!("left out: {name}: {why}")));
        }
        out
    }

    /// The same as a document.
    pub(super) fn markdown(&self) -> String {
        let mut out = String::new();
        line(&mut out, "# Other people's locks beside ours");
        line(&mut out, "");
        let command = self.record.command.replace('`', "'");
        let machine =
            self.first().map_or(String::new(), |batch| format!(" on {}", batch.manifest.machine.class()));
        let started = format::utc(&self.record.started_utc);
        line(&mut out, &format!("Printed by `{command}`{}, {started}.", escape(&machine)));
        line(&mut out, "");
        line(&mut out, METHOD);
        line(&mut out, "");
        markup::table(&mut out, "Contender", &self.who());
        for (name, why) in &self.record.left_out {
            line(&mut out, "");
            line(&mut out, &format!("Left out: {}: {}", escape(name), escape(why)));
        }
        for (question, batch) in self.questions() {
            line(&mut out, "");
            line(&mut out, &format!("## {}", escape(&title(question))));
            line(&mut out, "");
            let Some(batch) = batch else {
                line(&mut out, "Not run.");
                continue;
            };
            for (words, table) in tables(batch) {
                if !words.is_empty() {
                    line(&mut out, "");
                    line(&mut out, words);
                    line(&mut out, "");
                }
                markup::table(&mut out, "Contender", &table);
            }
            for reason in batch.conclusion().reasons {
                line(&mut out, "");
                line(&mut out, &escape(&reason));
            }
        }
        out
    }

    /// Who took part, and what of.
    pub(super) fn who(&self) -> Table {
        let rows = self.peers().into_iter().map(|peer| TableRow {
            name: peer.name.to_owned(),
            goes_on: false,
            cells: vec![
                Cell::text(peer.summary),
                Cell::text(peer.server.unwrap_or_else(|| format::MISSING.to_owned())),
                Cell::text(peer.digest.unwrap_or(format::MISSING)),
            ],
        });
        Table {
            head: vec![Head::text("how it works"), Head::text("server"), Head::text("digest of its program")],
            groups: vec![Group { label: "", rows: rows.collect() }],
            ..Table::default()
        }
    }
}

pub(super) fn title(question: &PeersQuestion) -> String {
    format!("{}: {}", question.name, question.question)
}

/// What a question is answered with, each with the words before it.
pub(super) fn tables(batch: &Comparison) -> Vec<(&'static str, Table)> {
    let all = [
        ("", Some(matrix::table(batch))),
        ("When the last of a burst was served:", cost::bursts(batch)),
        ("What each task cost, and what was held:", Some(cost::held(batch))),
        ("What was broken on purpose:", sections::faults(batch)),
    ];
    let told = |(words, table): (&'static str, Option<Table>)| Some((words, table?.without_empty_columns()));
    all.into_iter().filter_map(told).collect()
}
