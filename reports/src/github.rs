//! The format of github-action-benchmark's custom tools: a list of figures, of which either more or less is better.

use harness::record::Better;
use serde::Serialize;

use crate::Comparison;
use crate::callers;
use crate::estimates::estimates;

/// A figure: how the action reads one.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    unit: &'static str,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    extra: String,
}

/// Every figure of which this way is better.
pub(crate) fn entries(comparison: &Comparison, better: Better) -> Result<String, serde_json::Error> {
    let scenario = callers::title(comparison);
    let entries: Vec<Entry> = estimates(comparison)
        .filter(|(_, metric, _)| metric.better == better)
        .map(|(row, metric, of)| Entry {
            name: format!("{scenario}/{}/{}", row.contender, metric.name),
            unit: metric.unit.label(),
            value: of.value,
            range: of.interval.map(|(low, high)| format!("{low} to {high}")),
            extra: format!("{} blocks, seed {}", of.blocks, comparison.manifest.seed),
        })
        .collect();
    serde_json::to_string_pretty(&entries).map(|text| text + "\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Deserialize;

    use super::*;
    use crate::fixture;

    /// As the action's reader for `customBiggerIsBetter` and `customSmallerIsBetter` has it.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Read {
        name: String,
        unit: String,
        value: f64,
        range: Option<String>,
        extra: Option<String>,
    }

    #[test]
    fn every_figure_is_in_one_of_the_two_lists_by_a_name_of_its_own() {
        let read =
            |better| serde_json::from_str::<Vec<Read>>(&entries(&fixture::small(), better).unwrap()).unwrap();
        let (more, less) = (read(Better::More), read(Better::Less));
        assert!(more.iter().all(|entry| entry.name.ends_with("/goodput")) && more.len() == 4);
        let names: BTreeSet<_> = more.iter().chain(&less).map(|entry| entry.name.as_str()).collect();
        assert_eq!(names.len(), more.len() + less.len());
        let wait = less.iter().find(|entry| entry.name == "hot-volumes/ring-queue/wait_p50").unwrap();
        assert!(wait.value > 0.0 && wait.unit == "ns" && wait.range.is_some(), "{wait:?}");
        assert_eq!(wait.extra.as_deref(), Some("3 blocks, seed 42"));
    }
}
