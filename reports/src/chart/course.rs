//! How a figure goes along what is swept: a line a contender with its interval as a band, and the places where two lines cross.

use harness::record::{Metric, Unit};

use super::axis::{Axis, log_ns};
use super::figure::{Chart, key};
use super::look::Look;
use super::plot::{Banded, WIDTH, courses, lines_scales};
use super::svg::{Named, image};
use crate::ReportError;
use crate::table::Table;

/// A contender along the values of the axis.
pub(crate) struct Course<'a> {
    pub(crate) name: &'a str,
    /// For each value; `None` where it has no figure.
    pub(crate) points: Vec<Option<Point>>,
}

/// A figure at one value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) value: f64,
    /// Of 99 %.
    pub(crate) interval: Option<(f64, f64)>,
}

/// Where two lines cross.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Crossing {
    /// By the number of the value before it, and the part of the way to the next.
    pub(crate) place: f64,
    /// The figure there.
    pub(crate) value: f64,
    /// Whether the intervals tell that one is better before it and the other after it.
    pub(crate) told: bool,
}

/// What is drawn.
pub(crate) struct Courses<'a> {
    pub(crate) id: &'a str,
    pub(crate) title: String,
    pub(crate) caption: String,
    /// What is swept, and its values.
    pub(crate) field: &'a str,
    pub(crate) values: &'a [String],
    pub(crate) metric: &'a Metric,
    pub(crate) lines: Vec<Course<'a>>,
    pub(crate) crossings: Vec<Crossing>,
}

/// As a chart without data of its own: the maps beside it have them. `None` where no line has two points.
pub(crate) fn course_chart(courses_of: Courses<'_>) -> Result<Option<Chart>, ReportError> {
    let Courses { id, title, caption, field, values, metric, lines, crossings } = courses_of;
    if !lines.iter().any(|line| line.points.iter().flatten().count() > 1) {
        return Ok(None);
    }
    let names: Vec<&str> = lines.iter().map(|line| line.name).collect();
    let looks = Look::of_names(&names);
    let all = || lines.iter().flat_map(|line| line.points.iter().flatten());
    // An interval that is many times as wide as its figure says nothing, and would press all lines together.
    let within = |point: &Point| point.interval.filter(|(low, high)| *low > 0.0 && high / low < WIDE);
    let figures = || {
        all()
            .flat_map(|point| [Some(point.value), within(point).map(|of| of.0), within(point).map(|of| of.1)])
    };
    let figures = || figures().flatten().filter(|value| *value > 0.0);
    let (y, at): (Axis, fn(f64) -> f64) = match metric.unit {
        Unit::Ns => (Axis::log_duration(metric.title, figures()), log_ns),
        Unit::PerS | Unit::Count | Unit::Share => {
            let greatest = figures().fold(0.0, f64::max);
            let least = figures().fold(f64::MAX, f64::min);
            // Of what lies within a decade, the zero is shown.
            match metric.unit == Unit::PerS && greatest / least > 10.0 {
                true => (Axis::log_rate(metric.title, figures()), f64::log10),
                false => (Axis::from_zero(metric.title, greatest), |value| value),
            }
        }
    };
    let x = Axis::places(values.iter().cloned());
    let banded: Vec<Banded> = lines
        .iter()
        .zip(&looks)
        .map(|(line, look)| {
            let placed = || {
                line.points
                    .iter()
                    .enumerate()
                    .filter_map(|(place, point)| Some((place as f64, point.as_ref()?)))
            };
            let point = |(place, point): (f64, &Point)| (place, at(point.value));
            let edge = |(place, point): (f64, &Point)| {
                let (low, high) = within(point)?;
                Some((place, at(low), at(high)))
            };
            Banded {
                look: *look,
                points: placed().map(point).collect(),
                band: placed().filter_map(edge).collect(),
            }
        })
        .collect();
    let marks: Vec<(f64, f64, bool)> = crossings.iter().map(|of| (of.place, at(of.value), of.told)).collect();
    let named = Named { id, title: &title, description: &caption, scales: lines_scales(HEIGHT, &x, &y) };
    let svg = image(&named, (WIDTH, HEIGHT), |area| courses(area, field, &x, &y, &banded, &marks))?;
    let legend = names.iter().zip(&looks).map(|(name, look)| key(name, *look)).collect();
    Ok(Some(Chart { id: "course", title, caption, svg, legend, data: Table::default() }))
}

const HEIGHT: u32 = 380;

/// High beside low, beyond which an interval is not drawn.
const WIDE: f64 = 20.0;
