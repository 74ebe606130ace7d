//! Whatever stands in a scenario file or on the command line: it runs, or it is refused with place and remedy; nothing panics.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::process::Command;

use harness::damage;
use proptest::prelude::*;
use scenarios::catalog;
use scenarios::spec::Scenario;
use scenarios::workload;
use toml::{Table, Value};

/// Numbers at which arithmetic breaks, as TOML.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1",
    "2",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "0.0",
    "-0.0",
    "1e-300",
    "0.001",
    "1e9",
    "1e30",
    "1e300",
    "-1e300",
    "inf",
    "-inf",
    "nan",
];

/// Paths of all numbers of a table.
fn numbers(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let mut inner = |key: String, value: &Value| {
        path.push(key);
        numbers(value, path, found);
        path.pop();
    };
    match value {
        Value::Integer(_) | Value::Float(_) => found.push(path.clone()),
        Value::Table(table) => table.iter().for_each(|(key, value)| inner(key.clone(), value)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(at, value)| inner(at.to_string(), value));
        }
        _ => {}
    }
}

fn put(value: &mut Value, path: &[String], new: Value) {
    let Some((first, rest)) = path.split_first() else {
        *value = new;
        return;
    };
    let next = match value {
        Value::Table(table) => table.get_mut(first).unwrap(),
        Value::Array(list) => &mut list[first.parse::<usize>().unwrap()],
        _ => unreachable!("paths lead through tables and lists"),
    };
    put(next, rest, new);
}

/// Parses it and draws its plan, if that is not too long for a test.
fn tried(text: &str) -> Result<(), String> {
    tried_up_to(text, 20_000.0)
}

fn tried_up_to(text: &str, most_tasks: f64) -> Result<(), String> {
    let scenario = Scenario::parse("mine.toml", text, &[]).map_err(|error| error.to_string())?;
    let spec = &scenario.spec;
    let tasks = spec.burst.map_or(0.0, f64::from).max(spec.rate_per_s.unwrap_or(0.0))
        * spec.duration_s.unwrap_or(1.0).max(1.0);
    if tasks < most_tasks {
        workload::draw(&scenario, 7).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Numbers that a scenario file may have and the catalogue has not.
const MORE: &str = "warm_up_s = 0.0\nhold_ms = 1.0\nnoop_delay_ms = 1.0\nrtt_ms = 0.0\nleast_faults = 3\n";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(400)))]

    #[test]
    fn no_number_of_a_scenario_makes_it_panic(
        which in any::<prop::sample::Index>(),
        places in prop::collection::vec((any::<prop::sample::Index>(), 0..NUMBERS.len()), 1..4),
    ) {
        let (_, text) = which.get(catalog::ALL);
        let mut table = text.parse::<Table>().unwrap();
        for (key, value) in MORE.parse::<Table>().unwrap() {
            table.entry(key).or_insert(value);
        }
        let mut value = Value::Table(table);
        let mut paths = Vec::new();
        numbers(&value, &mut Vec::new(), &mut paths);
        for (at, number) in places {
            let new = format!("v = {}", NUMBERS[number]).parse::<Table>().unwrap().remove("v").unwrap();
            put(&mut value, &paths[at.index(paths.len())], new);
        }
        if let Err(error) = tried(&toml::to_string(&value).unwrap()) {
            prop_assert!(error.starts_with("mine.toml"), "{}", error);
        }
    }

    #[test]
    fn no_text_makes_it_panic(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), ".{0,6}"), 1..4),
    ) {
        let mut text: Vec<char> = which.get(catalog::ALL).1.chars().collect();
        for (at, new) in cuts {
            let at = at.index(text.len());
            text.splice(at..(at + new.len()).min(text.len()), new.chars());
        }
        let _refused = tried(&text.into_iter().collect::<String>());
    }

    #[test]
    fn no_setting_makes_it_panic(key in "[a-z_.0-9]{0,20}", value in ".{0,12}") {
        let (origin, text) = catalog::ALL[0];
        let _refused = Scenario::parse(origin, text, &[(key, value)]);
    }
}

#[test]
fn an_offset_beyond_the_last_resource_begins_again() {
    let (_, text) = catalog::ALL.iter().find(|(_, text)| text.contains("offset = ")).unwrap();
    let far = text.replacen("offset = 1", "offset = 4294967295", 1);
    assert_eq!(tried(&far), Ok(()));
}

