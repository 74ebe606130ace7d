//! Scenarios in virtual time: known failures are found without being told where, shrunk, and shown again by their seed; what is
//! honest shows none.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::num::NonZeroUsize;

use assert_cmd::Command;
use harness::judge::checks;
use harness::simulation::{Kept, walk};
use scenarios::catalog;
use scenarios::foresight::{Exploration, double, doubles};
use scenarios::spec::Scenario;

/// A scenario of the catalogue, twenty seconds of it.
fn scenario(name: &str, set: &[(&str, &str)]) -> Scenario {
    let set: Vec<_> = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let length = ("duration_s".to_owned(), "20.0".to_owned());
    catalog::load(name, &[&[length][..], &set].concat()).unwrap()
}

/// The first of these seeds of whose plan a check is violated, and the least of it.
fn found(scenario: &Scenario, contender: &str, check: &str, seeds: u64) -> Option<(u64, Kept)> {
    let exploration = Exploration { scenario, double: double(contender).unwrap() };
    (1..=seeds).find_map(|seed| {
        let plan = exploration.plan(seed).unwrap();
        let shows = exploration.violated(&plan).iter().any(|(name, _)| *name == check);
        shows.then(|| (seed, exploration.least(&plan, Kept::all(&plan), check)))
    })
}

/// Fields of a scenario that are other than its file says.
type Set = &'static [(&'static str, &'static str)];

/// Known failures, each with who has it, the check that sees it, and within how many seeds of twenty seconds. Whoever waits behind many
/// is inside at another moment when one of them is left out: where few wait, few tasks are enough.
const KNOWN: &[(&str, &str, &str, Set, u64)] = &[
    // Two at once, and one of them has read what the other one writes.
    ("holder-pause", "none", "lost-update", &[], 3),
    // A lease that ends while its holder stands still: Kleppmann 2016.
    ("holder-pause", "sim-lease", "exclusion", FEW, 20),
    ("holder-pause", "redis-poll", "exclusion", FEW, 20),
    ("holder-pause", "redis-fenced", "fencing", FEW, 20),
    // Whoever was overtaken frees the key of its successor: the warning of redis.io. It finds out before it writes, so it is not it.
    (
        "holder-pause",
        "redis-naive",
        "release-safety",
        &[("holder", "\"checks\""), ("hold_ms", "300.0"), ("rate_per_s", "1.6")],
        10,
    ),
    // Views of a ring that differ, without an epoch.
    (
        "ring-join",
        "sim-ring-no-epoch",
        "exclusion",
        &[("rate_per_s", "40.0"), ("faults", "[]"), ("expect", "[]"), ("known", "[]")],
        3,
    ),
];

/// Seldom two at the only key.
const FEW: Set = &[("rate_per_s", "5.0")];

#[test]
fn known_failures_are_found_by_themselves_and_shrunk_to_ten_tasks_at_most() {
    for (name, contender, check, set, seeds) in KNOWN {
        let scenario = scenario(name, set);
        let (seed, least) = found(&scenario, contender, check, *seeds)
            .unwrap_or_else(|| panic!("{name}, {contender}: {check} saw nothing in {seeds} seeds"));
        println!("{name}, {contender}: {check} with seed {seed}, {least:?}");
        assert!((1..=10).contains(&least.tasks.len()), "{name}, {contender}, seed {seed}: {least:?}");
        // What is left of it fails again, and so the command that names it shows it.
        let exploration = Exploration { scenario: &scenario, double: double(contender).unwrap() };
        let plan = least.of(&exploration.plan(seed).unwrap());
        let again = exploration.violated(&plan);
        assert!(again.iter().any(|(shown, _)| shown == check), "{name}, {contender}: {again:?}");
    }
}

