//! `lockbench compare`: stored batches side by side.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use harness::record::{Kind, METRICS, Metric};
use reports::{Asked, Side, Versus};

use super::print::print;
use super::verb::{Example, Group, Work};
use crate::batch;
use crate::comparable;
use crate::spec::did_you_mean;

/// Say of stored batches whether they differ, are the same, or whether it cannot be told; needs no server.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Compare {
    /// Batch directories; a folder of such, like runs/, stands for all of them together. The first is what the others are
    /// compared with.
    #[arg(required = true, value_name = "BATCH")]
    batches: Vec<PathBuf>,
    /// Compare every contender with this one of the first batch, instead of with itself there.
    #[arg(long, value_name = "NAME")]
    reference: Option<String>,
    /// Only these, separated by commas; controls only where they are named here.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    contenders: Vec<String>,
    /// By these, separated by commas, instead of goodput, wait_p50 and response_p99, or, of batches of `capacity`, instead of capacity;
    /// all of them make up one family.
    #[arg(long, value_delimiter = ',', value_name = "METRIC", value_parser = metric)]
    metrics: Vec<&'static Metric>,
    /// Compare what is not comparable; everything that is shown says so.
    #[arg(long)]
    force: bool,
    /// Where the folder of the report is made.
    #[arg(long, default_value = "out", value_name = "DIR")]
    out: PathBuf,
}

const HELP: &str = "\
Runs of equal plans (the same scenario and seed) are compared block by block; where no plan is common to both, the blocks \
are two samples, which asks for more of them. The table says which. Of one batch, its contenders are compared with its \
reference.

Answers: better or worse (no difference is less likely than 1 %, for the whole table together, and it is beyond 5 %), the \
same (within 10 %), or cannot tell, with how many blocks might.

Exit codes: 0 compared, 2 the batches differ in scenario, load, durability, topology, versions of servers or machine class.";

impl Work for Compare {
    const NAME: &str = "compare";
    const GROUP: Group = Group::Judge;
    const EXAMPLES: &[Example] = &[
        (
            "Contenders of one batch, beside one of them",
            "lockbench compare out/smoke-20260101T120000Z --reference pg-mux",
        ),
        (
            "Before and after a change",
            "lockbench compare runs/before runs/after --metrics wait_p50,response_p99",
        ),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        let sides = self.batches.iter().map(|batch| Side::load(batch)).collect::<Result<Vec<_>, _>>()?;
        let banner = banner(&sides, self.force)?;
        let Self { reference, contenders, metrics, .. } = self;
        let asked = Asked { reference, contenders, metrics, banner };
        let versus = Versus::new(&sides, &asked).map_err(|why| anyhow!(why))?;
        print(versus.terminal().trim_end());
        let folder = batch::new_directory(&self.out, "compare", jiff::Timestamp::now())?;
        for (file, text) in [("compare.md", versus.markdown()), ("compare.html", versus.html()?)] {
            let file = folder.join(file);
            std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
            print(&format!("report: {}", file.display()));
        }
        Ok(0)
    }
}

fn metric(name: &str) -> Result<&'static Metric, String> {
    let names = || METRICS.iter().map(|metric| metric.name);
    let wrong = || {
        let all = names().collect::<Vec<_>>().join(", ");
        format!("unknown metric{}; there are {all}", did_you_mean(name, names()))
    };
    match Metric::named(name).ok_or_else(wrong)? {
        metric if metric.kind == Kind::Counted => {
            Err("it is counted and has no ratio: ask a gate".to_owned())
        }
        metric => Ok(metric),
    }
}

/// In what the sides differ, as what has to be said on everything that is shown.
///
/// # Errors
/// Where they differ and nobody insisted.
pub(super) fn banner(sides: &[Side], force: bool) -> anyhow::Result<Vec<String>> {
    let mismatches = comparable::mismatches(sides);
    if !mismatches.is_empty() && !force {
        let told: String = mismatches.iter().map(|mismatch| format!("\n  {mismatch}")).collect();
        bail!(
            "these batches are not comparable; they differ in (the first | another):{told}\nRun both with the same scenario, load, \
             settings and servers on the same class of machine, or insist with --force."
        );
    }
    Ok(mismatches.iter().map(ToString::to_string).collect())
}
