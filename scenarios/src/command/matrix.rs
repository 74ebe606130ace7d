//! `lockbench matrix`: every known failure, what was foretold beside what was done.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Args;
use harness::model::Holder;
use harness::record::{Conclusion, MatrixRecord, MatrixRow, SCHEMA_VERSION, write_json};
use tokio_util::sync::CancellationToken;

use super::how::{Aim, HowArgs, about_s, span};
use super::several::{IfFailed, Part, Several, Told};
use super::signals::watch_signals;
use super::verb::{Example, Group, Work};
use crate::batch::{self, Show as _};
use crate::progress::Display;
use crate::spec::{Scenario, did_you_mean};
use crate::{catalog, workload};

/// Reproduce every known failure: what is foretold of each contender, beside what it does.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(super) struct Matrix {
    /// Only these rows, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "ROW")]
    rows: Vec<String>,
    /// Fewer rows and shorter ones.
    #[arg(long)]
    quick: bool,
    /// Says which rows there are, and runs nothing.
    #[arg(long)]
    list: bool,
    /// Goes on with a matrix that was stopped, in its directory: its rows, seed and contenders.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["rows", "quick", "list", "seed", "contenders", "out"])]
    resume: Option<PathBuf>,
    #[command(flatten)]
    how: HowArgs,
}

const HELP: &str = "\
A row is a scenario of the catalogue with a `[[known]]` section, and a batch of its own. What is foretold is what the scenario \
expects of its checks. A cell where the fault did not come about, or too rarely, says so and tells nothing.

Exit codes: 0 all is as foretold, 3 somebody did other than foretold, in either direction, 4 some rows are not proven.";

impl Work for Matrix {
    const NAME: &str = "matrix";
    const GROUP: Group = Group::Measure;
    const EXAMPLES: &[Example] = &[
        ("What there is", "lockbench matrix --list"),
        ("The shorter half of it", "lockbench matrix --quick"),
        (
            "One row, of some candidates",
            "lockbench matrix --rows server-kill-memory --contenders redis-fenced,etcd-cas",
        ),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        let rows = match &self.resume {
            Some(_) => Vec::new(),
            None => self.chosen()?,
        };
        if self.list {
            for (_, row) in &rows {
                super::print::print(&format!("{:<22} {:>7}  {}", row.name, span(row.takes_s), row.failure));
            }
            return Ok(0);
        }
        let stop = CancellationToken::new();
        // Before the first child of ours is started, if only to be asked for its version.
        let mut signals = tokio::task::JoinSet::new();
        signals.spawn(watch_signals(stop.clone())?);
        let display = self.how.display();
        let (matrix, directory) = match self.resume.clone() {
            Some(folder) => (reports::KnownFailures::load(&folder)?.record, folder),
            None => self.begun(rows, &stop, &display).await?,
        };
        let code = self.run(&matrix, &directory, &stop, &display).await?;
        if stop.is_cancelled() {
            display.line(&format!("the rest of it: lockbench matrix --resume {}", directory.display()));
        }
        Ok(code)
    }
}

impl Matrix {
    /// The rows that were asked for, with their scenarios.
    fn chosen(&self) -> anyhow::Result<Vec<(Scenario, MatrixRow)>> {
        let all = catalog::known()?;
        let names: Vec<&str> = all.iter().map(|(_, known)| known.row.as_str()).collect();
        if let Some(unknown) = self.rows.iter().find(|row| !names.contains(&row.as_str())) {
            let meant = did_you_mean(unknown, names.iter().copied());
            anyhow::bail!("--rows: unknown row `{unknown}`{meant}; there are {}", names.join(", "));
        }
        let chosen = all.iter().filter(|(_, known)| match self.rows.is_empty() {
            true => !self.quick || known.quick_s.is_some(),
            false => self.rows.contains(&known.row),
        });
        let rows = chosen.map(|(scenario, known)| {
            let settings = known.settings(self.quick);
            let set = settings.iter().map(|(key, value)| format!(" --set '{key}={value}'"));
            let command = format!("lockbench run {scenario}{}", set.collect::<String>());
            let scenario = catalog::load(scenario, &settings)?;
            let runs = scenario.spec.contenders.len() as f64 * f64::from(scenario.spec.blocks);
            let row = MatrixRow {
                takes_s: runs * scenario.spec.takes_s(),
                name: known.row.clone(),
                failure: known.failure.clone(),
                published: known.published.clone(),
                scenario: scenario.spec.name.clone(),
                spec_toml: scenario.text.clone(),
                command,
                folder: known.row.clone(),
                fewer: known.fewer.clone(),
                guarded: scenario.spec.fencing || scenario.spec.holder == Holder::Stops,
            };
            Ok((scenario, row))
        });
        rows.collect()
    }

    /// The matrix of these rows, in a new directory. All that can be refused is refused before anything runs.
    async fn begun(
        &self,
        rows: Vec<(Scenario, MatrixRow)>,
        stop: &CancellationToken,
        display: &Display,
    ) -> anyhow::Result<(MatrixRecord, PathBuf)> {
        let seed = rows.first().map_or_else(workload::fresh_seed, |(scenario, _)| self.how.seed(scenario));
        ensure!(!self.how.pins(), "--pin deals out the processors once, and rows may need other shares");
        let (mut records, mut takes_s) = (Vec::new(), 0.0);
        for (scenario, mut row) in rows {
            let asked = self.how.asked(scenario, seed, Aim::default(), stop).await;
            row.takes_s = about_s(&asked.map_err(|error| error.context(format!("row {}", row.name)))?);
            takes_s += row.takes_s;
            row.command += &format!(" --seed {seed}");
            records.push(row);
        }
        display.line(&format!("{} rows, about {}", records.len(), span(takes_s)));
        let started = jiff::Timestamp::now();
        let directory = batch::new_directory(self.how.out(), "matrix", started)?;
        let matrix = MatrixRecord {
            schema_version: SCHEMA_VERSION,
            seed,
            started_utc: started.to_string(),
            quick: self.quick,
            contenders: self.how.contenders().to_vec(),
            rows: records,
        };
        write_json(&directory.join(MatrixRecord::FILE), &matrix)?;
        Ok((matrix, directory))
    }

    async fn run(
        &self,
        matrix: &MatrixRecord,
        directory: &Path,
        stop: &CancellationToken,
        display: &Display,
    ) -> anyhow::Result<u8> {
        let how = self.how.of_contenders(&matrix.contenders);
        let origin = directory.join(MatrixRecord::FILE).display().to_string();
        let part = |row: &MatrixRow| {
            Ok(Part {
                words: format!("{}: {}", row.name, row.failure),
                folder: directory.join(&row.folder),
                scenario: Scenario::parse(&origin, &row.spec_toml, &[])?,
                aim: Aim::default(),
            })
        };
        let parts = matrix.rows.iter().map(part).collect::<anyhow::Result<Vec<_>>>()?;
        let several = Several {
            noun: "row",
            directory,
            seed: matrix.seed,
            budget: None,
            whole: None,
            if_failed: IfFailed::GoOn,
            parts,
        };
        let told = |directory: &Path| {
            let done = reports::KnownFailures::load(directory)?;
            Ok(Told { text: done.terminal(), exit_code: Conclusion::gravest_exit(done.exit_codes()) })
        };
        several.run(&how, stop, display, told).await
    }
}
