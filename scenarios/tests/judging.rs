//! `compare` and `gate` as a user meets them, over batches that ran: answers, refusals, and every exit code of a gate.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::LazyLock;

use assert_cmd::Command;
use serde_json::Value;

fn lockbench(folder: &Path, arguments: &[&str]) -> Output {
    Command::cargo_bin("lockbench").unwrap().current_dir(folder).args(arguments).output().unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A batch of smoke that ran; its figures and ends are then set by each test, so that a busy machine changes nothing.
static RAN: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["run", "smoke", "--duration", "1", "--blocks", "1", "--seed", "7"];
    let output = lockbench(folder.path(), &arguments);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", told(&output));
    folder
});

/// A folder with batches of six blocks, made of the one that ran.
struct Stored(tempfile::TempDir);

impl Stored {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A batch in which the goodput of the ring is so many times as high in each block, with plans of these names.
    fn batch(&self, name: &str, plans: &str, times: &[f64]) -> &Self {
        let ran = std::fs::read_dir(RAN.path().join("out")).unwrap().next().unwrap().unwrap().path();
        let batch = self.path(name);
        for block in 1..=6 {
            for contender in ["ring-queue", "noop", "none", "local-mutex", "ring-local"] {
                let mut record = json(&ran.join(format!("1-{contender}/record.json")));
                let times = times[(block - 1) % times.len()];
                record["block"] = block.into();
                record["order"] = block.into();
                record["plan_digest"] = format!("{plans}{block}").into();
                record["invalid"] = Value::Array(Vec::new());
                record["goodput_per_s"] = (250.0 * times).into();
                let folder = batch.join(format!("{block}-{contender}"));
                std::fs::create_dir_all(&folder).unwrap();
                put(&folder.join("record.json"), &record);
            }
        }
        let mut manifest = json(&ran.join("manifest.json"));
        manifest["blocks"] = 6.into();
        manifest["end"]["exit_code"] = 0.into();
        manifest["end"]["reasons"] = Value::Array(Vec::new());
        put(&batch.join("manifest.json"), &manifest);
        self
    }

    /// The same with probes in each block: the ring carries so many tasks a second.
    fn capacity(&self, name: &str, per_s: &[f64]) -> &Self {
        self.batch(name, "p", &STEADY);
        let level = serde_json::json!({ "excess_ns": 50_000_000, "completed": 0.98, "least_tasks": 100 });
        self.change(&format!("{name}/manifest.json"), |manifest| manifest["service_level"] = level);
        for block in 1..=6 {
            for (place, part) in [0.8, 0.95, 1.1].into_iter().enumerate() {
                let mut record = json(&self.path(&format!("{name}/{block}-ring-queue/record.json")));
                let planned = record["tasks"]["planned"].as_u64().unwrap();
                let late = if part > 1.0 { planned / 4 } else { 0 };
                record["order"] = (100 * block + place).into();
                record["tasks"] = serde_json::json!({ "planned": planned, "completed": planned, "not_offered": 0, "partial": 0,
                    "rejected": 0, "refused": 0, "failed": 0, "timed_out": 0, "unknown": 0, "unfinished": 0 });
                record["probe"] = serde_json::json!({ "rate_per_s": part * per_s[(block - 1) % per_s.len()], "cut_ns": null, "busiest": 0.0,
                    "on_time": { "within": planned - late, "due": planned, "completed": planned } });
                let folder = self.path(&format!("{name}/{block}-ring-queue-probe-{place}"));
                std::fs::create_dir_all(&folder).unwrap();
                put(&folder.join("record.json"), &record);
            }
        }
        self
    }

    fn change(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let mut value = json(&self.path(file));
        change(&mut value);
        put(&self.path(file), &value);
    }

    fn thresholds(&self, text: &str) -> &Self {
        std::fs::write(self.path("gate.toml"), text).unwrap();
        self
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = lockbench(self.0.path(), arguments);
        (output.status.code().unwrap(), told(&output))
    }

