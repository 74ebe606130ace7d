//! A sweep as a shell runs it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::record::{Manifest, RunRecord, SweepRecord};
use serde::de::DeserializeOwned;

fn lockbench(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockbench")).args(arguments).current_dir(folder).output().unwrap()
}

fn read<T: DeserializeOwned>(file: &Path) -> T {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The folder of the only sweep in `out`.
fn sweep(folder: &Path) -> PathBuf {
    fs::read_dir(folder.join("out")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn each_cell_of_a_grid_is_a_batch_whose_records_carry_its_values() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        ["--set", "resources.vm.count=[5,50]", "--rate", "40,20", "--duration", "0.5", "--blocks", "1"];
    let settings = [
        &settings[..],
        &[
            "--set",
            "warm_up_s=0.0",
            "--set",
            "contenders=[\"ring-queue\",\"redis-fenced\"]",
            "--contenders",
            "ring-queue",
            "--seed",
            "7",
        ],
    ]
    .concat();
    let output = lockbench(folder.path(), &[&["run", "smoke"], &settings[..]].concat());
    // A busy machine may make a run INVALID; nothing else may happen.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", said(&output));
    let sweep = sweep(folder.path());
    let record: SweepRecord = read(&sweep.join("sweep.json"));
    let values: Vec<_> = record.cells.iter().map(|cell| cell.values.join(" ")).collect();
    assert_eq!(values, ["20 5", "20 50", "40 5", "40 50"]);
    for (place, cell) in record.cells.iter().enumerate() {
        let batch = sweep.join(&cell.folder);
        let manifest: Manifest = read(&batch.join("manifest.json"));
        let run: RunRecord = read(&batch.join("1-ring-queue/record.json"));
        assert_eq!((&manifest.cell, &run.cell), (&record.values_of(cell), &record.values_of(cell)));
        assert_eq!(manifest.seed, 7);
        assert!(manifest.spec_toml.contains(&format!("rate_per_s = {}", ["20", "40"][place / 2])));
    }
    for file in ["report.html", "summary.md", "sweep.csv", "cell-04/report.html"] {
        assert!(sweep.join(file).is_file(), "{file}");
    }
    // Taken up when nothing is left, it only tells what there is.
    let again = lockbench(folder.path(), &["run", "--resume", sweep.to_str().unwrap()]);
    assert_eq!(again.status.code(), output.status.code(), "{}", said(&again));
    assert!(!said(&again).contains("cell 1 of"), "{}", said(&again));
    // With a cell less, that cell runs, of the same contenders.
    fs::remove_dir_all(sweep.join("cell-03")).unwrap();
    let again = lockbench(folder.path(), &["run", "--resume", sweep.to_str().unwrap()]);
    assert!(
        said(&again).contains("cell 4 of 4: rate_per_s = 40, resources.vm.count = 5"),
        "{}",
        said(&again)
    );
    assert!(sweep.join("cell-03/1-ring-queue/record.json").is_file());
    let other = lockbench(folder.path(), &["capacity", "--resume", sweep.to_str().unwrap()]);
    assert_eq!(other.status.code(), Some(2));
    assert!(said(&other).contains("was begun by `lockbench run`"), "{}", said(&other));
}

#[test]
fn what_cannot_be_swept_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, told) in [
        (&["run", "smoke", "--set", "nodes=[]"][..], "`nodes` is a list of fewer than two values"),
        (&["run", "smoke", "--nodes", "3,0"], "cell nodes = 0"),
        (&["run", "smoke", "--nodes", "1,3", "--hold", "1,2", "--rtt", "0,1"], "a sweep has 2 at most"),
        (&["run", "smoke", "--nodes", "1,3", "--pin"], "--pin deals out the processors once"),
        (&["calibrate", "smoke", "--nodes", "1,3", "--store", "floors"], "calibrate takes one value a field"),
        (
            &[
                "capacity",
                "hot-key",
                "--set",
                "nodes=[1,3]",
                "--set",
                "faults=[{verb=\"pause\",target=\"server\",every_s=1.0,for_ms=100.0}]",
            ],
            "what is broken on purpose",
        ),
    ] {
        let output = lockbench(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(told), "{arguments:?}: {}", said(&output));
    }
    assert!(!folder.path().join("out").exists());
}
