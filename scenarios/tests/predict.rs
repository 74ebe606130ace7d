//! Predictions follow from terms that say where they are from; they are the same each time, grow as what they are of, and stand beside
//! what was measured.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::path::Path;

use assert_cmd::Command;
use harness::record::ServiceLevel;
use scenarios::catalog;
use scenarios::foresight::prediction::{
    Capacity, OfContender, RouteWord, Size, Source, Term, Terms, burden, capacity, sized,
};

fn assumed(value: f64) -> Term {
    Term { value, source: Source::Assumed, of: "a test".to_owned() }
}

/// A server that takes half a millisecond for a request, one at a time, and is 100 µs away.
fn lock() -> OfContender {
    OfContender {
        route: RouteWord::Lock,
        node_ns: assumed(200_000.0),
        bench_ns: assumed(5_000.0),
        server_ns: assumed(500_000.0),
        server_width: assumed(1.0),
        one_way_ns: assumed(100_000.0),
        renewals_per_s: assumed(0.08),
        connections: assumed(1.0),
        most_connections: assumed(10_000.0),
    }
}

fn ring() -> OfContender {
    OfContender { route: RouteWord::Owner, server_ns: assumed(0.0), renewals_per_s: assumed(0.0), ..lock() }
}

/// A file of these two.
fn terms(folder: &Path) {
    let mut terms = Terms::new("a test".to_owned(), 2);
    terms.contenders.insert("a-lock".to_owned(), lock());
    terms.contenders.insert("a-ring".to_owned(), ring());
    terms.write(&folder.join("terms.json")).unwrap();
}

/// How a command ends, what it prints, and what it says beside that.
fn told(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::cargo_bin("lockbench").unwrap();
    let output = command.current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_server_carries_what_its_time_is_enough_for_and_a_ring_more_with_every_node() {
    let scenario = catalog::load("hot-key", &[("hold_ms".to_owned(), "0.0".to_owned())]).unwrap();
    let carried = |of: &OfContender, nodes: u16| {
        let size = Size { nodes, resources: Some(100_000), rate_per_s: None, duration_s: 1.0 };
        match capacity(&scenario, of, size, None, &ServiceLevel::default(), 1).unwrap() {
            Capacity::Is(per_s) => per_s,
            other => panic!("{other:?}"),
        }
    };
    // Two requests a step are 1,000 tasks a second; in so short a probe the queue takes a twentieth more.
    let locks = [3, 30].map(|nodes| carried(&lock(), nodes));
    for per_s in locks {
        assert!((950.0..=1_070.0).contains(&per_s), "{locks:?}");
    }
    let rings = [3, 12].map(|nodes| carried(&ring(), nodes));
    assert!(rings[1] > 2.0 * rings[0] && rings[0] > locks[0], "{rings:?} {locks:?}");
}

#[test]
fn what_nodes_burden_a_design_with_grows_with_them_until_it_stops() {
    let of_lock = |nodes| burden(&lock(), nodes, 10.0);
    assert_eq!((of_lock(3).connections, of_lock(3).stops), (3.0, None));
    // 10,000 × 0.08 × 500 µs = 0.4.
    assert!((of_lock(10_000).background - 0.4).abs() < 1e-9 && of_lock(10_000).stops.is_none());
    assert!(of_lock(10_001).stops.unwrap().contains("10001 connections"));
    let of_ring = |nodes| burden(&ring(), nodes, 30.0);
    assert_eq!((of_ring(100).connections, of_ring(100).connections_in_all), (99.0, 4_950.0));
    assert!(of_ring(100).stops.is_none() && of_ring(10_000).stops.unwrap().contains("heartbeats"));
}

#[test]
fn a_plan_at_a_size_has_the_nodes_resources_and_rate_of_it() {
    let scenario = catalog::load("capacity-spread", &[]).unwrap();
    let size = Size { nodes: 2_000, resources: Some(50_000), rate_per_s: Some(1_000.0), duration_s: 2.0 };
    let (plan, rate) = sized(&scenario, size, 1).unwrap();
    assert_eq!((plan.settings.nodes, rate, plan.faults.len()), (2_000, 1_000.0, 0));
    assert!((1_800..2_200).contains(&plan.tasks.len()), "{}", plan.tasks.len());
    let (again, _) = sized(&scenario, size, 1).unwrap();
    assert_eq!(plan.digest(), again.digest());
    let burst = catalog::load("thundering-1000", &[]).unwrap();
    assert!(sized(&burst, size, 1).unwrap_err().to_string().contains("arrives at a rate"));
}

#[test]
fn the_same_terms_and_seed_give_the_same_bytes_and_say_where_they_are_from() {
    let folder = tempfile::tempdir().unwrap();
    terms(folder.path());
    let asked = [
        "predict",
        "capacity-spread",
        "--nodes",
        "100",
        "--resources",
        "1000",
        "--rate",
        "500",
        "--duration",
        "2",
    ];
    let (code, first, beside) = told(folder.path(), &asked);
    assert_eq!(code, Some(0), "{beside}");
    for part in ["server_ns", "assumed", "a-lock", "a-ring", "wait p99 ms", "does not stop up to there"] {
        assert!(first.contains(part), "{part}: {first}");
    }
    assert!(beside.contains("MB at most"), "{beside}");
    assert_eq!(told(folder.path(), &asked).1, first);
    let (code, _, error) = told(folder.path(), &[&asked[..], &["--contender", "a-lok"]].concat());
    assert!(code == Some(2) && error.contains("did you mean"), "{error}");
}

#[test]
fn terms_follow_from_a_measured_batch_and_stand_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["run", "smoke", "--duration", "1.5", "--blocks", "1", "--seed", "7", "--out", "batch"];
    let (code, ..) = told(folder.path(), &run);
    let (fitted, terms, error) = told(folder.path(), &["predict", "--fit", "batch"]);
    if code == Some(4) && fitted == Some(2) {
        eprintln!("skipped: the machine was too busy for a valid run");
        return;
    }
    assert_eq!(fitted, Some(0), "{error}");
    for part in ["smoke, ", "ring-queue", "node_ns", "measured", "fitted"] {
        assert!(terms.contains(part), "{part}: {terms}");
    }
    let (code, beside, error) = told(folder.path(), &["predict", "--validate", "batch"]);
    assert!(matches!(code, Some(0 | 4)), "{error}");
    assert!(beside.contains("the terms were fitted to it") && beside.contains("wait p99 ms"), "{beside}");
}

#[test]
fn what_cannot_be_predicted_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, error) = told(folder.path(), &["predict", "capacity-spread"]);
    assert!(code == Some(2) && error.contains("lockbench predict --fit DIR"), "{error}");
    terms(folder.path());
    for (arguments, part) in [
        (&["predict"][..], "required"),
        (&["predict", "capacity-spread", "--nodes", "10001"], "10001 is not in"),
        (&["predict", "capacity-spread", "--rate", "0"], "--rate: between"),
        (&["predict", "--validate", "nowhere"], "nowhere"),
    ] {
        let (code, _, error) = told(folder.path(), arguments);
        assert!(code == Some(2) && error.contains(part), "{part}: {error}");
    }
    std::fs::write(folder.path().join("terms.json"), "{}").unwrap();
    let (code, _, error) = told(folder.path(), &["predict", "capacity-spread"]);
    assert!(code == Some(2) && error.contains("terms.json"), "{error}");
}
