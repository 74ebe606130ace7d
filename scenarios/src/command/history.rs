//! `lockbench history`: figures over commits.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use harness::record::{Estimate, METRICS, Metric, TrendPoint, implausible};
use reports::{Comparison, Side, Trends};

use super::print::print;
use super::verb::{Example, Group, Work};
use crate::comparable;

/// Show figures over commits, and where they changed for good; needs no server.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct History {
    /// The file of figures, one JSON object a line.
    #[arg(default_value = "history.ndjson")]
    file: PathBuf,
    /// Add a batch, or all of a folder, to the file first. May be given more than once.
    #[arg(long, value_name = "BATCH")]
    append: Vec<PathBuf>,
    /// The commit that the added batches measured, where it is not that of lockbench itself.
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
    /// Where the page is written; the file's name with .html behind it where not given.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

const HELP: &str = "\
A line a batch, contender and metric: commit, date, class of machine, scenario, value, 99 % interval; of a batch of `capacity` that \
alone, since all else was at a rate of its own. Lines are only ever added, so \
that the file can be kept on a branch of its own. A batch that proves nothing (exit code 2, 4 or 130) is not added.

Exit codes: 0 shown, 2 a file cannot be read or written, or a batch cannot be added.";

impl Work for History {
    const NAME: &str = "history";
    const GROUP: Group = Group::Look;
    const EXAMPLES: &[Example] = &[
        ("Figures over commits", "lockbench history"),
        ("With one batch more", "lockbench history figures.ndjson --append out/smoke-20260101T120000Z"),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        // All are read before any is added.
        let added =
            self.append.iter().map(|batch| self.points(batch)).collect::<anyhow::Result<Vec<_>>>()?.concat();
        let known = if self.file.exists() || added.is_empty() { read(&self.file)? } else { Vec::new() };
        let is_new = |point: &&TrendPoint| !known.contains(*point);
        let new: Vec<TrendPoint> = added.iter().filter(is_new).cloned().collect();
        append(&self.file, &new)?;
        if !self.append.is_empty() {
            print(&format!("{}: {} lines added", self.file.display(), new.len()));
        }
        let trends = Trends::new(&[known, new].concat());
        print(trends.terminal().trim_end());
        let page = self.html.unwrap_or_else(|| self.file.with_extension("html"));
        fs::write(&page, trends.html()?).with_context(|| format!("cannot write {}", page.display()))?;
        print(&format!("report: {}", page.display()));
        Ok(0)
    }
}

impl History {
    fn points(&self, folder: &Path) -> anyhow::Result<Vec<TrendPoint>> {
        let side = Side::load(folder)?;
        let mut points = Vec::new();
        for batch in &side.batches {
            let code = batch.conclusion().exit_code;
            if matches!(code, 2 | 4 | 130) {
                let started = &batch.manifest.started_utc;
                bail!(
                    "{}: the batch of {started} ended with exit code {code} and proves nothing: run it again",
                    folder.display()
                );
            }
            points.extend(self.of(batch));
        }
        Ok(points)
    }

    fn of(&self, batch: &Comparison) -> Vec<TrendPoint> {
        let manifest = &batch.manifest;
        let commit = self.commit.clone().or_else(|| manifest.commit.clone()).unwrap_or_default();
        let digest = comparable::digest(&manifest.spec_toml);
        let point = |contender: &str, metric: &Metric, of: Estimate| TrendPoint {
            commit: commit.clone(),
            started_utc: manifest.started_utc.clone(),
            machine_class: manifest.machine.class(),
            scenario: manifest.scenario.clone(),
            scenario_digest: digest.clone(),
            contender: contender.to_owned(),
            metric: metric.name.to_owned(),
            value: of.value,
            low: of.interval.map(|(low, _)| low),
            high: of.interval.map(|(_, high)| high),
            blocks: of.blocks,
        };
        let mut points = Vec::new();
        for row in batch.contenders() {
            let runs: Vec<_> = row.records.iter().filter(|run| run.invalid.is_empty()).collect();
            let looked_for = manifest.service_level.is_some();
            let across = METRICS.iter().filter(|metric| metric.goes_across(looked_for));
            let figures = across.filter_map(|metric| Some((metric, Estimate::of(metric, &runs)?)));
            points.extend(figures.map(|(metric, of)| point(&row.contender, metric, of)));
        }
        points
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<TrendPoint>> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("cannot read {}; --append BATCH makes it", file.display()))?;
    let mut points = Vec::new();
    for (place, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = || format!("{}, line {}: not a line of a history", file.display(), place + 1);
        let value = serde_json::from_str(line).with_context(at)?;
        if let Some(what) = implausible(&value) {
            bail!("{}: {what}", at());
        }
        points.push(serde_json::from_value(value).with_context(at)?);
    }
    Ok(points)
}

fn append(file: &Path, points: &[TrendPoint]) -> anyhow::Result<()> {
    let cannot = || format!("cannot add to {}", file.display());
    if points.is_empty() {
        return Ok(());
    }
    let mut lines = Vec::new();
    for point in points {
        serde_json::to_writer(&mut lines, point)?;
        lines.push(b'\n');
    }
    let mut file = OpenOptions::new().create(true).append(true).open(file).with_context(cannot)?;
    file.write_all(&lines).and_then(|()| file.sync_all()).with_context(cannot)
}
