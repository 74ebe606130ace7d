//! `lockbench explain`: what a scenario would run, in words.

use std::collections::BTreeMap;

use clap::Args;
use harness::judge::checks;
use harness::model::{Mode, Plan};
use harness::record::{Expected, Role};
use tokio_util::sync::CancellationToken;

use super::batch::BatchArgs;
use super::how::{Aim, about_s, span};
use super::print::print;
use super::verb::{Example, Group, Work};
use crate::batch::Batch;
use crate::contenders::{Contender, Proof};
use crate::spec::{Duration, Placement, ScenarioSpec, StepSpec, named};

/// Say in words what `run` would do: the load, the faults, who takes part, what is foretold, how long it takes. Runs nothing.
#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    batch: BatchArgs,
}

impl Work for Explain {
    const NAME: &str = "explain";
    const GROUP: Group = Group::Look;
    const EXAMPLES: &[Example] = &[
        ("A scenario of the catalogue", "lockbench explain holder-pause"),
        ("Your own, under another load", "lockbench explain mine.toml --rate 500 --nodes 9"),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        let Self { batch } = self;
        anyhow::ensure!(
            batch.resumes().is_none(),
            "--resume: a batch that has begun is told by `lockbench report`"
        );
        let mut grid = batch.grid(Aim::default())?;
        let (seed, cells) = (batch.how().seed(&grid.cells[0]), grid.cells.len());
        let first = grid.cells.swap_remove(0);
        let origin = first.origin.clone();
        let asked = batch.how().asked(first, seed, Aim::default(), &CancellationToken::new()).await?;
        let plan = asked.plan(1)?;
        let spec = &asked.scenario.spec;
        print(&format!("{} ({origin})\n{}\n", spec.name, spec.summary));
        if cells > 1 {
            tell(
                "sweep",
                &format!("{cells} cells, each a batch; this is the one of {}", named(&asked.scenario.cell)),
            );
        }
        load(spec, &plan, seed);
        faults(spec, &plan);
        agents(spec);
        who(&asked);
        foretold(&asked);
        takes(&asked, cells);
        Ok(0)
    }
}

/// A subject, and a line about it.
fn tell(subject: &str, line: &str) {
    print(&format!("{subject:<12}{line}"));
}

/// A subject, and lines about it.
fn tell_all(subject: &str, lines: impl IntoIterator<Item = String>) {
    for (place, line) in lines.into_iter().enumerate() {
        tell(if place == 0 { subject } else { "" }, &line);
    }
}

fn load(spec: &ScenarioSpec, plan: &Plan, seed: u64) {
    let nodes = match spec.placement {
        Placement::Single => "all in one process",
        Placement::Process => "each a process of its own",
        Placement::Remote => "each a process of its own, at hosts that join",
    };
    let window = span(plan.settings.window_ns as f64 / 1e9);
    let tasks = plan.tasks.len();
    let what = match plan.closed {
        None => format!("{tasks} tasks in {window}"),
        Some(closed) => format!(
            "a closed loop of {} callers, each of whom thinks for {} on the mean after each task, for {window} or until {tasks} tasks are \
             done",
            closed.callers,
            span(closed.think_ns as f64 / 1e9)
        ),
    };
    tell("load", &format!("{what} on {} nodes, {nodes}; as seed {seed} draws them", spec.nodes));
    let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
    for task in plan.tasks.iter() {
        *counts.entry(task.kind).or_default() += 1;
    }
    for (task, kind) in spec.tasks.iter().zip(0_u16..) {
        let count = counts.get(&kind).copied().unwrap_or(0);
        tell("", &format!("{count:>8} {}: {}", task.name.get_ref(), step(&task.step, spec)));
    }
    for (kind, resource) in &spec.resources {
        let level = match resource.level {
            0 => "without limit".to_owned(),
            1 => "one at a time".to_owned(),
            level => format!("{level} at a time"),
        };
        let skew = match resource.zipf > 0.0 {
            true => format!(", by Zipf's law with exponent {}", resource.zipf),
            false => String::new(),
        };
        tell("keys", &format!("{} of kind {}, {level}{skew}", spec.count(*kind), kind.name()));
    }
    if let Some((resource, load)) = plan.loads().first() {
        tell(
            "",
            &format!("the busiest, {resource}, is in use {:.0} % of the time if nobody waits", load * 100.0),
        );
    }
    tell(
        "waits",
        &format!(
            "each task until {} after it was due, then it counts as timed out",
            span(spec.deadline_ms / 1e3)
        ),
    );
}

