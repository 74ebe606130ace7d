//! A table before it has a look: HTML and Markdown draw the same cells.

use harness::record::{Deed, Standing};

use crate::format::{self, MISSING};

/// Rows under a head; the first cell of a row names it.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) caption: String,
    /// Where there is no room for its columns, each row is a card: of rows that stand for somebody.
    pub(crate) cards: bool,
    pub(crate) head: Vec<Head>,
    pub(crate) groups: Vec<Group>,
}

/// A column: its name and what it says exactly.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) name: String,
    pub(crate) hint: &'static str,
    pub(crate) numeric: bool,
}

/// Rows that belong together, visibly apart from others if they have a label.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) label: &'static str,
    pub(crate) rows: Vec<TableRow>,
}

/// A row of a table.
#[derive(Debug)]
pub(crate) struct TableRow {
    pub(crate) name: String,
    /// The row goes on with what the one above it names; the name then steps back.
    pub(crate) goes_on: bool,
    pub(crate) cells: Vec<Cell>,
}

/// What stands in one place of a table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    /// The value, or words.
    pub(crate) text: String,
    /// A second, smaller line: the range of the blocks, a reason.
    pub(crate) note: String,
    /// An icon with its tone; the word beside it says the same.
    pub(crate) mark: Option<Mark>,
    /// Lines that open on request: the excerpt that shows a violation.
    pub(crate) witness: Vec<String>,
    pub(crate) numeric: bool,
}

/// An icon that never stands without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Good,
    Bad,
    Doubt,
}

impl Mark {
    pub(crate) fn icon(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Bad => "✗",
            Self::Doubt => "?",
        }
    }

    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Doubt => "doubt",
        }
    }
}

impl Head {
    pub(crate) fn text(name: &str) -> Self {
        Self { name: name.to_owned(), hint: "", numeric: false }
    }

    pub(crate) fn number(name: &str, hint: &'static str) -> Self {
        Self { name: name.to_owned(), hint, numeric: true }
    }
}

impl Table {
    /// Without the columns in which nobody has anything; all of them, if that is so of all.
    pub(crate) fn without_empty_columns(mut self) -> Self {
        let rows = || self.groups.iter().flat_map(|group| &group.rows);
        let told: Vec<bool> = (0..self.head.len())
            .map(|column| rows().any(|row| row.cells.get(column).is_some_and(Cell::says_anything)))
            .collect();
        if !told.contains(&true) {
            return self;
        }
        let mut kept = told.iter();
        self.head.retain(|_| kept.next() == Some(&true));
        for row in self.groups.iter_mut().flat_map(|group| &mut group.rows) {
            let mut kept = told.iter();
            row.cells.retain(|_| kept.next() == Some(&true));
        }
        self
    }
}

impl Cell {
    /// Whether there is more in it than that something is missing.
    fn says_anything(&self) -> bool {
        // So many that they are too few is no figure either.
        let too_few = self.text == MISSING && self.note.starts_with("n = ");
        !(self.text.is_empty() || self.text == MISSING)
            || !(self.note.is_empty() || too_few)
            || self.mark.is_some()
            || !self.witness.is_empty()
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Words that nobody wrote are missing, not blank.
    pub(crate) fn words(text: &str) -> Self {
        Self::text(if text.is_empty() { MISSING } else { text })
    }

    pub(crate) fn number(text: impl Into<String>) -> Self {
        Self { text: text.into(), numeric: true, ..Self::default() }
    }

    pub(crate) fn count(value: u64) -> Self {
        Self::number(format::count(value))
    }

    pub(crate) fn duration(ns: Option<u64>) -> Self {
        Self::number(format::duration_or_missing(ns))
    }

    pub(crate) fn noted(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    pub(crate) fn marked(mark: Mark, word: impl Into<String>) -> Self {
        Self { text: word.into(), mark: Some(mark), ..Self::default() }
    }

    pub(crate) fn icon(&self) -> &'static str {
        self.mark.map_or("", Mark::icon)
    }

    pub(crate) fn class(&self) -> &'static str {
        self.mark.map_or("", Mark::class)
    }
}

impl From<Standing> for Cell {
    fn from(standing: Standing) -> Self {
        let part = |mark, word: &str, k, n| Self::marked(mark, format!("{word} {k} of {n}"));
        match standing {
            Standing::Pass => Self::marked(Mark::Good, "PASS"),
            Standing::Violated(deeds) | Standing::Foretold(deeds) => Self::marked(Mark::Bad, told(&deeds)),
            Standing::Held(_) => Self::marked(Mark::Bad, "HELD, violation promised"),
            Standing::Unknown => Self::marked(Mark::Doubt, "UNKNOWN"),
            Standing::NotProven => Self::marked(Mark::Doubt, "NOT PROVEN"),
            Standing::NotJudged => Self::text("not judged"),
            Standing::Caught(k, n) => part(if k == n { Mark::Good } else { Mark::Bad }, "CAUGHT", k, n),
            Standing::Exact(k, n) => part(if k == n { Mark::Good } else { Mark::Bad }, "EXACT", k, n),
        }
    }
}

/// `36 updates lost (foretold), 2 entries out of order`; where several and all were foretold, that is said once.
fn told(deeds: &[Deed]) -> String {
    let all = deeds.len() > 1 && deeds.iter().all(|deed| deed.foretold);
    let each = |deed: &Deed| {
        let foretold = if deed.foretold && !all { " (foretold)" } else { "" };
        format!("{}{foretold}", counted(deed))
    };
    let each = deeds.iter().map(each).collect::<Vec<_>>().join(", ");
    if all { format!("{each} (all foretold)") } else { each }
}

/// `36 updates lost`.
pub(crate) fn counted(deed: &Deed) -> String {
    format::counted(deed.times, &deed.counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_in_which_nobody_has_anything_vanish() {
        let row = |name: &str, cells: [Cell; 3]| TableRow {
            name: name.to_owned(),
            goes_on: false,
            cells: cells.into(),
        };
        let missing = || Cell::number(MISSING);
        let rows = vec![
            row("a", [missing(), missing(), Cell::count(0)]),
            row("b", [missing(), Cell::count(7), missing()]),
        ];
        let head = ["none", "some", "zero"].map(Head::text).into();
        let table = Table { head, groups: vec![Group { label: "", rows }], ..Table::default() };
        let table = table.without_empty_columns();
        let names: Vec<_> = table.head.iter().map(|head| head.name.as_str()).collect();
        assert_eq!(names, ["some", "zero"], "none is a figure, too");
        let cells: Vec<_> = table.groups[0].rows[1].cells.iter().map(|cell| cell.text.as_str()).collect();
        assert_eq!(cells, ["7", MISSING]);
    }
}
