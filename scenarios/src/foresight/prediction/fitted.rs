//! From measured batches to terms.

use anyhow::{Context as _, ensure};
use harness::model::Plan;
use harness::record::RunRecord;
use reports::{Comparison, Row};

use super::foretold::{Owners, foretell};
use super::terms::{OfContender, RouteWord, Source, Term, Terms};
use crate::contenders;
use crate::spec::Scenario;
use crate::workload::{self, block_seed};

/// File descriptors that a process may have where nobody has lowered that.
const DESCRIPTORS: f64 = 1_048_576.0;

/// Connections that a server takes where nothing else is known of it.
const CONNECTIONS: f64 = 10_000.0;

/// Halvings of the time of a message.
const HALVINGS: u32 = 24;

/// Adds what a batch tells of those who took part and whose steps wait at a server or an owner.
///
/// # Errors
/// When its scenario is none any more.
pub fn fit(terms: &mut Terms, batch: &Comparison) -> anyhow::Result<()> {
    let manifest = &batch.manifest;
    let scenario = Scenario::parse(&manifest.scenario, &manifest.spec_toml, &[])?;
    let name = batch_name(batch);
    ensure!(
        scenario.spec.faults.is_empty(),
        "{name}: what something breaks in tells nothing of the usual costs"
    );
    let bench_ns = batch.controls().find(|row| row.contender == "noop").and_then(|row| median(row, own_ns));
    let bench_ns = bench_ns
        .with_context(|| format!("{name}: without the control noop nothing is known of the bench"))?;
    for row in batch.contenders() {
        let plan = measured_plan(&scenario, batch, row)?;
        if let Some(of) = of_row(terms, batch, row, &plan, bench_ns) {
            terms.contenders.insert(row.contender.clone(), of);
        }
    }
    terms.batches.push(name);
    Ok(())
}

/// How the terms call a batch.
#[must_use]
pub fn batch_name(batch: &Comparison) -> String {
    let manifest = &batch.manifest;
    format!("{}, {} nodes, seed {}", manifest.scenario, manifest.plan.nodes, manifest.seed)
}

/// The plan of the first block of a row: at its own rate, where the batch looked for capacities.
///
/// # Errors
/// When it cannot be drawn again.
pub fn measured_plan(scenario: &Scenario, batch: &Comparison, row: &Row) -> anyhow::Result<Plan> {
    let rate_per_s = row.records.iter().find_map(|record| record.rate_per_s);
    let at_rate = rate_per_s.map(|rate| scenario.at_rate(rate));
    let mut scenario = at_rate.unwrap_or_else(|| scenario.clone());
    scenario.spec.saturating = true;
    Ok(workload::draw(&scenario, block_seed(batch.manifest.seed, 1))?)
}

/// The middle one of its valid runs.
fn median(row: &Row, figure: impl Fn(&RunRecord) -> Option<f64>) -> Option<f64> {
    let valid = row.records.iter().filter(|record| record.invalid.is_empty());
    let mut all: Vec<f64> = valid.filter_map(figure).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

/// Processor time of driver and nodes, a grant.
fn own_ns(record: &RunRecord) -> Option<f64> {
    (record.grants > 0).then(|| record.process_cpu_ns as f64 / record.grants as f64)
}

fn of_row(terms: &Terms, batch: &Comparison, row: &Row, plan: &Plan, bench_ns: f64) -> Option<OfContender> {
    use Source::{Assumed, Fitted, Measured};
    let contender = contenders::all().into_iter().find(|contender| contender.name == row.contender)?;
    let route = match (contender.design.has_ring(), contender.server) {
        (true, _) => RouteWord::Owner,
        (false, Some(_)) => RouteWord::Lock,
        (false, None) => return None,
    };
    let (nodes, window_s) = (f64::from(plan.settings.nodes), plan.settings.window_ns as f64 / 1e9);
    let server_ns = median(row, |record| {
        let grants = (record.grants > 0).then_some(record.grants as f64)?;
        Some(record.load_cpu_ns()? as f64 / grants / 2.0)
    });
    let renewals = median(row, |record| Some(record.operations?.renewal as f64 / nodes / window_s));
    let connections = median(row, |record| Some(record.peak.connections? as f64 / nodes));
    let node_ns = (median(row, own_ns)? - bench_ns).max(0.0);
    let known = |value: Option<f64>, of: &str, otherwise: f64, why: &str| match value {
        Some(value) => Term::new(value, Measured, of),
        None => Term::new(otherwise, Assumed, why),
    };
    let server_ns = known(server_ns, "its processor time a grant, halved", 0.0, "it has no server");
    let carried = batch.carried().into_iter().find(|carried| carried.contender == row.contender);
    let carried = carried.filter(|carried| carried.limited.is_none()).and_then(|carried| carried.per_s());
    let server_width = match carried.filter(|_| server_ns.value > 0.0) {
        Some(per_s) => {
            // Where the server is what limits it.
            let width = (per_s * 2.0 * server_ns.value / 1e9).round().clamp(1.0, f64::from(terms.processors));
            Term::new(width, Fitted, "what it carried, times the work for it")
        }
        None => {
            let before = terms.contenders.get(&row.contender).map(|before| before.server_width.clone());
            before.unwrap_or_else(|| Term::new(1.0, Assumed, "the least that there can be"))
        }
    };
    let (most, why) = match route {
        RouteWord::Lock => (CONNECTIONS, "as many as most servers are set to; its own setting tells"),
        RouteWord::Owner => (DESCRIPTORS, "file descriptors of a process, where nobody has lowered them"),
    };
    let mut of = OfContender {
        route,
        node_ns: Term::new(node_ns, Measured, "processor time a grant beside that of noop"),
        bench_ns: Term::new(bench_ns, Measured, "processor time a grant of noop"),
        server_ns,
        server_width,
        one_way_ns: Term::new(0.0, Fitted, "such that the median wait is as measured"),
        renewals_per_s: known(renewals, "renewals of a node", 0.0, "it has no lease"),
        connections: known(connections, "connections at one time, a node", 1.0, "one session a node"),
        most_connections: Term::new(most, Assumed, why),
    };
    let measured_ns = median(row, |record| record.latency.delay_ns().map(|ns| ns as f64))?;
    of.one_way_ns.value = one_way_ns(terms, &of, plan, measured_ns);
    Some(of)
}

/// With messages that take so long the model waits as long as was measured, at the median; 0 where it waits longer anyway.
fn one_way_ns(terms: &Terms, of: &OfContender, plan: &Plan, measured_ns: f64) -> f64 {
    let mut costs = of.costs(u32::from(plan.settings.nodes), Some(terms.processors));
    let owners = Owners::new(of.route, plan.settings.nodes);
    let (mut least_ns, mut most_ns) = (0_u64, measured_ns as u64);
    for _ in 0..HALVINGS {
        let middle_ns = least_ns.midpoint(most_ns);
        costs.one_way_ns = middle_ns;
        let waits_ns = foretell(plan, &costs, &owners).wait_p50_ns;
        let too_long = waits_ns.is_none_or(|ns| ns as f64 > measured_ns);
        if too_long {
            most_ns = middle_ns
        } else {
            least_ns = middle_ns
        }
        if most_ns - least_ns < 1_000 {
            break;
        }
    }
    least_ns as f64
}
