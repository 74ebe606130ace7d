//! A review for a terminal and for a pull request.

use super::decision::Decision;
use super::phases::Review;
use crate::aligned::{self, without_controls};
use crate::format;
use crate::markup::{self, escape, line};
use crate::table::{Cell, Group, Head, Table, TableRow};

impl Review {
    /// Requirements beside candidates, for a terminal; ends with a line feed.
    #[must_use]
    pub fn terminal(&self) -> String {
        let decision = self.decision();
        let mut out = String::new();
        let mut table = self.table(&decision);
        // Reasons would make its lines too long: they are in the page.
        for cell in table.groups.iter_mut().flat_map(|group| &mut group.rows).flat_map(|row| &mut row.cells) {
            cell.note.clear();
        }
        out += &aligned::plain("required", &table);
        out.push('\n');
        for sentence in &decision.sentences {
            line(&mut out, &without_controls(sentence));
        }
        out
    }

    /// The same as GitHub reads it.
    pub(super) fn markdown(&self) -> String {
        let decision = self.decision();
        let mut out = String::new();
        line(&mut out, &format!("# {}: a review", escape(&self.record.scenario)));
        line(&mut out, "");
        for sentence in &decision.sentences {
            line(&mut out, &format!("- {}", escape(sentence)));
        }
        line(&mut out, "");
        markup::table(&mut out, "Required", &self.table(&decision));
        for (phase, why) in &self.record.left_out {
            line(&mut out, "");
            line(&mut out, &format!("Left out: {}: {}", escape(phase), escape(why)));
        }
        out
    }

    /// Requirements by candidates.
    pub(super) fn table(&self, decision: &Decision) -> Table {
        let head = std::iter::once(Head::text("during"));
        let head = head.chain(self.candidates().into_iter().map(Head::text)).collect();
        let rows = self.record.requirements.iter().zip(&decision.answers).map(|(of, answers)| {
            let during = std::iter::once(Cell::text(&of.during));
            let cells = during.chain(answers.iter().map(super::answer::Answer::cell)).collect();
            TableRow { name: of.what.clone(), goes_on: false, cells }
        });
        Table { head, groups: vec![Group { label: "", rows: rows.collect() }], ..Table::default() }
    }

    /// What was asked, in one sentence.
    pub(super) fn overview(&self) -> String {
        format!(
            "{} and {} in {}, within about {}.",
            format::plural(self.record.requirements.len() as u64, "requirement"),
            format::plural(self.candidates().len() as u64, "candidate"),
            format::plural(self.record.phases.len() as u64, "phase"),
            format::duration(self.record.budget_s * 1e9),
        )
    }
}
