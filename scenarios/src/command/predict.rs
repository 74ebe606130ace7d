//! `lockbench predict`: what a scenario would take and carry at sizes that nobody can run.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use harness::engine::{machine, monotonic_ns};
use harness::record::ServiceLevel;
use reports::Comparison;

use super::print::print;
use super::verb::{Example, Group, Work};
use crate::catalog;
use crate::foresight::prediction::{
    Capacity, Foretold, OfContender, Owners, RouteWord, Size, Terms, batch_name, burden, capacity, fit,
    foretell, measured_plan, sized,
};
use crate::spec::{Scenario, did_you_mean};

/// A prediction was not within its bounds.
const NOT_PROVEN: u8 = 4;

/// From the least size on that is told.
const SIZES: [u16; 8] = [3, 10, 30, 100, 300, 1_000, 3_000, 10_000];

/// Tasks of a forecast for the curve of growth.
const GROWTH_TASKS: f64 = 20_000.0;

/// A median may be off by so much, and a 99th percentile by so many times.
const MEDIAN_BOUND: f64 = 0.25;
const TAIL_BOUND: f64 = 1.5;

/// Predict what a scenario takes and carries at any size, from what was measured at small ones.
///
/// `--fit` reads measured batches and writes the terms of the models, each with its source: measured, fitted or assumed. Then a scenario
/// can be sized: waits and capacity of each contender there, and from three nodes upward what its nodes burden it with, and where it
/// stops. `--validate` sets predictions beside other measured batches.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Predict {
    /// Name of a scenario of the catalogue, or path of a .toml file.
    #[arg(required_unless_present_any = ["fit", "validate"])]
    scenario: Option<String>,
    /// Management nodes; left out: those of the scenario.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    nodes: Option<u16>,
    /// Resources of the kinds that tasks begin with; left out: as many for each node as in the scenario.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    resources: Option<u32>,
    /// Tasks per second; left out: as many for each node as in the scenario.
    #[arg(long, value_name = "PER_S")]
    rate: Option<f64>,
    /// Length of the arrival window; left out: that of the scenario.
    #[arg(long, value_name = "S")]
    duration: Option<f64>,
    /// Seed of the tasks.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Who; may be given more than once. Left out: all of whom the terms tell.
    #[arg(long, value_name = "NAME")]
    contender: Vec<String>,
    /// Set any field of the scenario, as for `run`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = super::batch::key_value)]
    set: Vec<(String, String)>,
    /// The terms: written by --fit, else read.
    #[arg(long, value_name = "FILE", default_value = "terms.json")]
    terms: PathBuf,
    /// Batch directories of measured runs without faults, with the control noop: what they tell goes into the terms.
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with_all = ["scenario", "validate"])]
    fit: Vec<PathBuf>,
    /// Batch directories of measured runs, best others than those of the fit: prediction beside measurement.
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with = "scenario")]
    validate: Vec<PathBuf>,
}

const HELP: &str = "\
Standard output is the same for the same terms, scenario and seed; how long it took, and in how much memory, is on standard error.

Exit codes: 2 usage or configuration, 4 a prediction of --validate is not within its bounds (median and capacity 25 %, 99th percentile \
1.5 times), 0 else.";

impl Work for Predict {
    const NAME: &str = "predict";
    const GROUP: Group = Group::Foresee;
    const EXAMPLES: &[Example] = &[
        (
            "Terms from a measured batch, and from what was carried",
            "lockbench predict --fit out/vm-lifecycle-20260101T120000Z out/capacity-spread-20260101T130000Z",
        ),
        (
            "Ten thousand nodes and a million resources",
            "lockbench predict capacity-spread --nodes 10000 --resources 1000000 --rate 100000",
        ),
        (
            "Predictions beside the cells of a measured sweep",
            "lockbench predict --validate out/capacity-hot-20260101T140000Z",
        ),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        if !self.fit.is_empty() {
            return self.fit();
        }
        let terms = Terms::read(&self.terms)?;
        if !self.validate.is_empty() {
            return self.validate(&terms);
        }
        self.predict(&terms)
    }
}

