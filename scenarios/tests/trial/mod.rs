//! A contender under faults, as a shell runs it.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part; a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use harness::record::{RunRecord, Verdict};
use harness::servers::{Finding, ServerKind, find};

/// One contender under one kind of fault for some seconds; its record, or nothing where its server is missing.
pub(crate) struct Trial {
    scenario: &'static str,
    contender: &'static str,
    server: Option<ServerKind>,
    settings: Vec<String>,
    is_small: bool,
}

impl Trial {
    pub(crate) fn new(scenario: &'static str, contender: &'static str, server: Option<ServerKind>) -> Self {
        Self::of(scenario, contender, server).set("duration_s=12").set("rate_per_s=40")
    }

    /// One whose tasks arrive as its scenario says.
    pub(crate) fn of(scenario: &'static str, contender: &'static str, server: Option<ServerKind>) -> Self {
        let settings = ["seed=5", "least_faults=2", "nodes=3"];
        Self { scenario, contender, server, settings: settings.map(str::to_owned).into(), is_small: false }
            .set(&format!("contenders=[\"{contender}\"]"))
    }

    /// Its scenario's short form, as far as nothing else is set.
    pub(crate) fn small(self) -> Self {
        Self { is_small: true, ..self }
    }

    pub(crate) fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// The faults, in place of the scenario's: verb, target, mean distance, length.
    pub(crate) fn faults(self, verb: &str, target: &str, every_s: f64, for_ms: f64) -> Self {
        self.set(&format!(
            "faults=[{{verb=\"{verb}\",target=\"{target}\",every_s={every_s:?},for_ms={for_ms:?}}}]"
        ))
    }

    pub(crate) fn run(&self) -> Option<(RunRecord, String)> {
        self.run_and_look(|_| ())
    }

    /// The same, with a look at the folder of the run before it is gone.
    pub(crate) fn run_and_look(&self, look: impl FnOnce(&Path)) -> Option<(RunRecord, String)> {
        if let Some(Finding::Missing { remedy }) = self.server.map(find) {
            assert!(std::env::var_os("CI").is_none(), "missing in CI: {remedy}");
            eprintln!("skipped: {remedy}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockbench"));
        command.args(["run", self.scenario]).current_dir(folder.path());
        command.args(self.is_small.then_some("--small"));
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let batch =
            std::fs::read_dir(folder.path().join("out")).expect(&told).next().unwrap().unwrap().path();
        let run = batch.join(format!("1-{}", self.contender));
        let record = std::fs::read(run.join("record.json")).expect(&told);
        let record: RunRecord = serde_json::from_slice(&record).unwrap();
        let failures: Vec<_> =
            record.faults.faults.iter().filter_map(|fault| fault.failure.as_ref()).collect();
        assert_eq!(failures, Vec::<&String>::new(), "{told}");
        assert!(record.invalid.iter().all(|reason| reason.contains("late at")), "{:?}", record.invalid);
        look(&run);
        Some((record, told))
    }
}

pub(crate) fn violated(record: &RunRecord, check: &str) -> bool {
    witness(record, check).is_some()
}

/// With the events that show it, where it was.
#[track_caller]
pub(crate) fn assert_not_violated(record: &RunRecord, check: &str, told: &str) {
    if let Some(events) = witness(record, check) {
        panic!("{check} was violated:\n{}\n{told}", events.join("\n"));
    }
}

fn witness<'a>(record: &'a RunRecord, check: &str) -> Option<&'a [String]> {
    match &record.verdicts.iter().find(|each| each.check == check).unwrap().verdict {
        Verdict::Violated { witness } => Some(witness),
        _ => None,
    }
}
