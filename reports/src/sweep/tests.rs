//! A sweep as it is read and shown.

use std::fs;
use std::path::Path;

use super::Sweep;
use crate::{fixture, write_all};

/// What the files of the fixture's sweep say: the page, the summary, the table.
fn shown(dir: &Path) -> [String; 3] {
    fixture::swept(dir);
    let files = write_all(dir).unwrap();
    assert!(files[0].ends_with("report.html"));
    ["report.html", "summary.md", "sweep.csv"].map(|file| fs::read_to_string(dir.join(file)).unwrap())
}

#[test]
fn where_one_overtakes_the_other_is_said_first_and_only_where_it_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let [html, summary, _] = shown(dir.path());
    let told = "ring-queue has a higher goodput than redis-naive from nodes = 9 on; up to nodes = 1 it is the other way round, and \
                between it cannot be told or is the same (hold_ms = 0).";
    assert!(html.find(told).unwrap() < html.find("<h2>Goodput").unwrap(), "{summary}");
    assert!(summary.contains("ring-queue has a higher goodput"), "{summary}");
    // The cell of 9 nodes and 2 ms has not run: there nothing is said.
    assert!(html.contains("redis-naive has a higher goodput than ring-queue at nodes = 1; nowhere else is a difference told (hold_ms = 2)"));
    assert!(!html.contains("ring-queue has a higher goodput than redis-naive from nodes = 9 on; up to nodes = 1 it is the other way round, and between it cannot be told or is the same (hold_ms = 2)"));
}

#[test]
fn every_contender_has_a_map_and_whoever_broke_a_promise_is_marked_there() {
    let dir = tempfile::tempdir().unwrap();
    let [html, _, _] = shown(dir.path());
    for title in ["<h3>ring-queue</h3>", "<h3>redis-naive</h3>", "<h3>ring-queue beside redis-naive</h3>"] {
        assert!(html.contains(title), "{title}");
    }
    assert!(html.contains("broke a promise"), "redis-naive lets two in");
    assert!(html.contains("not run"), "the last cell");
    assert!(html.contains("href=\"cell-01/report.html\""));
    for part in ["<script", "src=", "http://", "https://", "@import", "url(", "<link"] {
        assert!(!html.contains(part), "{part}");
    }
}

#[test]
fn the_table_has_a_line_a_cell_row_and_metric_with_the_cells_values() {
    let dir = tempfile::tempdir().unwrap();
    let [_, _, csv] = shown(dir.path());
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with("nodes,hold_ms,contender,role,metric,value,low,high"), "{}", lines[0]);
    let of = |start: &str| *lines.iter().find(|line| line.starts_with(start)).expect(start);
    assert!(
        of("9,0,ring-queue,contender,goodput,").ends_with(",different"),
        "{}",
        of("9,0,ring-queue,contender,goodput,")
    );
    assert!(of("3,0,ring-queue,contender,goodput,").ends_with(",same"));
    assert!(lines.iter().all(|line| line.split(',').count() == lines[0].split(',').count()));
    assert!(!csv.contains("\n9,2,"), "it has not run");
}

#[test]
fn cells_that_do_not_fit_the_axes_are_refused_by_file() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fixture::swept(dir.path());
    let mut odd = whole.clone();
    odd.cells[0].folder = "../elsewhere".to_owned();
    let mut few = whole;
    few.cells.pop();
    for record in [odd, few] {
        harness::record::write_json(&dir.path().join("sweep.json"), &record).unwrap();
        let error = Sweep::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("sweep.json is not what it should be"), "{error}");
    }
}