/// `vm for 20 ms, in it host for 5 ms`.
fn step(step: &StepSpec, spec: &ScenarioSpec) -> String {
    let hold = match (spec.hold_ms, step.hold_s) {
        (Some(ms), _) => span(ms / 1e3),
        (None, Duration::Constant(s)) => span(s / spec.time_scale),
        (None, Duration::LogNormal([median, p99])) => {
            format!("{} (one in a hundred {})", span(median / spec.time_scale), span(p99 / spec.time_scale))
        }
    };
    let shared = if step.mode == Mode::Shared { " (shared)" } else { "" };
    let create = if step.create_s.is_some() { ", made by whoever comes first" } else { "" };
    let inside: Vec<String> = step.steps.iter().map(|child| self::step(child, spec)).collect();
    let inside =
        if inside.is_empty() { String::new() } else { format!(", in it {}", inside.join(", then ")) };
    format!("{}{shared} for {hold}{create}{inside}", step.resource.get_ref().name())
}

fn faults(spec: &ScenarioSpec, plan: &Plan) {
    if spec.faults.is_empty() {
        tell("faults", "none");
    }
    for fault in &spec.faults {
        let (verb, aim) = (fault.fault(), fault.aim());
        let count =
            plan.faults.iter().filter(|planned| planned.verb == verb && Some(planned.target) == aim).count();
        let least = fault.least.unwrap_or(spec.least_faults);
        tell(
            "faults",
            &format!(
                "{verb} {} for {}, {count} times a run; {least} must take effect, else nothing is proven",
                fault.target.get_ref(),
                span(fault.for_ms / 1e3)
            ),
        );
    }
    tell(
        "lease",
        &format!("{}: time to live, session timeout and suspicion alike", span(spec.detect_ms / 1e3)),
    );
}

fn agents(spec: &ScenarioSpec) {
    let fencing =
        if spec.fencing { "refuse writes under a token that has been overtaken" } else { "take every write" };
    tell("agents", fencing);
}

fn who(batch: &Batch) {
    let server = |contender: &Contender| match contender.server {
        None => "no server".to_owned(),
        Some(kind) if batch.attached.contains_key(&kind) => format!("{}, at your address", kind.title()),
        Some(kind) => format!("{}, a private one", kind.title()),
    };
    let taking_part = of(batch, Role::Contender);
    tell_all(
        "takes part",
        taking_part.map(|contender| format!("{} ({})", contender.name, server(contender))),
    );
    tell_all("left out", batch.skipped.iter().map(|skip| format!("{}: {}", skip.contender, skip.reason)));
    let proves = |contender: &Contender| match contender.proves() {
        Some(Proof::Measuring) => "must take as long as it is programmed to",
        Some(Proof::Checks) => "must be caught letting two in",
        Some(Proof::Cost) => "tells what the port costs",
        None => "for comparison",
    };
    let controls = of(batch, Role::Control);
    tell_all("controls", controls.map(|contender| format!("{}: {}", contender.name, proves(contender))));
}

fn of(batch: &Batch, role: Role) -> impl Iterator<Item = &Contender> {
    batch.contenders.iter().filter(move |contender| contender.role == role)
}

fn foretold(batch: &Batch) {
    let scenario = &batch.scenario;
    let of_one = |contender: &Contender| {
        let checks = |answer: Expected| {
            let expected =
                |check: &str| scenario.expected(check, contender.name, contender.class(), None).verdict;
            let checks = checks::ALL.iter().map(|check| check.name).filter(|check| expected(check) == answer);
            checks.collect::<Vec<_>>().join(", ")
        };
        match (checks(Expected::Violated), checks(Expected::Either)) {
            (violated, _) if !violated.is_empty() => {
                Some(format!("{} will violate {violated}", contender.name))
            }
            (_, either) if !either.is_empty() => Some(format!("{} may violate {either}", contender.name)),
            _ => None,
        }
    };
    let rest = "of all else, that every check holds; anything else is exit code 3".to_owned();
    tell_all("foretold", of(batch, Role::Contender).filter_map(of_one).chain([rest]));
}

fn takes(batch: &Batch, cells: usize) {
    let spec = &batch.scenario.spec;
    let runs = batch.contenders.len() * spec.blocks as usize * cells;
    let each = if spec.blocks == 1 { "one".to_owned() } else { spec.blocks.to_string() };
    let all = span(about_s(batch) * cells as f64);
    tell("takes", &format!("about {all}: {runs} runs, {each} of each"));
}
