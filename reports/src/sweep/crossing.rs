//! Where the lines of two contenders cross along an axis: by their means, and whether the intervals tell it.

use harness::record::Metric;

use super::map::{SideRow, Sides};
use super::told::{Side, Told, shown};
use crate::ReportError;
use crate::chart::{Chart, Course, Courses, Crossing, Point, course_chart};

/// A place where an other crosses the reference.
pub(super) struct Crosses<'a> {
    pub(super) other: &'a str,
    pub(super) at: Crossing,
    /// Between which values; where both are numbers, near which.
    between: String,
}

impl Crosses<'_> {
    /// `near nodes = 4.2 (between 3 and 5), at 12,300 /s`.
    pub(super) fn words(&self, metric: &Metric) -> String {
        format!("{}, at {}", self.between, shown(metric, self.at.value))
    }
}

/// All such places of one row of a sweep, in their order.
pub(super) fn crossings<'a>(
    told: &Told<'a>,
    metric: usize,
    sides: &Sides,
    row: &SideRow,
) -> Vec<Crosses<'a>> {
    let Some(reference) = told.reference else { return Vec::new() };
    let figure = |cell: Option<usize>, name: &str| {
        let figure = told.figure(cell?, name, told.metrics[metric])?;
        (!figure.at_least && figure.value > 0.0).then_some(figure.value)
    };
    let mut all = Vec::new();
    for (other, own) in told.others.iter().enumerate() {
        for (before, pair) in row.cells.windows(2).enumerate() {
            let [Some(mine), Some(theirs)] =
                [*own, reference].map(|name| Some((figure(pair[0], name)?, figure(pair[1], name)?)))
            else {
                continue;
            };
            let (from, to) = ((mine.0 / theirs.0).ln(), (mine.1 / theirs.1).ln());
            if from == 0.0 || from * to >= 0.0 {
                continue;
            }
            let part = from / (from - to);
            let value = (theirs.0.ln() * (1.0 - part) + theirs.1.ln() * part).exp();
            let side = |cell: Option<usize>| cell.map_or(Side::Untold, |cell| told.side(cell, other, metric));
            let ends = (side(pair[0]), side(pair[1]));
            let certain = matches!(ends, (Side::Own, Side::Reference) | (Side::Reference, Side::Own));
            all.push(Crosses {
                other: own,
                at: Crossing { place: before as f64 + part, value, told: certain },
                between: between(&sides.field, &sides.columns[before..=before + 1], part),
            });
        }
    }
    all
}

fn between(field: &str, values: &[String], part: f64) -> String {
    let number = |value: &String| value.replace('_', "").parse::<f64>().ok();
    let (low, high) = (&values[0], &values[1]);
    match number(low).zip(number(high)) {
        Some((from, to)) => {
            let near = from + part * (to - from);
            // In as many digits as tell the two values apart.
            let digits = (1.0 - (to - from).abs().log10().floor()).clamp(0.0, 6.0) as usize;
            format!("near {field} = {near:.digits$} (between {low} and {high})")
        }
        None => format!("between {field} = {low} and {high}"),
    }
}

/// A chart of a metric for each value of the axis that does not run along.
pub(super) fn charts(told: &Told<'_>, metric: usize) -> Result<Vec<Chart>, ReportError> {
    let (sides, of) = (Sides::of(told.sweep), told.metrics[metric]);
    let mut charts = Vec::new();
    for (place, row) in sides.rows.iter().enumerate() {
        let point = |cell: &Option<usize>, name: &str| {
            let figure = told.figure((*cell)?, name, of)?;
            Some(Point { value: figure.value, interval: figure.interval })
        };
        let lines = told
            .contenders
            .iter()
            .map(|name| Course { name, points: row.cells.iter().map(|cell| point(cell, name)).collect() });
        let crosses = crossings(told, metric, &sides, row);
        let across =
            sides.row_field.as_ref().map_or_else(String::new, |field| format!(", {field} = {}", row.value));
        let chart = course_chart(Courses {
            id: &format!("course-{metric}-{place}"),
            title: format!("{} by {}{across}", of.title, sides.field),
            caption: caption(told, of, &crosses),
            field: &sides.field,
            values: &sides.columns,
            metric: of,
            lines: lines.collect(),
            crossings: crosses.iter().map(|crosses| crosses.at).collect(),
        })?;
        charts.extend(chart);
    }
    Ok(charts)
}

