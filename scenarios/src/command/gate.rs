//! `lockbench gate`: whether a stored batch keeps thresholds.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use harness::record::difference::Together;
use harness::record::{
    Asked, Conclusion, GateRecord, Metric, Role, RunRecord, SCHEMA_VERSION, Threshold, judge_thresholds,
    write_json,
};
use reports::Side;

use super::compare::banner;
use super::print::print;
use super::verb::{Example, Group, Work};
use crate::spec::did_you_mean;
use crate::thresholds::{self, Against, Thresholds};

/// Judge a stored batch by thresholds: pass, fail, or cannot tell; needs no server.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Gate {
    /// The batch directory; a folder of such stands for all of them together.
    batch: PathBuf,
    /// A TOML file of thresholds, see below.
    #[arg(long, value_name = "FILE")]
    thresholds: PathBuf,
    /// The batch, or folder of batches, that thresholds `against = "baseline"` are beside.
    #[arg(long, value_name = "BATCH")]
    baseline: Option<PathBuf>,
    /// Judge beside what is not comparable; everything that is shown says so.
    #[arg(long)]
    force: bool,
}

const HELP: &str = "\
A file of thresholds:

  [[threshold]]
  contender = \"*\"                   every contender, or one by name
  metric = \"response_p99\"
  max = \"20 ms\"                     or min; with the unit of the metric

  [[threshold]]
  contender = \"redis-fenced\"
  metric = \"goodput\"
  against = \"baseline\"              --baseline BATCH, or \"batch:PATH\" (from this file's folder),
                                    or \"contender:NAME\" of the same run
  margin = \"10 %\"                   may be worse by no more; \"-20 %\": must be better by that

A limit is kept where the whole 99 % interval over blocks keeps it, and broken where the whole interval lies beyond it. What \
was found is written to gate.json in the batch directory, and its reports are rendered again with it.

Exit codes: 2 usage, 130, 3 and 4 where the batch itself ended so, 1 a threshold is broken, 5 one cannot be told (the limit lies \
within the interval, or so few blocks would not find a change as large as the margin), 0 all are kept; in this order.";

impl Work for Gate {
    const NAME: &str = "gate";
    const GROUP: Group = Group::Judge;
    const EXAMPLES: &[Example] = &[
        ("Limits", "lockbench gate out/smoke-20260101T120000Z --thresholds limits.toml"),
        (
            "Beside a baseline",
            "lockbench gate out/smoke-20260101T120000Z --thresholds limits.toml --baseline runs/main",
        ),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        let thresholds = Thresholds::read(&self.thresholds)?;
        let side = Side::load(&self.batch)?;
        let mut banners = Vec::new();
        let mut others: Vec<(Against, Side)> = Vec::new();
        let looked_for = side.batches.iter().any(|batch| batch.manifest.service_level.is_some());
        for asked in &thresholds.asked {
            let elsewhere = matches!(asked.against, Some(Against::Baseline | Against::Batch(_)));
            if elsewhere && !asked.metric.goes_across(looked_for) {
                bail!("{}: {}: {}", asked.place, asked.metric.name, Metric::RATE_OF_ITS_OWN);
            }
            let Some(against) =
                asked.against.as_ref().filter(|against| others.iter().all(|(known, _)| known != *against))
            else {
                continue;
            };
            let Some(folder) = self.folder(against, asked)? else { continue };
            let other = Side::load(folder)?;
            let sides = [other, side.clone()];
            for sentence in banner(&sides, self.force)? {
                let sentence = format!("NOT COMPARABLE with {against}: {sentence}");
                if !banners.contains(&sentence) {
                    banners.push(sentence);
                }
            }
            let [other, _] = sides;
            others.push((against.clone(), other));
        }
        let asked = expanded(&thresholds, &side)?;
        let each: Vec<Asked<'_>> =
            asked.iter().map(|(written, threshold)| put(written, threshold, &side, &others)).collect();
        let gate = GateRecord {
            schema_version: SCHEMA_VERSION,
            file: thresholds.origin.clone(),
            thresholds_toml: thresholds.text.clone(),
            banner: banners,
            answers: judge_thresholds(&each),
        };
        self.tell(side, gate)
    }
}

