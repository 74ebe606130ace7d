//! What the load does to a key that nobody else wants.

use super::axis::{Axis, log_ns};
use super::figure::Chart;
use super::look::Look;
use super::plot::{Strip, WIDTH, strips, strips_height, strips_scales};
use super::svg::{Named, image};
use crate::matrix::{by_role, quantile};
use crate::table::{Cell, Head};
use crate::{Comparison, ReportError};

pub(super) fn draw(comparison: &Comparison, looks: &[Look]) -> Result<Option<Chart>, ReportError> {
    let rows: Vec<Strip> = comparison
        .rows
        .iter()
        .zip(looks)
        .filter_map(|(row, look)| {
            let at = |q| row.latency.bystander.quantile_ns(q).map(|ns| log_ns(ns as f64));
            Some(Strip {
                name: row.contender.clone(),
                look: *look,
                dots: vec![at(0.5)?],
                rings: vec![at(0.99)?],
                middle: None,
            })
        })
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let values = rows.iter().flat_map(|row| row.dots.iter().chain(&row.rings)).map(|at| 10_f64.powf(*at));
    let axis = Axis::log_duration("time of one step on a private key", values);
    let title = "The bystander";
    let caption = "One step on a private key with no hold, every 50 ms beside the load, all blocks merged. Filled: p50; \
                   hollow: p99. The scale is logarithmic.";
    let named = Named { id: "bystander", title, description: caption, scales: strips_scales(&axis, &rows) };
    let svg = image(&named, (WIDTH, strips_height(rows.len())), |area| strips(area, &axis, &rows))?;
    let head = vec![Head::number("Probes", ""), Head::number("p50", ""), Head::number("p99", "")];
    let data = by_role(comparison, head, |row| {
        let probes = &row.latency.bystander;
        vec![Cell::count(probes.count()), quantile(probes, 0.5), quantile(probes, 0.99)]
    });
    Ok(Some(Chart {
        id: "bystander",
        title: title.to_owned(),
        caption: caption.to_owned(),
        svg,
        legend: Vec::new(),
        data,
    }))
}
