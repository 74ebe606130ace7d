//! A scenario of which some fields are lists of values: one scenario at every point of a grid.

use std::ops::Range;

use harness::record::{CellValues, SweepAxis};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::SpecError;
use super::fields::ScenarioSpec;
use super::parse::with_settings;
use super::scenario::Scenario;

/// Fields that take lists, at most: a map has no more sides.
const MOST_AXES: usize = 2;

/// Cells of a sweep, at most: each is a batch.
const MOST_CELLS: usize = 100;

/// Fields that are of the sweep as a whole: a name, and how often and from what everything is drawn.
const OF_THE_WHOLE: [&str; 4] = ["name", "summary", "blocks", "seed"];

/// A scenario with every combination of the values of its lists.
#[derive(Debug, Clone)]
pub struct Grid {
    /// The text with its lists, and with every `--set` in it.
    pub text: String,
    /// The fields that are lists; none where it is a single scenario.
    pub axes: Vec<SweepAxis>,
    /// A scenario for each combination, the last axis changing first; one at least.
    pub cells: Vec<Scenario>,
}

impl Grid {
    /// Parses a text, then puts settings into it, as [`Scenario::parse`] does. Wherever the text has a list of numbers, words or
    /// switches and the field takes one, each is a cell of its own. A field that takes a list itself (`hold_s = [median, 99th
    /// percentile]`) has that one.
    ///
    /// # Errors
    /// As [`Scenario::parse`], of every cell; also too many lists or cells, and lists that are none of values to sweep.
    pub fn parse(origin: &str, text: &str, settings: &[(String, String)]) -> Result<Self, SpecError> {
        // The file alone first, so that its own errors carry its own lines.
        lists(origin, text)?;
        let (origin, text) = with_settings(origin, text, settings)?;
        let lists = lists(&origin, &text)?;
        let at = |list: &List, what: String| SpecError::at(&origin, &text, list.span.start, what);
        if let Some(list) = lists.get(MOST_AXES) {
            let fields: Vec<&str> = lists.iter().map(|list| list.axis.field.as_str()).collect();
            let what = format!(
                "{} fields are lists ({}), and a sweep has {MOST_AXES} at most: run one for each value of one of them",
                lists.len(),
                fields.join(", ")
            );
            return Err(at(list, what));
        }
        let count = lists.iter().map(|list| list.axis.values.len()).product::<usize>();
        if let Some(list) = lists.last().filter(|_| count > MOST_CELLS) {
            let what = format!(
                "the lists make {count} cells, each of them a batch; {MOST_CELLS} at most: shorten them"
            );
            return Err(at(list, what));
        }
        let mut combinations: Vec<Vec<String>> = vec![Vec::new()];
        for list in &lists {
            let with = |values: &Vec<String>, value: &String| {
                [values.as_slice(), std::slice::from_ref(value)].concat()
            };
            let longer = combinations.iter();
            combinations = longer
                .flat_map(|values| list.axis.values.iter().map(move |value| with(values, value)))
                .collect();
        }
        let cells = combinations.iter().map(|values| cell(&origin, &text, &lists, values));
        let cells = cells.collect::<Result<_, _>>()?;
        Ok(Self { cells, axes: lists.iter().map(|list| list.axis.clone()).collect(), text })
    }
}

/// The scenario with one value of each list.
fn cell(origin: &str, text: &str, lists: &[List], values: &[String]) -> Result<Scenario, SpecError> {
    let fields = lists.iter().map(|list| list.axis.field.clone());
    let cell: CellValues = fields.zip(values.iter().cloned()).collect();
    let mut places: Vec<_> = lists.iter().zip(values).collect();
    places.sort_by_key(|(list, _)| std::cmp::Reverse(list.span.start));
    let mut text = text.to_owned();
    for (list, value) in places {
        // What follows stays on its line, so that errors tell it.
        let lines = "\n".repeat(text[list.span.clone()].matches('\n').count());
        text.replace_range(list.span.clone(), &format!("{value}{lines}"));
    }
    let origin = match cell.is_empty() {
        true => origin.to_owned(),
        false => format!("{origin}, cell {}", named(&cell)),
    };
    Ok(Scenario { cell, ..Scenario::of(&origin, text)? })
}

/// `rate_per_s = 50, nodes = 3`.
#[must_use]
pub fn named(cell: &CellValues) -> String {
    cell.iter().map(|(field, value)| format!("{field} = {value}")).collect::<Vec<_>>().join(", ")
}

/// A list of values to sweep, and where it stands.
struct List {
    axis: SweepAxis,
    span: Range<usize>,
}