impl Predict {
    fn fit(&self) -> anyhow::Result<u8> {
        let here = machine::survey(&std::env::temp_dir());
        let mut terms = Terms::new(here.class(), here.cores);
        for batch in batches(&self.fit)? {
            // All of one machine, which need not be this one.
            let of = &batch.manifest.machine;
            if terms.batches.is_empty() {
                terms = Terms::new(of.class(), of.cores);
            }
            ensure!(
                terms.machine == of.class(),
                "{}: measured on another machine than the first",
                batch.manifest.scenario
            );
            fit(&mut terms, &batch)?;
        }
        ensure!(
            !terms.contenders.is_empty(),
            "--fit: nobody took part whose steps wait at a server or an owner"
        );
        terms.write(&self.terms)?;
        tell_terms(&terms);
        print(&format!("\nwritten to {}", self.terms.display()));
        Ok(0)
    }

    fn predict(&self, terms: &Terms) -> anyhow::Result<u8> {
        let begun_ns = monotonic_ns();
        let named = self.scenario.as_deref().context("a scenario is required")?;
        let scenario = catalog::load(named, &self.set)?;
        let contenders = self.contenders(terms)?;
        let size = Size {
            nodes: self.nodes.unwrap_or(scenario.spec.nodes),
            resources: self.resources,
            rate_per_s: self.rate,
            duration_s: self.duration.or(scenario.spec.duration_s).unwrap_or(60.0),
        };
        ensure!(
            size.rate_per_s.is_none_or(|rate| (1e-3..=1e7).contains(&rate)),
            "--rate: between 0.001 and 10000000"
        );
        ensure!((1e-3..=3600.0).contains(&size.duration_s), "--duration: between 0.001 and 3600 seconds");
        tell_terms(terms);
        let (plan, rate) = sized(&scenario, size, self.seed)?;
        print(&format!(
            "\n{} at {} nodes: {} tasks in {:.0} s, {rate:.0} a second, on {} resources; each node and server on processors of its own",
            scenario.spec.name,
            size.nodes,
            plan.tasks.len(),
            size.duration_s,
            plan.resources.len() - usize::from(size.nodes),
        ));
        print(&format!(
            "{:<16} {:>12} {:>12} {:>12}  {}",
            "contender", "wait p50 ms", "wait p99 ms", "carries /s", "leases"
        ));
        let level = ServiceLevel::default();
        for (name, of) in &contenders {
            let nodes = u32::from(size.nodes);
            let told = foretell(&plan, &of.costs(nodes, None), &Owners::new(of.route, size.nodes));
            let carries = capacity(&scenario, of, size, None, &level, self.seed)?;
            print(&format!(
                "{name:<16} {:>12} {:>12} {:>12}  {:.1} %",
                ms(told.wait_p50_ns),
                ms(told.wait_p99_ns),
                per_s(carries),
                burden(of, size.nodes, scenario.spec.detect_ms / 1e3).background * 100.0,
            ));
        }
        drop(plan);
        self.grow(&scenario, &contenders, size)?;
        eprintln!(
            "took {:.1} s{}",
            (monotonic_ns() - begun_ns) as f64 / 1e9,
            most_memory().map(|bytes| format!(", {} MB at most", bytes >> 20)).unwrap_or_default()
        );
        Ok(0)
    }