/// What scenario files say.
const WORDS: &[&str] = &[
    "name",
    "rate_per_s",
    "duration_s",
    "burst",
    "burst_every_s",
    "tick_every_s",
    "clocks_ms",
    "entry",
    "\"failover\"",
    "\"at-begun\"",
    "nodes",
    "blocks",
    "deadline_ms",
    "detect_ms",
    "faults",
    "[[faults]]",
    "[[tasks]]",
    "[[expect]]",
    "[tasks.step]",
    "verb",
    "target",
    "\"holder\"",
    "\"server\"",
    "\"leader\"",
    "\"node-0\"",
    "\"pause\"",
    "\"kill\"",
    "\"cut\"",
    "\"join\"",
    "\"leave\"",
    "\"slow\"",
    "every_s",
    "for_ms",
    "placement",
    "\"process\"",
    "topology",
    "\"replicated\"",
    "resources",
    "count",
    "level",
    "zipf",
    "hold_ms",
    "create_ms",
    "steps",
    "weight",
    "contenders",
    "[]",
    "{}",
    "true",
    "\"shared\"",
    "mode",
    "membership",
    "\"postgres\"",
    "takeover",
    "\"drain\"",
    "link",
    "\"nodes\"",
    "\"agent\"",
    "=",
    "nan",
    "inf",
    "\"\"",
    "2026-01-01",
    "0x7fffffffffffffff",
];

#[test]
fn no_damage_to_a_scenario_makes_it_panic() {
    // Loads of a few tasks, so that plans are drawn in no time.
    let few: Vec<String> = catalog::ALL
        .iter()
        .map(|(_, text)| {
            let mut table = text.parse::<Table>().unwrap();
            if table.contains_key("rate_per_s") {
                table.insert("rate_per_s".into(), Value::Float(20.0));
                table.insert("duration_s".into(), Value::Float(1.0));
                // For some, with long holds, that is more than they carry.
                table.insert("saturating".into(), Value::Boolean(true));
            }
            if table.contains_key("burst") {
                table.insert("burst".into(), Value::Integer(10));
            }
            toml::to_string(&table).unwrap()
        })
        .collect();
    assert!(few.iter().all(|text| tried(text).is_ok()));
    let (mut run, mut refused) = (0, 0);
    damage::inputs("scenarios", 20_000, |damage| {
        let mut text = damage.one_of(&few).clone();
        if damage.once_in(2) {
            damage.text(&mut text, WORDS);
        } else {
            // A table all the same, so that more of it gets past the reader.
            let mut table = serde_json::to_value(text.parse::<Table>().unwrap()).unwrap();
            damage.document(&mut table);
            text = toml::to_string(&table).unwrap_or_default();
        }
        match tried_up_to(&text, 100.0) {
            Ok(()) => run += 1,
            Err(error) => {
                assert!(error.starts_with("mine.toml"), "{error}");
                refused += 1;
            }
        }
    });
    eprintln!("{run} would run, {refused} are refused");
    assert!(run + refused < 1_000 || run > refused / 50, "hardly one reaches what comes after the reader");
}

#[test]
fn a_number_out_of_bounds_is_refused_with_its_flag_and_its_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        ("--detect", "detect_ms", "must be from 1 to 3600000"),
        ("--hold", "hold_ms", "must be from 0 to 3600000"),
        ("--rtt", "rtt_ms", "must be from 0 to 3600000"),
        ("--duration", "duration_s", "must be from 0.000001 to 604800"),
        ("--rate", "rate_per_s", "must be from 0.000001 to 10000000"),
    ];
    for (flag, field, bounds) in flags {
        for value in ["1e30", "-1", "inf", "nan"] {
            let output = Command::new(env!("CARGO_BIN_EXE_lockbench"))
                .args(["run", "smoke", flag, value])
                .current_dir(folder.path())
                .output()
                .unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{flag} {value}: {told}");
            assert!(told.contains(field) && told.contains(bounds), "{flag} {value}: {told}");
        }
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_slip_in_a_name_is_answered_with_the_name() {
    let (origin, text) = catalog::ALL[0];
    let error = Scenario::parse(origin, text, &[("durration_s".to_owned(), "1.0".to_owned())]).unwrap_err();
    assert!(error.to_string().contains("did you mean `duration_s`?"), "{error}");
    let error = catalog::load("vm-livecycle", &[]).unwrap_err().to_string();
    assert!(error.contains("did you mean `vm-lifecycle`?"), "{error}");
}
