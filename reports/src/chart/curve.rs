//! Load and latency: all probes of each contender, and the limit.

use harness::record::capacity::{excess_p99_ns, late};
use harness::record::{Histogram, Role, RunRecord};

use super::axis::{Axis, log_ns};
use super::figure::{Chart, key};
use super::look::Look;
use super::plot::{Line, WIDTH, lines_over, lines_scales};
use super::svg::{Named, image};
use crate::format::{self, MISSING};
use crate::matrix::quantile;
use crate::table::{Cell, Group, Head, Table, TableRow};
use crate::{Comparison, ReportError, Spread};

/// Beyond so many times the limit a line is cut: how late what nobody carries is says only how long the probe was.
const BEYOND: f64 = 20.0;

pub(super) fn draw(comparison: &Comparison, looks: &[Look]) -> Result<Option<Chart>, ReportError> {
    let Some(level) = &comparison.manifest.service_level else { return Ok(None) };
    let rows: Vec<(&str, Look, Vec<&RunRecord>)> = comparison
        .rows
        .iter()
        .zip(looks)
        .map(|(row, look)| (row.contender.as_str(), *look, probes(comparison, &row.contender)))
        .filter(|(_, _, probes)| !probes.is_empty())
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let limit_ns = level.excess_ns as f64;
    let curve = |probes: &[&RunRecord]| -> Vec<(f64, f64)> {
        let of =
            probes.iter().filter_map(|run| Some((run.probe?.rate_per_s, excess_p99_ns(run, &run.probe?))));
        let within = |ns: f64| log_ns(ns.clamp(1_000.0, BEYOND * limit_ns));
        neighbours(of).into_iter().map(|(rate, ns)| (rate.log10(), within(ns))).collect()
    };
    let curves: Vec<Line> =
        rows.iter().map(|(_, look, probes)| Line { look: *look, points: curve(probes) }).collect();
    let points = || curves.iter().flat_map(|line| &line.points);
    let rates = points().map(|(x, _)| 10_f64.powf(*x));
    let x = Axis::log_rate("tasks per second offered", rates);
    let y =
        Axis::log_duration("p99 beyond the work", points().map(|(_, y)| 10_f64.powf(*y)).chain([limit_ns]));
    let shaded = [[(x.from, y.from), (x.to, log_ns(limit_ns))]];
    let title = "Load and latency";
    let caption = format!(
        "Every probe of every block: the rate that was offered, and how much longer than their own planned work tasks took at \
         the 99th percentile; those of nearly one rate together, at their median. Both scales are logarithmic. A rate is carried up to {} (the shaded part). Of a probe that was \
         stopped, since it could no longer meet that, it is what it would have come to. Controls are grey.",
        format::duration(limit_ns)
    );
    let named = Named { id: "curve", title, description: &caption, scales: lines_scales(420, &x, &y) };
    let svg = image(&named, (WIDTH, 420), |area| lines_over(area, &x, &y, &curves, &shaded))?;
    let head = vec![
        Head::number("Offered /s", ""),
        Head::number("Achieved /s", "within the window"),
        Head::number("p50", "beyond the work"),
        Head::number("p99", ""),
        Head::number("p99.9", ""),
        Head::number("Late", "more than the limit beyond the work"),
        Head::number("In the window", "of those due by then"),
        Head::text("Stopped"),
    ];
    let groups = [Role::Contender, Role::Control].map(|role| Group {
        label: if role == Role::Control { "Ceilings" } else { "" },
        rows: rows
            .iter()
            .filter(|(name, ..)| comparison.rows.iter().any(|row| row.contender == *name && row.role == role))
            .flat_map(|(name, _, probes)| {
                probes.iter().enumerate().map(|(place, run)| TableRow {
                    name: (*name).to_owned(),
                    goes_on: place > 0,
                    cells: cells(run),
                })
            })
            .collect(),
    });
    let data = Table {
        head,
        groups: groups.into_iter().filter(|of| !of.rows.is_empty()).collect(),
        ..Table::default()
    };
    let legend = rows.iter().map(|(name, look, _)| key(name, *look)).collect();
    Ok(Some(Chart { id: "curve", title: title.to_owned(), caption, svg, legend, data }))
}

/// Probes of nearly one rate together: its geometric mean, and the median of what was measured, so that a hiccup of one is no jag.
fn neighbours(probes: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    /// What is nearer to the last is of one rate with it.
    const NEAR: f64 = 1.06;
    let mut groups: Vec<Vec<(f64, f64)>> = Vec::new();
    for (rate, ns) in probes {
        match groups.last_mut().filter(|group| rate < NEAR * group[0].0) {
            Some(group) => group.push((rate, ns)),
            None => groups.push(vec![(rate, ns)]),
        }
    }
    let together = |group: Vec<(f64, f64)>| {
        let rate = (group.iter().map(|(rate, _)| rate.ln()).sum::<f64>() / group.len() as f64).exp();
        Some((rate, Spread::of(group.into_iter().map(|(_, ns)| ns))?.median))
    };
    groups.into_iter().filter_map(together).collect()
}

/// A contender's, by rate.
fn probes<'a>(comparison: &'a Comparison, name: &str) -> Vec<&'a RunRecord> {
    let rate = |run: &RunRecord| run.probe.map_or(0.0, |probe| probe.rate_per_s);
    let own = comparison.probes.iter().filter(|run| run.contender == name && run.invalid.is_empty());
    let mut own: Vec<&RunRecord> = own.collect();
    own.sort_by(|a, b| rate(a).total_cmp(&rate(b)));
    own
}

fn cells(run: &RunRecord) -> Vec<Cell> {
    let probe = run.probe.unwrap_or_default();
    let excess: &Histogram = &run.latency.excess;
    let in_time = match probe.on_time.due {
        0 => MISSING.to_owned(),
        due => format!("{:.1} %", 100.0 * probe.on_time.completed as f64 / due as f64),
    };
    let stopped =
        probe.cut_ns.map_or_else(String::new, |ns| format!("after {}", format::duration(ns as f64)));
    vec![
        Cell::number(format::significant(probe.rate_per_s)),
        Cell::number(format::significant(run.goodput_per_s)),
        quantile(excess, 0.5),
        quantile(excess, 0.99),
        quantile(excess, 0.999),
        Cell::number(format!("{:.2} %", 100.0 * late(run, &probe))),
        Cell::number(in_time),
        Cell::words(&stopped),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_of_nearly_one_rate_are_one_point_and_a_hiccup_is_no_jag() {
        let points =
            neighbours([(100.0, 1.0), (200.0, 2.0), (203.0, 90.0), (206.0, 3.0), (300.0, 4.0)].into_iter());
        assert_eq!(points.len(), 3);
        assert!((points[1].0 - 203.0).abs() < 0.1 && points[1].1 == 3.0, "{points:?}");
    }
}