    /// From three nodes upward: what each takes, what its nodes burden it with, and where it stops.
    fn grow(
        &self,
        scenario: &Scenario,
        contenders: &[(&str, &OfContender)],
        size: Size,
    ) -> anyhow::Result<()> {
        let mut sizes: Vec<u16> = SIZES.into_iter().filter(|nodes| *nodes < size.nodes).collect();
        sizes.push(size.nodes);
        let detect_s = scenario.spec.detect_ms / 1e3;
        let rate = self.rate.unwrap_or_else(|| {
            scenario.spec.rate_per_s.unwrap_or(1.0) * f64::from(size.nodes) / f64::from(scenario.spec.nodes)
        });
        for (name, of) in contenders {
            let what = match of.route {
                RouteWord::Lock => ["connections at the server", "server for leases"],
                RouteWord::Owner => ["connections of a node", "database for heartbeats"],
            };
            print(&format!(
                "\n{name}, as many tasks and resources for each node\n{:>8} {:>12} {:>12} {:>26} {:>14} {:>24}",
                "nodes", "wait p50 ms", "wait p99 ms", what[0], "in all", what[1]
            ));
            let mut stopped = None;
            for nodes in &sizes {
                let share = f64::from(*nodes) / f64::from(size.nodes);
                let rate_per_s = rate * share;
                let at = Size {
                    nodes: *nodes,
                    resources: size.resources.map(|count| ((f64::from(count) * share) as u32).max(1)),
                    rate_per_s: Some(rate_per_s),
                    duration_s: (GROWTH_TASKS / rate_per_s).min(size.duration_s),
                };
                let told = foretell(
                    &sized(scenario, at, self.seed)?.0,
                    &of.costs(u32::from(*nodes), None),
                    &Owners::new(of.route, *nodes),
                );
                let burden = burden(of, *nodes, detect_s);
                print(&format!(
                    "{nodes:>8} {:>12} {:>12} {:>26.0} {:>14.0} {:>22.1} %",
                    ms(told.wait_p50_ns),
                    ms(told.wait_p99_ns),
                    burden.connections,
                    burden.connections_in_all,
                    burden.background * 100.0,
                ));
                let too_slow = || {
                    let most_ns = ServiceLevel::default().excess_ns;
                    let slow = told.excess_p99_ns.is_none_or(|ns| ns > most_ns);
                    slow.then(|| "tasks take 50 ms more than their work, at the 99th percentile".to_owned())
                };
                stopped = stopped.or_else(|| Some((*nodes, burden.stops.or_else(too_slow)?)));
            }
            print(&match stopped {
                Some((nodes, why)) => format!("   stops at {nodes} nodes or before: {why}"),
                None => "   does not stop up to there, as far as the terms tell".to_owned(),
            });
        }
        Ok(())
    }

