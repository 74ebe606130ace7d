//! Records that nobody wrote: whatever stands in them, they are refused with the name of their file, or rendered.

use std::fs;
use std::path::Path;

use harness::damage;
use harness::record::{Histogram, Latency};
use serde_json::Value;

use crate::{Comparison, fixture, load, render};

/// A batch of one short run under faults, on a machine whose noise is known, as JSON: the manifest, the record, then what a gate
/// said.
fn batch() -> Vec<Value> {
    let Comparison { mut manifest, rows, .. } = fixture::faulted();
    manifest.calibration = Some(fixture::calibration());
    let mut histogram = Histogram::default();
    [1_000, 2_000, 40_000, 7_000_000].into_iter().for_each(|ns| histogram.record_ns(ns));
    histogram.censor_ns(9_000_000);
    let latency = Latency { response: histogram.clone(), wait: histogram, ..Latency::default() };
    let mut records: Vec<_> =
        rows.into_iter().map(|row| row.records.into_iter().next().unwrap()).take(1).collect();
    let overtaken = fixture::overtaken().rows[1].records[0].timeline.clone();
    for record in &mut records {
        record.timeline.clone_from(&overtaken);
        record.latency = latency.clone();
        record.completed_per_slice.truncate(5);
    }
    let gate = fixture::gated().gate;
    [serde_json::to_value(manifest)]
        .into_iter()
        .chain(records.iter().map(serde_json::to_value))
        .chain([serde_json::to_value(gate)])
        .map(Result::unwrap)
        .collect()
}

/// In place of what was there: where a file is cut to nothing and written again, ext4 waits for the disk.
fn put(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn no_damage_to_a_batch_makes_it_panic() {
    let whole = batch();
    let folder = tempfile::tempdir().unwrap();
    let names = ["manifest.json", "1-a/record.json", "gate.json"].map(|name| folder.path().join(name));
    for (name, part) in names.iter().zip(&whole) {
        fs::create_dir_all(name.parent().unwrap()).unwrap();
        fs::write(name, part.to_string()).unwrap();
    }
    crate::write_all(folder.path()).unwrap();
    let (mut rendered, mut refused) = (0, 0);
    damage::inputs("batches", 5_000, |damage| {
        let which = damage.below(whole.len());
        let mut part = whole[which].clone();
        if damage.once_in(4) {
            damage.document(&mut part)
        } else {
            damage.figures(&mut part)
        }
        let mut bytes = part.to_string().into_bytes();
        if damage.once_in(16) {
            damage.bytes(&mut bytes);
        }
        put(&names[which], &bytes);
        match load(folder.path()) {
            Err(error) => {
                assert!(error.to_string().contains(".json"), "{error}");
                refused += 1;
            }
            Ok(comparison) => {
                // To render takes so much longer than to read, the page most of all.
                if rendered % 10 == 0 {
                    let looks = render::ALL.iter().filter(|look| look.name != "html" || rendered % 100 == 0);
                    looks.for_each(|look| drop((look.render)(&comparison)));
                }
                drop(crate::terminal_table(&comparison));
                rendered += 1;
            }
        }
        put(&names[which], whole[which].to_string().as_bytes());
    });
    eprintln!("{rendered} rendered, {refused} refused");
    assert!(rendered + refused < 1_000 || rendered > refused / 10, "hardly one gets past the reader");
}

#[test]
fn a_figure_that_nothing_can_have_measured_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("1-a")).unwrap();
    // Found by damage: sums that overflow, and a page with a place for each of 33 million blocks.
    for (pointer, number) in [("/tasks/planned", u64::MAX), ("/block", 1 << 25), ("/block", 0)] {
        let mut whole = batch();
        *whole[1].pointer_mut(pointer).unwrap() = number.into();
        fs::write(folder.path().join("manifest.json"), whole[0].to_string()).unwrap();
        fs::write(folder.path().join("1-a/record.json"), whole[1].to_string()).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("1-a") && error.contains(&pointer.replace('/', ".")), "{error}");
    }
}
