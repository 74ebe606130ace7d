//! A table before it has a look: HTML and Markdown draw the same cells.

use harness::record::{Deed, Standing};

use crate::format::{self, MISSING};

/// Rows under a head; the first cell of a row names it.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) caption: String,
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

impl Cell {
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

/// `36 updates lost (foretold), 2 entries out of order`.
fn told(deeds: &[Deed]) -> String {
    let each = |deed: &Deed| {
        let foretold = if deed.foretold { " (foretold)" } else { "" };
        format!("{} {}{foretold}", format::count(deed.times), deed.counted)
    };
    deeds.iter().map(each).collect::<Vec<_>>().join(", ")
}
