//! A sweep for a terminal and for a pull request.

use super::cells::Sweep;
use super::map::{self, Map};
use super::told::Told;
use super::words;
use crate::aligned::{self, without_controls};
use crate::markup::{self, escape, line};
use crate::table::{Cell, Group, Head, Mark, Table, TableRow};

impl Sweep {
    /// What it tells, for a terminal; ends with a line feed.
    #[must_use]
    pub fn terminal(&self) -> String {
        let told = Told::of(self);
        let mut out = String::new();
        for (at, metric) in told.metrics.iter().enumerate() {
            for map in map::figures(&told, metric).into_iter().chain(map::answers(&told, at)) {
                if !map.rows.is_empty() {
                    line(&mut out, &without_controls(&title(metric.title, &map, self)));
                    out += &aligned::plain(&without_controls(&map.corner), &table(&map, self));
                    out.push('\n');
                }
            }
        }
        for sentence in words::sentences(&told) {
            line(&mut out, &without_controls(&sentence));
        }
        out
    }

    /// What it tells, as GitHub reads it.
    pub(super) fn markdown(&self) -> String {
        let told = Told::of(self);
        let mut out = String::new();
        line(&mut out, &format!("# {}: a sweep", escape(&self.record.scenario)));
        line(&mut out, "");
        for sentence in words::sentences(&told) {
            line(&mut out, &format!("- {}", escape(&sentence)));
        }
        for (at, metric) in told.metrics.iter().enumerate() {
            for map in map::figures(&told, metric).into_iter().chain(map::answers(&told, at)) {
                if map.rows.is_empty() {
                    continue;
                }
                line(&mut out, "");
                line(&mut out, &format!("**{}**", escape(&title(metric.title, &map, self))));
                line(&mut out, "");
                markup::table(&mut out, &escape(&map.corner), &table(&map, self));
            }
        }
        out
    }
}

/// `Capacity: ring-queue, by nodes`.
fn title(metric: &str, map: &Map, sweep: &Sweep) -> String {
    let whose = if map.title.is_empty() { String::new() } else { format!(": {}", map.title) };
    format!("{metric}{whose}, by {}", map::Sides::of(sweep).field)
}

fn table(map: &Map, sweep: &Sweep) -> Table {
    let sides = map::Sides::of(sweep);
    let cell = |square: &map::Square| Cell {
        mark: square.broke.then_some(Mark::Bad),
        ..Cell::number(square.text.clone()).noted(square.note.clone())
    };
    let rows = map.rows.iter().map(|row| TableRow {
        name: row.name.clone(),
        goes_on: false,
        cells: row.squares.iter().map(cell).collect(),
    });
    let head = sides.columns.iter().map(|value| Head::number(value, "")).collect();
    Table { head, groups: vec![Group { label: "", rows: rows.collect() }], ..Table::default() }
}
