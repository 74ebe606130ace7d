//! `lockbench check`: judges stored histories.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use harness::engine::monotonic_ns;
use harness::judge::linearizability::read::{self, LockObject, ReadError};
use harness::judge::linearizability::{
    Answer, Budget, FailedRelease, Format, History, Judged, ModelKind, judge,
};
use harness::model::Plan;
use harness::record::SCHEMA_VERSION;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::print::print;
use super::verb::{Example, Group, Work};
use crate::spec::Scenario;
use crate::workload;

/// For shrinking a violation to what shows it: a second or two.
const WITNESS: Budget = Budget { steps: 50_000_000, bytes: 256 << 20 };

/// Judge stored histories: is there an order of the operations that explains every answer (linearizability)?
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Check {
    /// What the history is of: register, kv, mutex, fenced-mutex, semaphore=N. Guessed from each file's operations
    /// where not given; the guess is told on standard error.
    #[arg(long, value_name = "MODEL")]
    model: Option<ModelKind>,
    /// Whether a lock whose release failed is still held, or released with the failed release at the latest.
    #[arg(long, value_name = "held|released", default_value = "held")]
    failed_release: FailedRelease,
    /// Histories: Jepsen log lines, EDN maps, or the history.ndjson.zst of a run, in its batch directory.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

const HELP: &str = "\
One line a file: FILE<tab>holds|violated|unknown<tab>milliseconds, then, indented, the smallest excerpt that shows the \
violation. The milliseconds are for reading and deciding, not for shrinking the excerpt. `unknown`: nothing to judge, or \
the search gave up after 2·10⁹ steps or 1 GiB for one object.

Each key (kv) and each lock is judged for itself. A register begins as nil, a text as empty, a lock as free. An operation \
without an answer, or with :info, may have happened at any time after its call, or never; a :fail did not happen, except \
that a cas that fails without an :error saw another value. For locks, overlaps of [acquire ok, release called] are \
counted as well, on standard error.

Exit codes: 2 a file cannot be read (the others are still judged), 3 a history is violated, 5 one is unknown, 0 all hold; \
in this order.";

impl Work for Check {
    const NAME: &str = "check";
    const GROUP: Group = Group::Judge;
    const EXAMPLES: &[Example] = &[
        ("A history of another program", "lockbench check history.edn"),
        (
            "A run of ours, as locks with tokens",
            "lockbench check --model fenced-mutex out/smoke-20260101T120000Z/1-etcd-cas/history.ndjson.zst",
        ),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        Ok(check(&self))
    }
}

/// The worst of what the files gave, as exit code.
fn check(args: &Check) -> u8 {
    let (mut unreadable, mut violated, mut unknown) = (false, false, false);
    for path in &args.files {
        let start_ns = monotonic_ns();
        let (history, kind, judged) = match judge_file(path, args) {
            Ok(all) => all,
            Err(error) => {
                unreadable = true;
                eprintln!("lockbench: {error:#}");
                continue;
            }
        };
        let ms = (monotonic_ns() - start_ns) as f64 / 1e6;
        eprintln!("{}: {}", path.display(), remark(&history, kind, &judged, args));
        let (verdict, excerpt) = match &judged.answer {
            Answer::Holds => ("holds", Vec::new()),
            Answer::Violated(violation) => {
                violated = true;
                ("violated", violation.describe(&history, WITNESS))
            }
            Answer::Unknown { reason } => {
                unknown = true;
                ("unknown", vec![reason.clone()])
            }
        };
        print(&format!("{}\t{verdict}\t{ms:.3}", path.display()));
        excerpt.iter().for_each(|line| print(&format!("  {line}")));
    }
    match (unreadable, violated, unknown) {
        (true, ..) => 2,
        (_, true, _) => 3,
        (_, _, true) => 5,
        _ => 0,
    }
}

fn judge_file(path: &Path, args: &Check) -> anyhow::Result<(History, ModelKind, Judged)> {
    let at = |error: ReadError| anyhow!("{}, line {}: {}", path.display(), error.line, error.what);
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let history = match read::format(&bytes).map_err(at)? {
        Format::Events => {
            let events = read::events(&bytes).map_err(at)?;
            let object = match args.model {
                Some(ModelKind::Semaphore(level)) => LockObject::Resource { level },
                _ => LockObject::Slot,
            };
            read::locks(&events, &plan_of(path)?, object).map_err(at)?
        }
        format => read::clients(&bytes, format).map_err(at)?,
    };
    let kind = args.model.unwrap_or_else(|| ModelKind::guess(&history));
    let judged = judge(&history, kind, args.failed_release, Budget::default());
    let judged = judged.map_err(|(line, what)| at(ReadError { line, what }))?;
    Ok((history, kind, judged))
}

fn remark(history: &History, kind: ModelKind, judged: &Judged, args: &Check) -> String {
    let guessed = if args.model.is_none() { " (guessed)" } else { "" };
    let mut remark = format!(
        "{}, judged as {kind}{guessed}, {} operations on {} objects",
        history.format, judged.operations, judged.objects
    );
    if let Some(overlaps) = judged.overlaps {
        let reading = match args.failed_release {
            FailedRelease::Held => "held",
            FailedRelease::Released => "released",
        };
        remark.push_str(&format!(
            ", a failed release counts as {reading}; {} holds [acquire ok, release called], {} overlaps",
            overlaps.holds, overlaps.overlaps
        ));
    }
    remark
}

/// What must be known of a batch to draw its plans again.
#[derive(Debug, Deserialize)]
struct Drawn {
    schema_version: u32,
    spec_toml: String,
    seed: u64,
}

/// Which plan a run had.
#[derive(Debug, Deserialize)]
struct Had {
    block: u32,
    plan_digest: String,
    rate_per_s: Option<f64>,
}

/// Draws the plan of a run again, from the manifest and the record beside its history.
fn plan_of(history: &Path) -> anyhow::Result<Plan> {
    const REMEDY: &str = "judge a history where its run left it: out/BATCH/RUN/history.ndjson.zst";
    let run = history.canonicalize()?.parent().map(Path::to_owned).context(REMEDY)?;
    let had: Had = json(&run.join("record.json")).context(REMEDY)?;
    let manifest = run.parent().context(REMEDY)?.join("manifest.json");
    let drawn: Drawn = json(&manifest).context(REMEDY)?;
    if drawn.schema_version != SCHEMA_VERSION {
        let found = drawn.schema_version;
        bail!("{} has schema_version {found}; this lockbench reads {SCHEMA_VERSION}", manifest.display());
    }
    let scenario = Scenario::parse(&manifest.display().to_string(), &drawn.spec_toml, &[])?;
    let scenario = had.rate_per_s.map_or(scenario.clone(), |rate| scenario.at_rate(rate));
    let plan = workload::draw(&scenario, workload::block_seed(drawn.seed, had.block))?;
    if plan.digest() == had.plan_digest {
        return Ok(plan);
    }
    // The control without exclusion may have had its twin.
    let twin = workload::ControlTwin::of(&plan).draw(&plan);
    if twin.digest() == had.plan_digest {
        return Ok(twin);
    }
    bail!(
        "the plan of {} cannot be drawn again: this lockbench draws another; use the version that ran it",
        run.display()
    )
}

fn json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not what it should be", path.display()))
}
