//! `bencher.json`: Bencher metric format, which `bencher run --adapter json` takes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Renderer;
use crate::estimates::estimates;
use crate::{Comparison, ReportError, callers};

pub(super) const RENDERER: Renderer = Renderer { name: "bencher", file: "bencher.json", render };

#[derive(Debug, Serialize)]
struct Measured {
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lower_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upper_value: Option<f64>,
}

/// A benchmark is a scenario with a contender, a measure is a metric; measures are told apart by slugs, which have no underscores.
fn render(comparison: &Comparison) -> Result<String, ReportError> {
    let mut all: BTreeMap<String, BTreeMap<String, Measured>> = BTreeMap::new();
    for (row, metric, of) in estimates(comparison) {
        let measured = Measured {
            value: of.value,
            lower_value: of.interval.map(|(low, _)| low),
            upper_value: of.interval.map(|(_, high)| high),
        };
        let benchmark = format!("{}/{}", callers::title(comparison), row.contender);
        all.entry(benchmark).or_default().insert(metric.name.replace('_', "-"), measured);
    }
    serde_json::to_string_pretty(&all)
        .map(|text| text + "\n")
        .map_err(|error| ReportError::Render { renderer: RENDERER.name, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::fixture;

    /// As bencher.dev/bmf.json has it.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Metric {
        value: f64,
        lower_value: Option<f64>,
        upper_value: Option<f64>,
    }

    #[test]
    fn every_contender_is_a_benchmark_with_measures_by_slug() {
        let text = render(&fixture::small()).unwrap();
        let read: BTreeMap<String, BTreeMap<String, Metric>> = serde_json::from_str(&text).unwrap();
        assert_eq!(read.len(), 4);
        for (name, measures) in &read {
            assert!(!name.is_empty() && name.len() <= 1024 && !measures.is_empty());
            for (slug, metric) in measures {
                let plain = slug.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
                assert!(plain && slug.len() <= 64, "{slug}");
                assert!(metric.lower_value.is_none_or(|low| low <= metric.value), "{slug}: {metric:?}");
                assert!(metric.upper_value.is_none_or(|high| high >= metric.value), "{slug}: {metric:?}");
            }
        }
        assert!(read["hot-volumes/ring-queue"]["goodput"].upper_value.is_some());
    }
}
