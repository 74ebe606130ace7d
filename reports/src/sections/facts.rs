//! Names and values: the bench itself, machine, plan and software.

use std::collections::BTreeSet;

use harness::record::{HostFacts, Pinning};

use crate::Comparison;
use crate::callers;
use crate::format::{self, MISSING, count, duration, duration_or_missing, significant};

/// Names and values of one kind.
pub(crate) struct Facts {
    pub(crate) title: &'static str,
    pub(crate) facts: Vec<(String, String)>,
}

/// The bench's own cost before the first run, and what the plan promises of the controls.
pub(crate) fn bench(comparison: &Comparison) -> Facts {
    let (cost, plan) = (&comparison.manifest.harness, &comparison.manifest.plan);
    let fold = match plan.control_fold {
        0 | 1 => "keys as planned".to_owned(),
        n => format!("keys folded {n} to 1, since the plan alone predicts too few"),
    };
    let fold = match plan.control_hold_ns {
        0 => fold,
        ns => format!("{fold}, and holds of {} at least, since hardly anything is held", duration(ns as f64)),
    };
    let facts = [
        ("CPU per task, one after the other, history included", duration(cost.cpu_per_task_ns as f64)),
        (
            "Paced arrivals, without locks",
            format!(
                "{} tasks/s: {} CPU per task, {} of the timer, start lag p99 {}",
                significant(cost.rate_per_s),
                duration(cost.paced_cpu_per_task_ns as f64),
                duration(cost.timer_cpu_per_task_ns as f64),
                duration(cost.lag_p99_ns as f64)
            ),
        ),
        ("Overlaps predicted without exclusion", format!("{}; {fold}", count(plan.overlaps_predicted))),
    ];
    Facts { title: "The bench itself", facts: facts.map(|(name, value)| (name.to_owned(), value)).into() }
}

/// Who had which processors.
fn pinning(pinning: Option<&Pinning>) -> String {
    let Some(Pinning { driver, members, nodes }) = pinning else {
        return "shared by all: not pinned".to_owned();
    };
    let each = |what: &str, lists: &[String]| match lists {
        [] => String::new(),
        lists => format!("; {what} {}", lists.join(" / ")),
    };
    format!("driver {driver}{}{}", each("server", members), each("nodes", nodes))
}

/// Machine, plan and software of the batch.
pub(crate) fn environment(comparison: &Comparison) -> Vec<Facts> {
    let manifest = &comparison.manifest;
    let (machine, plan) = (&manifest.machine, &manifest.plan);
    let named = |pairs: Vec<(&str, String)>| {
        pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), if value.is_empty() { MISSING.to_owned() } else { value }))
            .collect()
    };
    let kinds: Vec<String> =
        plan.kinds.iter().map(|(kind, tasks)| format!("{} {kind}", count(*tasks))).collect();
    let busiest = plan.busiest.as_ref();
    let mut software = vec![
        ("lockbench".to_owned(), manifest.lockbench_version.clone()),
        ("Commit".to_owned(), manifest.commit.clone().unwrap_or_else(|| MISSING.to_owned())),
    ];
    software
        .extend(manifest.clients.iter().map(|(name, version)| (format!("Client {name}"), version.clone())));
    software.extend(
        manifest
            .programs
            .iter()
            .map(|(name, digest)| (format!("Program of {name}"), format!("digest {digest}"))),
    );
    let mut all = vec![
        Facts {
            title: "Machine",
            facts: named(vec![
                ("Processor", format!("{}, {}", machine.cpu, format::plural(machine.cores.into(), "core"))),
                ("Processors by party", pinning(manifest.pinning.as_ref())),
                ("Memory", format::bytes(machine.memory_bytes)),
                ("System", format!("{}, kernel {}", machine.os, machine.kernel)),
                ("File system of the servers' data", machine.filesystem.clone()),
                (
                    "4 KiB write with fdatasync, p50 / p99",
                    format!(
                        "{} / {}",
                        duration_or_missing(machine.fsync_p50_ns),
                        duration_or_missing(machine.fsync_p99_ns)
                    ),
                ),
                ("Loopback round trip, p50", duration_or_missing(machine.loopback_rtt_p50_ns)),
            ]),
        },
        Facts {
            title: "Plan",
            facts: named(vec![
                ("Tasks", format!("{} with {}", count(plan.tasks), format::plural(plan.steps, "step"))),
                ("Kinds", kinds.join(", ")),
                ("Nodes", count(plan.nodes.into())),
                arrivals(comparison),
                (
                    "Busiest resource",
                    busiest.map_or_else(String::new, |(name, load)| {
                        format!("{name}, load {}", significant(*load))
                    }),
                ),
                ("Seed", manifest.seed.to_string()),
            ]),
        },
        Facts { title: "Software", facts: software },
    ];
    all.extend(hosts(comparison));
    all
}

/// Where nodes were on other machines, and how well their clocks were known; nothing where they were on this one.
fn hosts(comparison: &Comparison) -> Option<Facts> {
    let all: Vec<&HostFacts> = comparison.records().flat_map(|record| &record.hosts).collect();
    let name = |host: &HostFacts| format!("{} ({})", host.name, host.from);
    let names: BTreeSet<String> = all.iter().map(|host| name(host)).collect();
    let told = |of: String| {
        let own = || all.iter().filter(|host| name(host) == of);
        let nodes: BTreeSet<u16> = own().flat_map(|host| host.nodes.iter().copied()).collect();
        let nodes: Vec<_> = nodes.iter().map(u16::to_string).collect();
        let bound_ns = own().filter_map(|host| host.clock_bound_ns).max();
        let clock = format!("clock known to within {}", duration_or_missing(bound_ns));
        (of, format!("nodes {}; {clock}", nodes.join(", ")))
    };
    let facts: Vec<_> = names.into_iter().map(told).collect();
    (!facts.is_empty()).then_some(Facts { title: "Hosts of the nodes", facts })
}

/// How long tasks arrived, or who asked.
fn arrivals(comparison: &Comparison) -> (&'static str, String) {
    let window = duration(comparison.manifest.plan.window_ns as f64);
    match callers::who(comparison) {
        None => ("Arrivals over", window),
        Some(who) => ("Load", format!("{who}, for {window} or until the tasks are done")),
    }
}