    fn gate(&self, more: &[&str]) -> (i32, String) {
        self.run(&[&["gate", "--thresholds", "gate.toml", "a"], more].concat())
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn put(path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).unwrap();
}

const STEADY: [f64; 3] = [1.0, 1.01, 0.99];
const FASTER: [f64; 3] = [1.5, 1.51, 1.49];
const WILD: [f64; 3] = [0.5, 1.0, 2.0];

#[test]
fn compare_gives_each_of_its_three_answers_and_says_on_what_they_rest() {
    let stored = Stored::new();
    stored.batch("a", "p", &STEADY).batch("b", "p", &FASTER).batch("c", "p", &STEADY).batch("d", "q", &WILD);
    let answer = |other: &str| stored.run(&["compare", "a", other]);
    let (code, told) = answer("b");
    assert!(
        code == 0 && told.contains("better: 375 /s beside 250 /s") && told.contains("paired, 6 blocks"),
        "{told}"
    );
    assert!(answer("c").1.contains("the same: 250 /s"), "{}", answer("c").1);
    let (code, told) = answer("d");
    assert!(code == 0 && told.contains("cannot tell") && told.contains("blocks might"), "{told}");
    assert!(told.contains("two samples (Welch), 6 and 6 blocks"), "{told}");
}

#[test]
fn compare_writes_a_page_and_a_summary_and_takes_a_folder_of_batches_for_one() {
    let stored = Stored::new();
    stored.batch("old/one", "p", &STEADY).batch("old/two", "q", &STEADY).batch("new", "p", &FASTER);
    let (code, told) = stored.run(&["compare", "old", "new"]);
    assert!(code == 0 && told.contains("better"), "{told}");
    let page = told
        .lines()
        .find_map(|line| line.strip_prefix("report: ").filter(|file| file.ends_with(".html")))
        .unwrap();
    assert!(std::fs::read_to_string(stored.path(page)).unwrap().contains("ring-queue"));
    let (code, told) = stored.run(&["compare", "old", "new", "--metrics", "cpu_per_task"]);
    assert!(code == 0 && told.contains("CPU per task") && !told.contains("Goodput"), "{told}");
    let within = stored.run(&["compare", "new", "--reference", "noop"]).1;
    assert!(within.contains("ring-queue beside noop"), "{within}");
}

#[test]
fn what_is_not_comparable_is_refused_by_field_with_both_values_and_the_way_out() {
    let stored = Stored::new();
    stored.batch("a", "p", &STEADY).batch("b", "p", &FASTER);
    type Change = fn(&mut Value);
    let spec = |manifest: &mut Value, from: &str, to: &str| {
        let text = manifest["spec_toml"].as_str().unwrap().to_owned();
        assert!(text.contains(from), "{text}");
        manifest["spec_toml"] = text.replace(from, to).into();
    };
    let machine: Change = |manifest| manifest["machine"]["cpu"] = "Another".into();
    let scenario: Change = |manifest| manifest["scenario"] = "another".into();
    for (change, field) in [(machine, "machine class: "), (scenario, "scenario: smoke | another")] {
        stored.batch("b", "p", &FASTER).change("b/manifest.json", change);
        let (code, told) = stored.run(&["compare", "a", "b"]);
        assert!(code == 2 && told.contains(field) && told.contains("--force"), "{told}");
    }
    stored
        .batch("b", "p", &FASTER)
        .change("b/manifest.json", |manifest| spec(manifest, "nodes = 3", "nodes = 4"));
    let (code, told) = stored.run(&["compare", "a", "b"]);
    assert!(code == 2 && told.contains("nodes: 3.0 | 4.0"), "{told}");

    let (code, told) = stored.run(&["compare", "a", "b", "--force"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.starts_with("!!! NOT COMPARABLE: nodes: 3.0 | 4.0"), "{told}");
    for file in told.lines().filter_map(|line| line.strip_prefix("report: ")) {
        assert!(std::fs::read_to_string(stored.path(file)).unwrap().contains("NOT COMPARABLE"), "{file}");
    }
}

#[test]
fn wrong_words_on_the_command_line_of_compare_are_refused_with_the_right_ones() {
    let stored = Stored::new();
    stored.batch("a", "p", &STEADY);
    let refused = |arguments: &[&str], what: &str| {
        let (code, told) = stored.run(arguments);
        assert!(code == 2 && told.contains(what), "{arguments:?}: {told}");
    };
    refused(&["compare"], "BATCH");
    refused(&["compare", "nowhere"], "nowhere");
    refused(
        &["compare", "a", "--reference", "ring"],
        "there is no `ring` to be the reference; a has ring-queue",
    );
    refused(&["compare", "a", "--contenders", "ring"], "no side has the contender `ring`");
    refused(&["compare", "a", "--margin", "5"], "--margin");
    refused(&["compare", "a", "--metrics", "godput"], "unknown metric (did you mean `goodput`?)");
    refused(&["compare", "a", "--metrics", "violations"], "it is counted and has no ratio");
}

const LIMITS: &str = "\
[[threshold]]
contender = \"*\"
metric = \"goodput\"
min = \"200 /s\"

[[threshold]]
contender = \"ring-queue\"
metric = \"goodput\"
against = \"baseline\"
margin = \"10 %\"
";

#[test]
fn a_gate_passes_fails_or_cannot_tell_by_its_exit_code() {
    let stored = Stored::new();
    stored.batch("base", "p", &STEADY).thresholds(LIMITS);
    let code = |times: &[f64]| {
        stored.batch("a", "p", times);
        stored.gate(&["--baseline", "base"])
    };
    let (code_0, told_0) = code(&STEADY);
    assert!(code_0 == 0 && told_0.contains("kept"), "{told_0}");
    let (code_1, told_1) = code(&[0.7, 0.71, 0.69]);
    assert!(
        code_1 == 1 && told_1.contains("gate: ring-queue: goodput ≥ 200 /s is broken: 175 /s"),
        "{told_1}"
    );
    assert!(told_1.contains("no worse than the baseline by more than 10 %"), "{told_1}");
    let (code_5, told_5) = code(&WILD);
    assert!(code_5 == 5 && told_5.contains("blocks might tell"), "{told_5}");
    // The reports say so, too.
    let summary = std::fs::read_to_string(stored.path("a/summary.md")).unwrap();
    assert!(summary.contains("CANNOT TELL") && summary.contains("EXIT 5"), "{summary}");
    let suite = std::fs::read_to_string(stored.path("a/junit.xml")).unwrap();
    assert!(suite.contains("name=\"gate\"") && suite.contains("cannot be told"), "{suite}");
    assert!(std::fs::read_to_string(stored.path("a/report.html")).unwrap().contains("id=\"gate\""));
}

#[test]
fn what_the_batch_itself_did_outweighs_its_gate() {
    let stored = Stored::new();
    let broken = "[[threshold]]\ncontender = \"ring-queue\"\nmetric = \"goodput\"\nmin = \"1000 /s\"\n";
    stored.batch("a", "p", &STEADY).thresholds(broken);
    assert_eq!(stored.gate(&[]).0, 1);
    stored
        .change("a/1-ring-queue/record.json", |record| record["invalid"] = vec!["no task completed"].into());
    assert_eq!(stored.gate(&[]).0, 4, "an invalid run");
    stored.change("a/1-ring-queue/record.json", |record| {
        record["verdicts"][0]["verdict"] = serde_json::json!({ "violated": { "witness": ["two inside"] } });
        record["verdicts"][0]["violations"] = 1.into();
        record["verdicts"][0]["expected"] = "holds".into();
    });
    assert_eq!(stored.gate(&[]).0, 3, "a violation stands even in an invalid run");
    stored.change("a/manifest.json", |manifest| manifest["end"]["exit_code"] = 130.into());
    assert_eq!(stored.gate(&[]).0, 130, "an interrupted batch");
    stored.change("a/manifest.json", |manifest| manifest["end"]["exit_code"] = 2.into());
    assert_eq!(stored.gate(&[]).0, 2, "a batch that could not be run");
}

#[test]
fn capacities_are_compared_gated_and_kept_in_a_history_and_mixes_are_refused_in_words() {
    let stored = Stored::new();
    stored
        .capacity("a", &[1000.0, 1010.0, 990.0])
        .capacity("b", &[1500.0, 1490.0, 1510.0])
        .batch("c", "q", &STEADY);
    let (code, told) = stored.run(&["compare", "a", "b"]);
    assert!(code == 0 && told.contains("Capacity") && told.contains("better"), "{told}");
    assert!(!told.contains("Goodput"), "at another rate in each: {told}");
    let (code, told) = stored.run(&["compare", "a", "b", "--metrics", "response_p99"]);
    assert!(code == 2 && told.contains("response_p99: `lockbench capacity` measures it at half"), "{told}");
    let (code, told) = stored.run(&["compare", "a", "c"]);
    assert!(code == 2 && told.contains("what was looked for: the capacity of each"), "{told}");

    let limit = |limit: &str| format!("[[threshold]]\ncontender = \"ring-queue\"\nmetric = {limit}\n");
    stored.thresholds(&limit("\"capacity\"\nmin = \"900 /s\""));
    let (code, told) = stored.gate(&[]);
    assert!(code == 0 && told.contains("kept"), "{told}");
    stored.thresholds(&limit("\"capacity\"\nagainst = \"baseline\"\nmargin = \"10 %\""));
    let (code, told) = stored.gate(&["--baseline", "b"]);
    assert!(code == 1 && told.contains("BROKEN"), "a third less: {told}");
    stored.thresholds(&limit("\"response_p99\"\nagainst = \"baseline\"\nmargin = \"10 %\""));
    let (code, told) = stored.gate(&["--baseline", "b"]);
    assert!(code == 2 && told.contains("another rate in each"), "{told}");

    let (code, told) = stored.run(&["history", "--append", "a", "--append", "b"]);
    assert_eq!(code, 0, "{told}");
    let lines = std::fs::read_to_string(stored.path("history.ndjson")).unwrap();
    let metrics: Vec<_> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["metric"].clone()).collect();
    assert_eq!(metrics, ["capacity", "capacity"]);
}

/// A Redis with a replica, as a record tells of it.
fn server() -> Value {
    let member = |role: &str, place: &str, round_trip_ns: u64| serde_json::json!({ "place": place, "role": role, "round_trip_p50_ns": round_trip_ns, "clock": null, "failure": null });
    serde_json::json!({
        "name": "Redis", "version": "7.0.15", "origin": "already running at rediss://:***@db:6379",
        "settings": { "appendfsync": "always", "tls": "certificate and host checked", "topology": "a primary with replicas: 2", "WAIT": "not used" },
        "members": [member("primary", "a:1", 900_000), member("replica", "b:1", 1_000_000), member("replica", "c:1", 9_000_000)],
    })
}

#[test]
fn whatever_of_a_server_changes_the_answer_keeps_batches_apart_unless_that_is_said_on_everything() {
    let stored = Stored::new();
    stored.batch("a", "p", &STEADY).batch("b", "p", &STEADY);
    // In which field, what it is changed to, and what is said of it.
    let set = |field: &'static str, value: &str| (format!("/{field}"), Value::from(value));
    let setting = |name: &str, value: Value| (format!("/settings/{name}"), value);
    let none = || Value::Null;
    for ((field, value), told_of) in [
        (set("version", "7.2.4"), "version of Redis: 7.0.15 | 7.2.4"),
        (setting("tls", none()), "tls of Redis: certificate and host checked | not set"),
        (
            setting("tls", "on, nothing checked".into()),
            "tls of Redis: certificate and host checked | on, nothing checked",
        ),
        (
            setting("topology", "Cluster of 3 primaries, 0 replicas".into()),
            "topology of Redis: a primary with replicas: 2 | Cluster",
        ),
        (setting("WAIT", none()), "WAIT of Redis: not used | not set"),
        (setting("appendfsync", "everysec".into()), "appendfsync of Redis: always | everysec"),
        (setting("appendfsync", "unknown".into()), "appendfsync of Redis: always | unknown"),
        (setting("synchronous_commit", "off".into()), "synchronous_commit of Redis: not set | off"),
        (setting("forceSync", "no".into()), "forceSync of Redis: not set | no"),
        (
            setting("program", "redis-server, digest 0011".into()),
            "program of Redis: not set | redis-server, digest 0011",
        ),
        (
            ("/members/2/role".to_owned(), "primary".into()),
            "members of Redis: 1 × primary, 2 × replica | 2 × primary, 1 × replica",
        ),
        (
            ("/members/2".to_owned(), none()),
            "members of Redis: 1 × primary, 2 × replica | 1 × primary, 1 × replica",
        ),
        (
            ("/members/0/round_trip_p50_ns".to_owned(), 90_000.into()),
            "round trips to Redis: 0.90, 1.00, 9.00 ms | 0.09, 1.00, 9.00 ms",
        ),
        // Neither the nearest nor the farthest.
        (
            ("/members/1/round_trip_p50_ns".to_owned(), 4_000_000.into()),
            "round trips to Redis: 0.90, 1.00, 9.00 ms | 0.90, 4.00, 9.00 ms",
        ),
    ] {
        let mut other = server();
        let (parent, key) = field.rsplit_once('/').unwrap();
        match (other.pointer_mut(parent).unwrap(), key.parse::<usize>()) {
            (Value::Array(members), Ok(place)) => drop(members.remove(place)),
            (Value::Object(fields), _) if value.is_null() => drop(fields.remove(key)),
            (Value::Object(fields), _) => drop(fields.insert(key.to_owned(), value)),
            other => panic!("{field}: {other:?}"),
        }
        for (batch, server) in [("a", server()), ("b", other)] {
            stored.change(&format!("{batch}/1-ring-queue/record.json"), |record| record["server"] = server);
        }
        let (code, told) = stored.run(&["compare", "a", "b"]);
        assert!(code == 2 && told.contains(told_of), "{field}: {told}");
        assert_eq!(
            told.matches(" of Redis: ").count() + told.matches(" to Redis: ").count(),
            1,
            "{field}: {told}"
        );
        let (code, told) = stored.run(&["compare", "a", "b", "--force"]);
        assert!(
            code == 0 && told.contains("!!! NOT COMPARABLE: ") && told.contains(told_of),
            "{field}: {told}"
        );
    }
    // Only the address, which a password may stand in, and the noise of another day: the same server.
    stored.change("b/1-ring-queue/record.json", |record| {
        record["server"] = server();
        record["server"]["origin"] = "started for this run".into();
        record["server"]["members"][0]["round_trip_p50_ns"] = 1_000_000.into();
    });
    let (code, told) = stored.run(&["compare", "a", "b"]);
    assert_eq!(code, 0, "{told}");
}

#[test]
fn limits_beside_another_contender_a_stored_batch_and_counts_are_judged_too() {
    let stored = Stored::new();
    stored.batch("a", "p", &STEADY).batch("runs/old", "q", &FASTER);
    stored.thresholds(
        "[[threshold]]\ncontender = \"ring-queue\"\nmetric = \"goodput\"\nagainst = \"contender:noop\"\nmargin = \"10 %\"\n\n\
         [[threshold]]\ncontender = \"ring-queue\"\nmetric = \"goodput\"\nagainst = \"batch:runs\"\nmargin = \"10 %\"\n\n\
         [[threshold]]\ncontender = \"ring-queue\"\nmetric = \"violations\"\nmax = \"0\"\n",
    );
    let (code, told) = stored.gate(&[]);
    assert_eq!(code, 1, "{told}");
    let line = |what: &str| {
        told.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {told}")).to_owned()
    };
    assert!(line("than noop").contains("kept"), "{told}");
    assert!(line("than runs by more").contains("BROKEN"), "{told}");
    assert!(line("violations ≤ 0").contains("the worst of 6 blocks"), "{told}");
}

#[test]
fn a_change_that_so_few_blocks_would_not_find_is_no_pass() {
    let stored = Stored::new();
    stored.batch("base", "p", &STEADY).batch("a", "p", &STEADY).thresholds(LIMITS);
    // Known from calibration: a figure that strays by a fifth.
    stored.change("a/manifest.json", |manifest| {
        manifest["calibration"] = serde_json::json!({
            "schema_version": 2, "machine_class": "here", "scenario": "smoke", "measured_utc": "2026-11-28T00:00:00Z",
            "blocks": 10,
            "floors": [{ "contender": "ring-queue", "metric": "goodput", "blocks": 10, "log_ratio_sd": 0.2, "ratio": 1.0,
                         "detectable_by_6": 0.5, "detectable_by_10": 0.3 }],
        });
    });
    let (code, told) = stored.gate(&["--baseline", "base"]);
    assert!(
        code == 5 && told.contains("in the noise of this machine, which is more than the margin of 10 %"),
        "{told}"
    );
}

#[test]
fn a_gate_says_what_is_wrong_with_its_file_and_its_words() {
    let stored = Stored::new();
    stored.batch("a", "p", &STEADY).batch("b", "p", &STEADY).thresholds(LIMITS);
    let refused = |more: &[&str], what: &str| {
        let (code, told) = stored.gate(more);
        assert!(code == 2 && told.contains(what), "{told}");
    };
    refused(&[], "gate.toml, line 8: it is beside a baseline: give one with --baseline BATCH");
    refused(&["--baseline", "nowhere"], "nowhere");
    stored.change("b/manifest.json", |manifest| manifest["machine"]["cpu"] = "Another".into());
    refused(&["--baseline", "b"], "machine class: ");
    let (code, told) = stored.gate(&["--baseline", "b", "--force"]);
    assert!(code == 0 && told.contains("!!! NOT COMPARABLE with the baseline: machine class"), "{told}");
    assert!(std::fs::read_to_string(stored.path("a/summary.md")).unwrap().contains("NOT COMPARABLE"));
    stored.thresholds(&LIMITS.replace("ring-queue", "ring-queu"));
    refused(
        &["--baseline", "b", "--force"],
        "line 8: unknown contender `ring-queu` (did you mean `ring-queue`?); the batch has",
    );
    stored.thresholds("[[threshold]]\ncontender = \"*\"\nmetric = \"goodput\"\nmin = 5\n");
    refused(&[], "line 4");
    let (code, told) = stored.run(&["gate", "a"]);
    assert!(code == 2 && told.contains("--thresholds"), "{told}");
    let (code, told) = stored.run(&["gate", "a", "--thresholds", "none.toml"]);
    assert!(code == 2 && told.contains("none.toml: cannot be read"), "{told}");
}
