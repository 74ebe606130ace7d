//! `sweep.csv`: a line a cell, row and metric.

use harness::record::METRICS;
use harness::record::difference::Answer;

use super::told::{Told, figure};
use crate::render::quoted;

const COLUMNS: [&str; 11] = [
    "contender",
    "role",
    "metric",
    "value",
    "low",
    "high",
    "at_least",
    "blocks",
    "reference",
    "ratio",
    "answer",
];

/// The columns of the axes come first.
pub(super) fn render(told: &Told<'_>) -> String {
    let record = &told.sweep.record;
    let fields = record.axes.iter().map(|axis| axis.field.clone());
    let mut out = line(fields.chain(COLUMNS.map(str::to_owned)));
    for (place, (cell, batch)) in record.cells.iter().zip(&told.sweep.batches).enumerate() {
        for row in batch.iter().flat_map(|batch| &batch.rows) {
            let runs: Vec<_> = row.valid().collect();
            let other = told.others.iter().position(|name| *name == row.contender);
            for metric in METRICS {
                let Some(figure) = figure(metric, &runs) else { continue };
                let at = told.metrics.iter().position(|other| other.name == metric.name);
                let decided = other.zip(at).and_then(|(other, at)| told.decided(place, other, at));
                let answer = decided.map(|decided| match decided.answer {
                    Answer::Different => "different",
                    Answer::Same => "same",
                    Answer::CannotTell => "cannot-tell",
                });
                let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
                let fields = [
                    row.contender.clone(),
                    format!("{:?}", row.role).to_lowercase(),
                    metric.name.to_owned(),
                    figure.value.to_string(),
                    number(figure.interval.map(|(low, _)| low)),
                    number(figure.interval.map(|(_, high)| high)),
                    u8::from(figure.at_least).to_string(),
                    figure.blocks.to_string(),
                    decided.and(told.reference).unwrap_or_default().to_owned(),
                    number(decided.map(|decided| decided.ratio.ratio())),
                    answer.unwrap_or_default().to_owned(),
                ];
                out += &line(cell.values.iter().cloned().chain(fields));
            }
        }
    }
    out
}

fn line(fields: impl Iterator<Item = String>) -> String {
    fields.map(|field| quoted(&field)).collect::<Vec<_>>().join(",") + "\n"
}
