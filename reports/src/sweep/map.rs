//! Heat maps: a square a cell, the darker the more; and the same squares by who is better there.

use harness::record::{Metric, Standing};

use super::cells::Sweep;
use super::told::{Figure, Side, Told, shown};
use crate::format::{self, MISSING};

/// How the axes lie: the longer one along.
pub(super) struct Sides {
    /// The field that changes along.
    pub(super) field: String,
    pub(super) columns: Vec<String>,
    /// The field that changes downwards; `None` of a single axis.
    pub(super) row_field: Option<String>,
    pub(super) rows: Vec<SideRow>,
}

/// A row of cells.
pub(super) struct SideRow {
    pub(super) value: String,
    /// Places of the cells.
    pub(super) cells: Vec<Option<usize>>,
}

impl Sides {
    pub(super) fn of(sweep: &Sweep) -> Self {
        let axes = &sweep.record.axes;
        // Of two of the same length, the first.
        let along = usize::from(axes.len() > 1 && axes[1].values.len() > axes[0].values.len());
        let columns = axes[along].values.clone();
        let across = axes.iter().enumerate().find(|(place, _)| *place != along).map(|(_, axis)| axis);
        let place = |column: &str, row: Option<&str>| {
            let mut values = vec![column];
            values.extend(row);
            if along == 1 {
                values.reverse();
            }
            sweep.place(&values)
        };
        let row = |value: Option<&String>| SideRow {
            value: value.cloned().unwrap_or_default(),
            cells: columns.iter().map(|column| place(column, value.map(String::as_str))).collect(),
        };
        let rows = match across {
            Some(axis) => axis.values.iter().map(|value| row(Some(value))).collect(),
            None => vec![row(None)],
        };
        Self {
            field: axes[along].field.clone(),
            row_field: across.map(|axis| axis.field.clone()),
            columns: columns.clone(),
            rows,
        }
    }
}

/// A map, ready for a page.
pub(super) struct Map {
    /// Whose; empty where its rows are contenders.
    pub(super) title: String,
    /// What its rows are.
    pub(super) corner: String,
    pub(super) rows: Vec<MapRow>,
}

pub(super) struct MapRow {
    pub(super) name: String,
    pub(super) squares: Vec<Square>,
}

/// A square of a map.
#[derive(Debug, Clone, Default)]
pub(super) struct Square {
    pub(super) text: String,
    pub(super) note: String,
    /// The colour that it is tinted with, and how much of it there is, in per cent.
    pub(super) colour: &'static str,
    pub(super) tint: u32,
    /// Whoever let two in or lost a write there is no better for his figure.
    pub(super) broke: bool,
}

/// The most of the colour, so that what stands on it can be read.
const MOST_TINT: f64 = 45.0;

/// A map of a metric for every contender; of a single axis one for all, a row a contender.
pub(super) fn figures(told: &Told<'_>, metric: &Metric) -> Vec<Map> {
    let sides = Sides::of(told.sweep);
    let figure = |contender: &str, cell: Option<usize>| told.figure(cell?, contender, metric);
    let all = told.contenders.iter().flat_map(|contender| {
        sides.rows.iter().flat_map(move |row| row.cells.iter().map(move |cell| figure(contender, *cell)))
    });
    let range = all
        .flatten()
        .map(|figure| figure.value)
        .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    let square = |contender: &str, cell: Option<usize>| Square {
        broke: cell.is_some_and(|cell| broke(told.sweep, cell, contender)),
        ..figure_square(metric, figure(contender, cell), range)
    };
    lay_out(&sides, told.contenders.iter().copied(), square)
}