#[test]
fn a_lease_whose_tokens_are_looked_at_shows_no_failure_under_the_same_faults() {
    for (name, rate) in [("holder-pause", "5.0"), ("vm-lifecycle", "20.0")] {
        let set = [("rate_per_s", rate), ("duration_s", "20"), ("fencing", "true"), ("holder", "\"checks\"")];
        let scenario = scenario(name, &set);
        for contender in ["sim-lease", "redis-fenced", "redis-queue"] {
            let exploration = Exploration { scenario: &scenario, double: double(contender).unwrap() };
            let threads = NonZeroUsize::new(2).unwrap();
            let walked = walk(1..41, threads, |seed| exploration.violated(&exploration.plan(seed).unwrap()));
            for (seed, violated) in walked {
                assert_eq!(violated, [], "{name}, {contender}, seed {seed}");
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_history_of_every_contender() {
    let scenario =
        scenario("vm-lifecycle", &[("duration_s", "5"), ("rate_per_s", "20"), ("detect_ms", "1000")]);
    for double in doubles() {
        let exploration = Exploration { scenario: &scenario, double };
        for seed in 1..=3 {
            let plan = exploration.plan(seed).unwrap();
            let history = || exploration.run(&plan).history.to_vec().unwrap();
            let first = history();
            assert!(!first.is_empty());
            assert!(first == history(), "{}, seed {seed}", double.name);
        }
    }
}

/// What the command prints, and how it ends.
fn explored(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::cargo_bin("lockbench").unwrap().arg("explore").args(arguments).output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn the_command_tells_a_failure_and_the_command_that_shows_it_again() {
    let asked = ["holder-pause", "--contender", "none", "--seeds", "2", "--jobs", "2"];
    let (code, told) = explored(&asked);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("none: 2 of 2 seeds show a failure: exclusion 2, lost-update 2"), "{told}");
    let again = told.lines().find_map(|line| line.trim().strip_prefix("again: lockbench explore ")).unwrap();
    let (code, shown) = explored(&again.split(' ').collect::<Vec<_>>());
    assert_eq!(code, Some(3), "{shown}");
    assert!(
        shown.contains("none violates exclusion with seed 1; 2 of")
            || shown.contains("none violates exclusion, lost-update with seed 1; 2 of"),
        "{shown}"
    );
}

#[test]
fn what_cannot_be_walked_is_refused() {
    for (arguments, part) in [
        (&["holder-pause", "--contender", "redis-nave"][..], "did you mean"),
        (&["holder-pause", "--only-tasks", "1"], "give --seeds 1 and one --contender"),
        (&["holder-pause", "--contender", "none", "--seeds", "1", "--only-tasks", "99999"], "no task 99999"),
        (&["holder-pause", "--seeds", "0"], "0 is not in"),
        (&["holder-pause", "--contender", "none", "--only-faults", "a"], "`a` is no number"),
    ] {
        let (code, told) = explored(arguments);
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn every_check_that_a_double_is_made_for_is_one_of_ours() {
    for (_, contender, check, ..) in KNOWN {
        assert!(checks::named(check).is_some() && double(contender).is_some(), "{contender}, {check}");
    }
}

#[test]
fn seeds_that_make_no_plan_are_counted_and_do_not_end_the_walk() {
    let asked = ["holder-pause", "--contender", "none", "--seeds", "20", "--set", "duration_s=5.0"];
    let (code, told) = explored(&[&asked[..], &["--set", "rate_per_s=38.0"]].concat());
    assert_eq!(code, Some(3), "{told}");
    let number = |before: &str, after: &str| -> Option<u64> {
        let (text, _) = told.split_once(after)?;
        let (_, text) = text.rsplit_once(before)?;
        text.trim().parse().ok()
    };
    let walked = number(" of ", " seeds show a failure").unwrap_or_else(|| panic!("{told}"));
    let refused = number("\n", " seeds more make no plan").unwrap_or_else(|| panic!("{told}"));
    assert!(walked > 0 && refused > 0 && walked + refused == 20, "{told}");
    assert!(told.contains("more than 0.8"), "{told}");
    // None at all: why, and what to do.
    let (code, told) = explored(&[&asked[..], &["--set", "rate_per_s=80.0"]].concat());
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("`rate_per_s`") && told.contains("more than 0.8"), "{told}");
}
