//! `lockbench calibrate`: every contender beside itself.

use anyhow::{Context as _, bail};
use clap::Args;
use harness::record::difference::{Answer, Rule, Subject, Together, family};
use harness::record::{Metric, RunRecord, write_json};

use super::print::print;
use super::run::Run;
use super::verb::{Example, Group, Work};
use crate::calibration;
use crate::contenders::AGAIN;

/// Measure how much figures stray on this machine: every contender runs twice in each block and is compared with itself.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Calibrate {
    #[command(flatten)]
    run: Run,
}

const HELP: &str = "\
A batch as of `run`, of 10 blocks where --blocks does not say otherwise, in which each contender takes part a second time under \
its name with \"-again\" behind it. The spread of the ratios of the two is the noise floor; the least effect that 6 and 10 blocks find \
follows from it. It is stored in the batch directory (calibration.json) and by class of machine in --store; reports of later batches \
show it, and a gate whose margin is below what it can find answers 5.

Exit codes: those of run.";

impl Work for Calibrate {
    const NAME: &str = "calibrate";
    const GROUP: Group = Group::Judge;
    const EXAMPLES: &[Example] = &[
        ("The noise of this machine", "lockbench calibrate smoke"),
        ("Of one contender", "lockbench calibrate smoke --contenders redis-fenced --blocks 6"),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        let store = self
            .run
            .store()
            .context("there is no home directory to keep it in: give a folder with --store")?;
        let (code, directory) = self.run.twice().await?;
        if matches!(code, 2 | 130) {
            return Ok(code);
        }
        let comparison = reports::load(&directory)?;
        let valid: Vec<&RunRecord> = comparison.records().filter(|run| run.invalid.is_empty()).collect();
        let calibration = calibration::of_batch(&comparison.manifest, &valid);
        if calibration.floors.is_empty() {
            bail!(
                "nobody has two valid blocks of two runs, so nothing is known: give more --blocks, on a machine with less to do"
            );
        }
        write_json(&directory.join("calibration.json"), &calibration)?;
        let file = calibration::keep(&store, &calibration)?;
        print(reports::noise_table(&calibration).trim_end());
        print(&different(&valid));
        print(&format!("kept for {}: {}", calibration.machine_class, file.display()));
        Ok(code)
    }
}

/// Who was declared different from itself.
fn different(valid: &[&RunRecord]) -> String {
    let of = |name: &str| valid.iter().filter(|run| run.contender == name).copied().collect::<Vec<_>>();
    let mut names: Vec<&str> = valid.iter().filter_map(|run| run.contender.strip_suffix(AGAIN)).collect();
    names.sort_unstable();
    names.dedup();
    let beside = |name: &&str| Subject {
        own: of(&format!("{name}{AGAIN}")),
        reference: of(name),
        together: Together::OfOneBatch,
    };
    let metrics: Vec<&Metric> = Metric::primary().collect();
    let decided = family(&names.iter().map(beside).collect::<Vec<_>>(), &metrics, &Rule::default());
    let mut found = Vec::new();
    for (name, decided) in names.iter().zip(decided) {
        for (metric, decided) in metrics.iter().zip(decided) {
            if decided.is_some_and(|decided| decided.answer == Answer::Different) {
                found.push(format!("{name} by {}", metric.name));
            }
        }
    }
    match found.is_empty() {
        true => "nobody was declared different from itself".to_owned(),
        false => format!(
            "declared different from itself: {}; by chance that happens once in 100 calibrations, so repeat it",
            found.join(", ")
        ),
    }
}