/// The lists that stand where a field takes a single value: whatever the fields refuse for being a list is one. They are taken out one
/// after the other, the first value in place of each, until the fields take everything.
fn lists(origin: &str, text: &str) -> Result<Vec<List>, SpecError> {
    let mut found: Vec<List> = Vec::new();
    let mut rest = text.to_owned();
    loop {
        let error = match toml::from_str::<ScenarioSpec>(&rest) {
            Ok(_) => break,
            Err(error) => error,
        };
        let refused = || SpecError::toml(origin, &error);
        let span = error.span().ok_or_else(refused)?;
        let table = DeTable::parse(&rest).map_err(|error| SpecError::toml(origin, &error))?;
        let mut way = Vec::new();
        let (field, items) = list_at(table.get_ref(), &span, &mut way).ok_or_else(refused)?;
        let values = values(&rest, items)
            .and_then(|values| match OF_THE_WHOLE.contains(&field.as_str()) {
                true => Err("is of the whole sweep: give one value"),
                false => Ok(values),
            })
            .map_err(|what| SpecError::at(origin, text, span.start, format!("`{field}` {what}")))?;
        // As long as before, so that all places stay what they are.
        let first = items[0].span();
        let kept: String = rest[span.clone()].chars().filter(|c| *c == '\n').collect();
        let value = rest[first].to_owned();
        let filled = value.len() + kept.len();
        let blank = " ".repeat(span.len() - filled);
        rest.replace_range(span.clone(), &format!("{value}{blank}{kept}"));
        found.push(List { axis: SweepAxis { field, values }, span });
    }
    found.sort_by_key(|list| list.span.start);
    Ok(found)
}

/// The list that takes up a place of the text, with the way to it.
fn list_at<'a, 't>(
    table: &'a DeTable<'t>,
    span: &Range<usize>,
    way: &mut Vec<String>,
) -> Option<(String, &'a [Spanned<DeValue<'t>>])> {
    table.iter().find_map(|(key, value)| {
        way.push(key.get_ref().to_string());
        let found = list_in(value, span, way);
        way.pop();
        found
    })
}

fn list_in<'a, 't>(
    value: &'a Spanned<DeValue<'t>>,
    span: &Range<usize>,
    way: &mut Vec<String>,
) -> Option<(String, &'a [Spanned<DeValue<'t>>])> {
    match value.get_ref() {
        DeValue::Array(items) if value.span() == *span => Some((way.join("."), items.as_ref())),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(place, item)| {
            let DeValue::Table(table) = item.get_ref() else { return None };
            let name = table.iter().find(|(key, _)| key.get_ref() == "name").map(|(_, name)| name.get_ref());
            way.push(match name {
                Some(DeValue::String(name)) => name.to_string(),
                _ => place.to_string(),
            });
            let found = list_at(table, span, way);
            way.pop();
            found
        }),
        DeValue::Table(table) => list_at(table, span, way),
        _ => None,
    }
}

