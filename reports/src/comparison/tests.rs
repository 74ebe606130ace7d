//! What is read, and what stands side by side.

use harness::record::difference::Together;
use harness::record::{Asked, Kept, Limit, Reading, Threshold, judge_thresholds};

use super::*;
use crate::fixture;

/// What a gate says of capacities that are bounds: each is so much at least.
fn judged(limit: Limit) -> Kept {
    let mut comparison = fixture::of_blocks(6);
    for (place, run) in comparison.rows[0].records.iter_mut().enumerate() {
        run.carries = Some(Carries { per_s: 1_000.0 + place as f64, own: false });
    }
    let contender = comparison.rows[0].contender.clone();
    let threshold = Threshold { contender, metric: Metric::named("capacity").unwrap(), limit };
    let runs = comparison.rows[0].records.iter().collect();
    let asked = Asked {
        threshold: &threshold,
        runs,
        reference: Vec::new(),
        together: Together::OfSeveral,
        known_sd: None,
    };
    judge_thresholds(&[asked])[0].kept
}

#[test]
fn who_carries_so_much_at_least_keeps_what_is_wanted_at_least_and_is_known_to_break_nothing_of_that_kind() {
    assert_eq!(judged(Limit::AtLeast(300.0)), Kept::Yes);
    assert_eq!(judged(Limit::AtLeast(5_000.0)), Kept::CannotTell);
    assert_eq!(judged(Limit::AtMost(5_000.0)), Kept::CannotTell);
    assert_eq!(judged(Limit::AtMost(300.0)), Kept::No);
}

#[test]
fn blocks_of_probes_alone_tell_of_the_capacity_and_of_nothing_else() {
    let whole = fixture::probed();
    let capacity = Metric::named("capacity").unwrap();
    let told = |of: &Comparison, metric: &Metric| {
        let records = of.telling(of.contenders().next().unwrap(), metric);
        records.into_iter().filter_map(metric.of).map(Reading::least).collect::<Vec<_>>()
    };
    // As a review runs it: everybody at a common rate in the first block alone.
    let Comparison { manifest, rows, probes, .. } = whole.clone();
    let runs = rows.into_iter().flat_map(|row| row.records).filter(|run| run.block == 1);
    let alone = Comparison::new(manifest, runs.chain(probes).collect());
    assert!(told(&whole, capacity).len() > 2);
    assert_eq!(told(&alone, capacity), told(&whole, capacity));
    assert_eq!(told(&alone, Metric::named("wait_p50").unwrap()).len(), 1);
}

#[test]
fn contenders_come_in_order_of_first_run_and_controls_last() {
    let comparison = fixture::small();
    let names: Vec<_> = comparison.rows.iter().map(|row| row.contender.as_str()).collect();
    assert_eq!(names, ["ring-queue", "redis-naive", "none", "noop"]);
}

#[test]
fn blocks_are_merged_and_not_averaged() {
    let row = &fixture::small().rows[0];
    let counts: u64 = row.records.iter().map(|record| record.latency.wait.count()).sum();
    assert_eq!(row.latency.wait.count(), counts);
    assert_eq!(row.records.len(), 3);
}

#[test]
fn the_spread_is_median_and_range() {
    assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
    assert_eq!(Spread::of([1.0, 2.0]), Some(Spread { median: 1.5, min: 1.0, max: 2.0 }));
    assert_eq!(Spread::of([]), None);
}

#[test]
fn loads_what_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    let stored = fixture::small();
    fixture::store(&stored, dir.path());
    let loaded = load(dir.path()).unwrap();
    assert_eq!(loaded.manifest, stored.manifest);
    assert!(loaded.records().eq(stored.records()));
}

#[test]
fn refuses_another_schema_version_and_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut other = fixture::small();
    other.rows[0].records[0].schema_version = SCHEMA_VERSION + 1;
    fixture::store(&other, dir.path());
    let error = load(dir.path()).unwrap_err();
    assert!(matches!(&error, ReportError::Schema { found, .. } if *found == SCHEMA_VERSION + 1));
    assert!(error.to_string().contains("1-ring-queue"), "{error}");
}

#[test]
fn a_run_that_proves_nothing_is_no_figure_of_its_row() {
    let whole = fixture::small();
    let mut records: Vec<RunRecord> = whole.records().cloned().collect();
    let first = records[0].contender.clone();
    let odd = records.iter_mut().find(|record| record.contender == first).unwrap();
    odd.invalid.push("no task completed".to_owned());
    odd.goodput_per_s = 1e9;
    let count = odd.latency.wait.count();
    let comparison = Comparison::new(whole.manifest.clone(), records.clone());
    let row_of =
        |comparison: &Comparison| comparison.rows.iter().find(|row| row.contender == first).unwrap().clone();
    let (row, before) = (row_of(&comparison), row_of(&whole));
    assert!(row.goodput_per_s.unwrap().max < 1e9);
    assert_eq!(row.latency.wait.count() + count, before.latency.wait.count());
    for record in &mut records {
        record.invalid.push("no task completed".to_owned());
    }
    assert_eq!(row_of(&Comparison::new(whole.manifest, records)).goodput_per_s, None);
}

#[test]
fn names_the_file_that_is_no_json() {
    let dir = tempfile::tempdir().unwrap();
    fixture::store(&fixture::small(), dir.path());
    fs::write(dir.path().join("2-none/record.json"), "{\"schema_version\": 1, \"conten").unwrap();
    let error = load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("2-none"), "{error}");
}