impl Gate {
    /// The folder of what a limit is beside; `None` where that is in the same batch.
    fn folder<'a>(
        &'a self,
        against: &'a Against,
        asked: &thresholds::Asked,
    ) -> anyhow::Result<Option<&'a Path>> {
        match (against, &self.baseline) {
            (Against::Contender(_), _) => Ok(None),
            (Against::Batch(folder), _) => Ok(Some(folder)),
            (Against::Baseline, Some(folder)) => Ok(Some(folder)),
            (Against::Baseline, None) => {
                bail!("{}: it is beside a baseline: give one with --baseline BATCH", asked.place)
            }
        }
    }

    /// Stores what the gate said, renders the reports again, and shows it.
    fn tell(&self, mut side: Side, gate: GateRecord) -> anyhow::Result<u8> {
        for folder in &side.folders {
            write_json(&folder.join("gate.json"), &gate)?;
            reports::write_all(folder)?;
        }
        gate.banner.iter().for_each(|sentence| print(&format!("!!! {sentence}")));
        for batch in &mut side.batches {
            batch.gate = Some(gate.clone());
        }
        print(reports::gate_table(&gate).trim_end());
        let mut told = Vec::new();
        let conclusions: Vec<Conclusion> = side.batches.iter().map(reports::Comparison::conclusion).collect();
        for reason in conclusions.iter().flat_map(|of| &of.reasons) {
            if !told.contains(&reason) {
                eprintln!("{reason}");
                told.push(reason);
            }
        }
        Ok(Conclusion::gravest_exit(conclusions.iter().map(|of| of.exit_code)))
    }
}

/// Every threshold for every contender that it is about.
fn expanded<'a>(
    thresholds: &'a Thresholds,
    side: &Side,
) -> anyhow::Result<Vec<(&'a thresholds::Asked, Threshold)>> {
    let names = side.names();
    let absent = || {
        let manifests = side.batches.iter().map(|batch| &batch.manifest);
        manifests
            .flat_map(|manifest| manifest.skipped.iter().chain(&manifest.failed))
            .map(|skipped| skipped.contender.as_str())
    };
    let is_known =
        |name: &str| names.iter().any(|(known, _)| *known == name) || absent().any(|known| known == name);
    let mut all = Vec::new();
    for asked in &thresholds.asked {
        let about: Vec<&str> = match asked.contender.as_str() {
            "*" => names.iter().filter(|(_, role)| *role == Role::Contender).map(|(name, _)| *name).collect(),
            name => vec![name],
        };
        let other = match &asked.against {
            Some(Against::Contender(name)) => Some(name.as_str()),
            _ => None,
        };
        for name in about.iter().copied().chain(other) {
            if !is_known(name) {
                let there: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
                let meant = did_you_mean(name, there.iter().copied());
                bail!(
                    "{}: unknown contender `{name}`{meant}; the batch has {}",
                    asked.place,
                    there.join(", ")
                );
            }
        }
        // Nobody is beside itself.
        let about = about.into_iter().filter(|name| Some(*name) != other);
        all.extend(about.map(|name| {
            (
                asked,
                Threshold { contender: name.to_owned(), metric: asked.metric, limit: asked.limit.clone() },
            )
        }));
    }
    if all.is_empty() {
        bail!("{}: the batch has no contender that any threshold is about", thresholds.origin);
    }
    Ok(all)
}

/// A threshold with the runs that it is about.
fn put<'a>(
    written: &thresholds::Asked,
    threshold: &'a Threshold,
    side: &'a Side,
    others: &'a [(Against, Side)],
) -> Asked<'a> {
    let (contender, metric) = (&threshold.contender, threshold.metric);
    let (reference, together): (Vec<&RunRecord>, _) = match &written.against {
        None => (Vec::new(), Together::OfSeveral),
        Some(Against::Contender(name)) if side.batches.len() == 1 => {
            (side.telling(name, metric), Together::OfOneBatch)
        }
        Some(Against::Contender(name)) => (side.telling(name, metric), Together::OfSeveral),
        Some(against) => {
            let other = others.iter().find(|(known, _)| known == against);
            (
                other.map(|(_, other)| other.telling(contender, metric)).unwrap_or_default(),
                Together::OfSeveral,
            )
        }
    };
    let calibrations = side.batches.iter().filter_map(|batch| batch.manifest.calibration.as_ref());
    let known_sd =
        calibrations.filter_map(|of| of.log_ratio_sd(contender, threshold.metric.name)).reduce(f64::max);
    Asked { threshold, runs: side.telling(contender, metric), reference, together, known_sd }
}