    fn contenders<'a>(&self, terms: &'a Terms) -> anyhow::Result<Vec<(&'a str, &'a OfContender)>> {
        if self.contender.is_empty() {
            return Ok(terms.contenders.iter().map(|(name, of)| (name.as_str(), of)).collect());
        }
        let found = self.contender.iter().map(|name| {
            let found = terms.contenders.get_key_value(name).map(|(name, of)| (name.as_str(), of));
            let known = terms.contenders.keys().map(String::as_str);
            found.with_context(|| {
                format!("--contender: the terms tell nothing of `{name}`{}", did_you_mean(name, known))
            })
        });
        found.collect()
    }

    /// Predictions beside what was measured, by the models of nodes and servers that share the machine.
    fn validate(&self, terms: &Terms) -> anyhow::Result<u8> {
        let mut all_within = true;
        for batch in batches(&self.validate)? {
            let manifest = &batch.manifest;
            let scenario = Scenario::parse(&manifest.scenario, &manifest.spec_toml, &[])?;
            let (nodes, name) = (scenario.spec.nodes, batch_name(&batch));
            let held_out =
                if terms.batches.contains(&name) { "the terms were fitted to it" } else { "held out" };
            print(&format!(
                "\n{name}: {held_out}\n{:<16} {:<12} {:>12} {:>12} {:>9}  within",
                "contender", "figure", "measured", "predicted", "ratio"
            ));
            let carried = batch.carried();
            for row in batch.contenders() {
                let Some(of) = terms.contenders.get(&row.contender) else { continue };
                let plan = measured_plan(&scenario, &batch, row)?;
                let costs = of.costs(u32::from(nodes), Some(terms.processors));
                let told = foretell(&plan, &costs, &Owners::new(of.route, nodes));
                let measured = |quantile| row.latency.wait.quantile_ns(quantile).map(|ns| ns as f64 / 1e6);
                let predicted = |ns: Option<u64>| ns.map(|ns| ns as f64 / 1e6);
                let Foretold { wait_p50_ns, wait_p99_ns, .. } = told;
                let mut figures = vec![
                    ("wait p50 ms", measured(0.5), predicted(wait_p50_ns), 1.0 + MEDIAN_BOUND),
                    ("wait p99 ms", measured(0.99), predicted(wait_p99_ns), TAIL_BOUND),
                ];
                let carries = carried.iter().find(|carried| carried.contender == row.contender);
                if let Some(per_s) = carries.and_then(|carried| carried.per_s()) {
                    let size = Size { nodes, resources: None, rate_per_s: None, duration_s: 1.0 };
                    let level = manifest.service_level.unwrap_or_default();
                    let capacity =
                        capacity(&scenario, of, size, Some(terms.processors), &level, manifest.seed)?;
                    let predicted = match capacity {
                        Capacity::Is(per_s) => Some(per_s),
                        Capacity::AtLeast(_) | Capacity::Below(_) => None,
                    };
                    figures.push(("carries /s", Some(per_s), predicted, 1.0 + MEDIAN_BOUND));
                }
                for (figure, measured, predicted, bound) in figures {
                    let ratio = measured.zip(predicted).map(|(measured, predicted)| predicted / measured);
                    let within = ratio.is_some_and(|ratio| (1.0 / bound..=bound).contains(&ratio));
                    all_within &= within;
                    let number =
                        |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
                    print(&format!(
                        "{:<16} {figure:<12} {:>12} {:>12} {:>9}  {}",
                        row.contender,
                        number(measured),
                        number(predicted),
                        number(ratio),
                        if within { "yes" } else { "no" },
                    ));
                }
            }
        }
        Ok(if all_within { 0 } else { NOT_PROVEN })
    }
}

/// The batches of these directories: each is one, or has one in each of its folders, as a sweep has.
fn batches(directories: &[PathBuf]) -> anyhow::Result<Vec<Comparison>> {
    let mut batches = Vec::new();
    for directory in directories {
        if directory.join("manifest.json").is_file() {
            batches.push(reports::load(directory)?);
            continue;
        }
        let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
        let mut cells: Vec<PathBuf> =
            entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
        cells.retain(|cell| cell.join("manifest.json").is_file());
        cells.sort();
        ensure!(!cells.is_empty(), "{}: no batch, and none in its folders", directory.display());
        for cell in cells {
            batches.push(reports::load(&cell)?);
        }
    }
    Ok(batches)
}

fn tell_terms(terms: &Terms) {
    print(&format!(
        "Terms of {} with {} processors, from {}",
        terms.machine,
        terms.processors,
        terms.batches.join("; ")
    ));
    print(&format!("{:<16} {:<17} {:>14}  {:<9} {}", "contender", "term", "value", "source", "of"));
    for (name, of) in &terms.contenders {
        for (term, value) in of.all() {
            print(&format!(
                "{name:<16} {term:<17} {:>14.1}  {:<9} {}",
                value.value,
                value.source.name(),
                value.of
            ));
        }
    }
}

fn ms(ns: Option<u64>) -> String {
    ns.map_or("–".to_owned(), |ns| format!("{:.3}", ns as f64 / 1e6))
}

fn per_s(capacity: Capacity) -> String {
    match capacity {
        Capacity::Is(per_s) => format!("{per_s:.0}"),
        Capacity::AtLeast(per_s) => format!("> {per_s:.0}"),
        Capacity::Below(per_s) => format!("< {per_s:.0}"),
    }
}

/// The most memory that this process has held, in bytes.
fn most_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
