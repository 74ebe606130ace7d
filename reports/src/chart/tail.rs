//! Wait percentiles on the scale of the tail.

use harness::record::Histogram;

use super::axis::{Axis, log_ns, tail_of};
use super::figure::{Chart, key};
use super::look::Look;
use super::plot::{Line, WIDTH, lines, lines_scales};
use super::svg::{Named, image};
use crate::matrix::{by_role, quantile};
use crate::table::Head;
use crate::{Comparison, ReportError};

const SHARES: [(f64, &str); 6] =
    [(0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "greatest")];

pub(super) fn draw(comparison: &Comparison, looks: &[Look]) -> Result<Option<Chart>, ReportError> {
    let with_waits = || comparison.rows.iter().zip(looks).filter(|(row, _)| row.latency.wait.count() > 0);
    let curves: Vec<Line> =
        with_waits().map(|(row, look)| Line { look: *look, points: curve(&row.latency.wait) }).collect();
    if curves.is_empty() {
        return Ok(None);
    }
    let points = || curves.iter().flat_map(|line| &line.points);
    let deepest = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let x = Axis::tail("share of steps that waited at most so long", deepest);
    let y = Axis::log_duration("wait", points().map(|(_, y)| 10_f64.powf(*y)));
    let title = "Wait, down the tail";
    let caption = "Asked to entered, all blocks merged; the first step of a task counts from its intended start. Both \
                   scales are logarithmic: each nine of the share takes the same width. Controls are grey.";
    let named = Named { id: "tail", title, description: caption, scales: lines_scales(400, &x, &y) };
    let svg = image(&named, (WIDTH, 400), |area| lines(area, &x, &y, &curves, &[]))?;
    let head = SHARES.map(|(_, name)| Head::number(name, "")).into();
    let data = by_role(comparison, head, |row| SHARES.map(|(q, _)| quantile(&row.latency.wait, q)).into());
    let legend = with_waits().map(|(row, look)| key(&row.contender, *look)).collect();
    Ok(Some(Chart { id: "tail", title: title.to_owned(), caption: caption.to_owned(), svg, legend, data }))
}

/// From the median down the tail: what lies above it is no news.
fn curve(wait: &Histogram) -> Vec<(f64, f64)> {
    let median = wait.quantile_ns(0.5).map(|ns| (0.5, ns));
    let tail = wait.tail_curve().into_iter().filter(|(share, _)| *share > 0.5);
    median.into_iter().chain(tail).map(|(share, ns)| (tail_of(share), log_ns(ns as f64))).collect()
}