/// A map for every contender beside the reference.
pub(super) fn answers(told: &Told<'_>, metric: usize) -> Vec<Map> {
    let sides = Sides::of(told.sweep);
    let reference = told.reference.unwrap_or_default();
    let square = |own: &str, cell: Option<usize>| {
        let other = told.others.iter().position(|name| *name == own);
        match cell.zip(other) {
            Some((cell, other)) => answer_square(told, (cell, other, metric), own, reference),
            None => Square::default(),
        }
    };
    let mut maps = lay_out(&sides, told.others.iter().copied(), square);
    for map in &mut maps {
        map.title = match map.title.as_str() {
            "" => format!("beside {reference}"),
            own => format!("{own} beside {reference}"),
        };
    }
    maps
}

fn lay_out<'a>(
    sides: &Sides,
    names: impl Iterator<Item = &'a str>,
    square: impl Fn(&str, Option<usize>) -> Square,
) -> Vec<Map> {
    let squares = |name: &str, row: &SideRow| row.cells.iter().map(|cell| square(name, *cell)).collect();
    match &sides.row_field {
        None => {
            let rows =
                names.flat_map(|name| sides.rows.iter().map(move |row| (name, row)).collect::<Vec<_>>());
            let rows = rows
                .map(|(name, row)| MapRow { name: name.to_owned(), squares: squares(name, row) })
                .collect();
            vec![Map { title: String::new(), corner: "Contender".to_owned(), rows }]
        }
        Some(field) => names
            .map(|name| Map {
                title: name.to_owned(),
                corner: field.clone(),
                rows: sides
                    .rows
                    .iter()
                    .map(|row| MapRow { name: row.value.clone(), squares: squares(name, row) })
                    .collect(),
            })
            .collect(),
    }
}

fn figure_square(metric: &Metric, figure: Option<Figure>, (low, high): (f64, f64)) -> Square {
    let Some(figure) = figure else { return Square { text: MISSING.to_owned(), ..Square::default() } };
    let blocks = format::plural(figure.blocks.into(), "block");
    let note = match figure.interval {
        // Two blocks that are far apart have an interval that is no figure any more.
        Some((low, high)) if high < 100.0 * figure.value => {
            format!("{}–{}", shown(metric, low), shown(metric, high))
        }
        _ => blocks,
    };
    let at_least = if figure.at_least { "≥ " } else { "" };
    // By the logarithm: twice as much is as much darker everywhere.
    let share = if low > 0.0 && high > low { (figure.value / low).ln() / (high / low).ln() } else { 0.0 };
    Square {
        text: format!("{at_least}{}", shown(metric, figure.value)),
        note,
        colour: "s0",
        tint: (MOST_TINT * share).round() as u32,
        broke: false,
    }
}

fn answer_square(
    told: &Told<'_>,
    (cell, other, metric): (usize, usize, usize),
    own: &str,
    reference: &str,
) -> Square {
    const TINT: u32 = 30;
    let Some(decided) = told.decided(cell, other, metric) else {
        return Square { text: MISSING.to_owned(), note: "too few blocks".to_owned(), ..Square::default() };
    };
    let (low, high) = decided.ratio.interval(0.99);
    let [ratio, low, high] = [decided.ratio.ratio(), low, high].map(format::significant);
    let (text, colour, tint) = match told.side(cell, other, metric) {
        Side::Own => (own.to_owned(), "s2", TINT),
        Side::Reference => (reference.to_owned(), "s1", TINT),
        Side::Same => ("the same".to_owned(), "rule", TINT),
        Side::Untold => match decided.blocks_that_would_tell() {
            Some(blocks) => (format!("cannot tell: {blocks} blocks might"), "rule", 0),
            None => ("cannot tell".to_owned(), "rule", 0),
        },
    };
    let broke = broke(told.sweep, cell, own) || broke(told.sweep, cell, reference);
    Square { text, note: format!("× {ratio} ({low}–{high})"), colour, tint, broke }
}

fn broke(sweep: &Sweep, cell: usize, contender: &str) -> bool {
    let batch = sweep.batches[cell].as_ref();
    batch.zip(sweep.row(cell, contender)).is_some_and(|(batch, row)| {
        matches!(batch.standing_of(row), Standing::Violated(_) | Standing::Foretold(_))
    })
}