fn caption(told: &Told<'_>, metric: &Metric, crosses: &[Crosses<'_>]) -> String {
    let usual = "The geometric mean over blocks, with its 99 % interval as a band. The values stand side by side, whatever lies between them.";
    let Some(reference) = told.reference.filter(|_| !told.others.is_empty()) else { return usual.to_owned() };
    if crosses.is_empty() {
        return format!("{usual} No line crosses that of {reference}.");
    }
    let each: Vec<String> = crosses
        .iter()
        .map(|cross| {
            let doubt = if cross.at.told { "" } else { ", which the intervals do not tell (hollow)" };
            format!("{} and {reference} {}{doubt}", cross.other, cross.words(metric))
        })
        .collect();
    format!(
        "{usual} Lines cross: {}. A filled mark: the intervals tell who is better before it and after it.",
        each.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::sweep::Sweep;

    #[test]
    fn the_place_of_a_crossing_is_told_in_digits_that_matter_and_words_have_none() {
        let values = |values: [&str; 2]| values.map(str::to_owned);
        assert_eq!(between("nodes", &values(["3", "9"]), 0.5), "near nodes = 6.0 (between 3 and 9)");
        assert_eq!(between("hold_ms", &values(["0", "200"]), 0.123), "near hold_ms = 25 (between 0 and 200)");
        assert_eq!(between("x", &values(["0.01", "0.02"]), 0.5), "near x = 0.015 (between 0.01 and 0.02)");
        let words = values(["\"single\"", "\"process\""]);
        assert_eq!(between("placement", &words, 0.5), "between placement = \"single\" and \"process\"");
    }

    /// At one node the ring has half of what the other has, at three the same, at nine three times as much.
    #[test]
    fn lines_cross_where_their_ratio_goes_through_one() {
        let dir = tempfile::tempdir().unwrap();
        fixture::swept(dir.path());
        let sweep = Sweep::load(dir.path()).unwrap();
        let told = Told::of(&sweep);
        let goodput = told.metrics.iter().position(|metric| metric.name == "goodput").unwrap();
        let sides = Sides::of(&sweep);
        // The figures of three nodes are equal to the last digit, so nothing crosses there or beside it.
        assert!(crossings(&told, goodput, &sides, &sides.rows[0]).is_empty());
        let whole = charts(&told, goodput).unwrap();
        assert_eq!(whole.len(), 2, "one for each hold");
        assert_eq!(whole[0].title, "Goodput by nodes, hold_ms = 0");
        assert!(whole[0].caption.contains("No line crosses that of redis-naive"), "{}", whole[0].caption);
        // Without the cell of three nodes the next ones are one and nine: half, and three times.
        let near = Sides {
            columns: ["1", "9"].map(str::to_owned).into(),
            rows: vec![SideRow {
                value: "0".to_owned(),
                cells: vec![sweep.place(&["1", "0"]), sweep.place(&["9", "0"])],
            }],
            ..Sides::of(&sweep)
        };
        let [cross] = &crossings(&told, goodput, &near, &near.rows[0])[..] else {
            panic!("one crosses once")
        };
        let part = 2.0_f64.ln() / 6.0_f64.ln();
        assert!((cross.at.place - part).abs() < 0.02 && cross.at.told, "{:?}", cross.at);
        assert!(cross.words(told.metrics[goodput]).starts_with("near nodes = 4.1 (between 1 and 9), at "));
    }
}