/// The values of a list as they are written; numbers in their order.
fn values(text: &str, items: &[Spanned<DeValue<'_>>]) -> Result<Vec<String>, &'static str> {
    let number = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
        DeValue::Integer(_) | DeValue::Float(_) => text[item.span()].replace('_', "").parse::<f64>().ok(),
        _ => None,
    };
    let mut values: Vec<(Option<f64>, String)> =
        items.iter().map(|item| (number(item), text[item.span()].to_owned())).collect();
    let words = |item: &Spanned<DeValue<'_>>| matches!(item.get_ref(), DeValue::String(_));
    let switches = |item: &Spanned<DeValue<'_>>| matches!(item.get_ref(), DeValue::Boolean(_));
    let numbers = values.iter().all(|(number, _)| number.is_some());
    if items.len() < 2 {
        return Err("is a list of fewer than two values, which is no sweep: write the value alone");
    }
    if !(numbers || items.iter().all(words) || items.iter().all(switches)) {
        return Err("is a list that is no sweep: all its values must be numbers, or all words");
    }
    if numbers {
        values.sort_by(|(one, _), (other, _)| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    }
    let twice = |pair: &[(Option<f64>, String)]| match (pair[0].0, pair[1].0) {
        (Some(one), Some(other)) => one == other,
        _ => pair[0].1 == pair[1].1,
    };
    let mut sorted = values.clone();
    if !numbers {
        sorted.sort_by(|one, other| one.1.cmp(&other.1));
    }
    match sorted.windows(2).any(twice) {
        true => Err("has a value twice: leave one out"),
        false => Ok(values.into_iter().map(|(_, value)| value).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> &'static str {
        crate::catalog::ALL.iter().find(|(name, _)| *name == "smoke").unwrap().1
    }

    fn grid(settings: &[(&str, &str)]) -> Result<Grid, String> {
        let settings: Vec<_> =
            settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Grid::parse("mine.toml", text(), &settings).map_err(|error| error.to_string())
    }

    fn refused(from: &str, to: &str) -> String {
        let text = text().replace(from, to);
        Grid::parse("mine.toml", &text, &[]).unwrap_err().to_string()
    }

    #[test]
    fn a_scenario_without_lists_is_one_cell_as_it_was() {
        let grid = grid(&[]).unwrap();
        assert_eq!((grid.axes.len(), grid.cells.len()), (0, 1));
        assert_eq!((grid.cells[0].text.as_str(), grid.cells[0].origin.as_str()), (text(), "mine.toml"));
        assert!(grid.cells[0].cell.is_empty());
    }

    #[test]
    fn any_field_may_be_a_list_and_numbers_rise() {
        let grid = grid(&[("rate_per_s", "[200, 50, 100]"), ("resources.vm.count", "[5, 50]")]).unwrap();
        let axes: Vec<_> = grid.axes.iter().map(|axis| (axis.field.as_str(), axis.values.len())).collect();
        assert_eq!(axes, [("rate_per_s", 3), ("resources.vm.count", 2)]);
        let specs = grid.cells.iter().map(|cell| (cell.spec.rate_per_s.unwrap(), vms(cell)));
        assert_eq!(
            specs.collect::<Vec<_>>(),
            [(50.0, 5), (50.0, 50), (100.0, 5), (100.0, 50), (200.0, 5), (200.0, 50)]
        );
        assert_eq!(named(&grid.cells[5].cell), "rate_per_s = 200, resources.vm.count = 50");
    }

    fn vms(cell: &Scenario) -> u32 {
        cell.spec.resources[&harness::model::ResourceKind::Vm].count
    }

    #[test]
    fn words_may_be_swept_too_and_steps_are_named_by_their_task() {
        let grid = grid(&[("durability", "[\"memory\", \"durable\"]")]).unwrap();
        assert_eq!(grid.axes[0].values, ["\"memory\"", "\"durable\""]);
        let hold =
            grid_of("{ resource = \"vm\", hold_s = 0.5,", "{ resource = \"vm\", hold_s = [0.5, 1, 2],");
        assert_eq!(hold.axes[0].field, "tasks.start-vm.step.hold_s");
        assert_eq!(hold.cells.len(), 3);
        let set = super::super::Scenario::parse(
            "mine.toml",
            text(),
            &[("tasks.start-vm.step.hold_s".to_owned(), "2".to_owned())],
        );
        assert_eq!(set.unwrap().spec.tasks[0].step.hold_s, crate::spec::Duration::Constant(2.0));
    }

    fn grid_of(from: &str, to: &str) -> Grid {
        let text = text().replace(from, to);
        assert_ne!(text, super::tests::text());
        Grid::parse("mine.toml", &text, &[]).unwrap()
    }

    #[test]
    fn a_field_that_takes_a_list_itself_is_no_axis() {
        let steps = "arrivals = { shape = \"steps\", rates_per_s = [100.0, 200.0] }";
        assert!(grid_of("rate_per_s = 250.0", steps).axes.is_empty());
    }

    #[test]
    fn a_list_over_several_lines_leaves_all_others_where_they_were() {
        let cells = grid_of("nodes = 3", "nodes = [\n  3, # few\n  9,\n]").cells;
        let error = cells[1].error_of("deadline_ms", "odd").to_string();
        let line = text().lines().position(|line| line.starts_with("deadline_ms")).unwrap() + 1 + 3;
        assert_eq!(error, format!("mine.toml, cell nodes = 9, line {line}: `deadline_ms`: odd"),);
    }

    #[test]
    fn lists_that_are_no_sweep_are_refused_with_line_and_remedy() {
        let line = text().lines().position(|line| line.starts_with("nodes")).unwrap() + 1;
        for (list, what) in [
            ("[]", "fewer than two values"),
            ("[3]", "write the value alone"),
            ("[3, \"three\"]", "all its values must be numbers, or all words"),
            ("[3, 3]", "has a value twice"),
            ("[[1, 2], [3]]", "all its values must be numbers"),
        ] {
            let error = refused("nodes = 3", &format!("nodes = {list}"));
            assert!(error.starts_with(&format!("mine.toml, line {line}: `nodes`")), "{list}: {error}");
            assert!(error.contains(what), "{list}: {error}");
        }
        assert!(refused("blocks = ", "blocks = [1, 2] #").contains("`blocks` is of the whole sweep"));
        assert!(refused("nodes = 3", "nodes = [3, 0]").contains("cell nodes = 0"));
        assert!(refused("nodes = 3", "nodes = [3, 2.5]").contains("2.5"));
        assert!(refused("nodes = 3", "nods = [3, 4]").contains("nodes"), "an unknown field is one");
    }

    #[test]
    fn more_than_two_lists_or_a_hundred_cells_are_refused() {
        let error = grid(&[("nodes", "[1,3]"), ("hold_ms", "[1,2]"), ("rtt_ms", "[0,1]")]).unwrap_err();
        assert!(error.contains("3 fields are lists (") && error.contains("a sweep has 2 at most"), "{error}");
        let many = format!("[{}]", (1..=51).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
        let error = grid(&[("nodes", &many), ("hold_ms", "[1,2]")]).unwrap_err();
        assert!(error.contains("102 cells") && error.contains("100 at most"), "{error}");
    }
}
