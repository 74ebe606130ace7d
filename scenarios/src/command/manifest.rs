//! What is told of a batch beside its runs.

use std::collections::BTreeMap;

use harness::engine::WhenBusy;
use harness::model::Plan;
use harness::record::{Manifest, PlanFacts, Role, SCHEMA_VERSION};
use harness::servers::{self, Topology};

use super::harness_cost::harness_cost;
use crate::batch::{Batch, Pinning, Ran};
use crate::calibration;
use crate::contenders::{Contender, PORT_ECHO};
use crate::port::{self, Client};
use crate::workload::ControlTwin;

/// The manifest of a batch that is about to begin.
pub(super) async fn manifest(batch: &Batch, started: jiff::Timestamp) -> anyhow::Result<Manifest> {
    let spec = &batch.scenario.spec;
    let harness = harness_cost().await?;
    let port = port_cost(batch).await?;
    let plan = &batch.plan(1)?;
    let clients = env!("LOCKBENCH_CLIENTS").split(',').filter_map(|client| client.split_once('='));
    let mut machine = harness::engine::machine::survey(&std::env::temp_dir());
    if let Some(pinning) = &batch.pinning {
        // This process has been given its share of them.
        machine.cores = pinning.count() as u32;
    }
    let calibration = batch.store.as_ref().and_then(|store| calibration::known(store, &machine.class()));
    let machine_rtt_ns = machine.loopback_rtt_p50_ns;
    Ok(Manifest {
        schema_version: SCHEMA_VERSION,
        scenario: spec.name.clone(),
        summary: spec.summary.clone(),
        spec_toml: batch.scenario.text.clone(),
        seed: batch.seed,
        started_utc: started.to_string(),
        command: std::env::args().map(|argument| redact_argument(&argument)).collect(),
        lockbench_version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("LOCKBENCH_COMMIT").map(str::to_owned),
        clients: clients.map(|(name, version)| (name.to_owned(), version.to_owned())).collect(),
        programs: programs(batch)?,
        machine,
        pinning: batch.pinning.as_ref().map(Pinning::facts),
        plan: plan_facts(batch, plan),
        blocks: spec.blocks,
        contenders: batch.contenders.iter().map(|contender| contender.name.to_owned()).collect(),
        reference: batch.reference().map(str::to_owned),
        looks: batch.looks.as_ref().map(|looks| looks.at().to_vec()).unwrap_or_default(),
        calibration,
        service_level: batch.level,
        prices: Some(spec.prices.with_assumed(match spec.topology {
            Topology::Single => 1,
            Topology::Copied => 2,
            Topology::Replicated => 3,
            Topology::Independent => 5,
        })),
        cell: batch.scenario.cell.clone(),
        harness,
        skipped: batch.skipped.clone(),
        failed: Vec::new(),
        threats: threats(batch).into_iter().chain(port_told(batch, port, machine_rtt_ns)).collect(),
        end: None,
    })
}

/// What each program of somebody else is made of.
fn programs(batch: &Batch) -> anyhow::Result<BTreeMap<String, String>> {
    let mut programs = BTreeMap::new();
    for contender in &batch.contenders {
        if let Some(digest) = contender.design.client().map(Client::digest).transpose()?.flatten() {
            programs.insert(contender.name.to_owned(), digest);
        }
    }
    Ok(programs)
}

/// What the port costs, where somebody speaks over it.
async fn port_cost(batch: &Batch) -> anyhow::Result<Option<port::Cost>> {
    let echo = batch.contenders.iter().find(|contender| contender.name == PORT_ECHO);
    match echo.and_then(|echo| echo.design.client()) {
        Some(client) => Ok(Some(port::cost(client.clone()).await?)),
        None => Ok(None),
    }
}

/// The same, beside those who pay it.
fn port_told(batch: &Batch, cost: Option<port::Cost>, tcp_ns: Option<u64>) -> Option<String> {
    let cost = cost?;
    let speaks = |one: &&Contender| one.role == Role::Contender && one.design.client().is_some();
    let who: Vec<&str> = batch.contenders.iter().filter(speaks).map(|one| one.name).collect();
    let us = |ns: u64| format!("{:.0} µs", ns as f64 / 1e3);
    let tcp = tcp_ns.map(|ns| format!(" (64 bytes over loopback TCP: {})", us(ns))).unwrap_or_default();
    Some(format!(
        "Asked over the port, which others are not: {}. A round trip over its pipe took {} at the median{tcp}, and it carried {:.0} pairs of acquire and release \
         a second; `{PORT_ECHO}` shows what that comes to under this load.",
        if who.is_empty() { "nobody".to_owned() } else { who.join(", ") },
        us(cost.round_trip_p50_ns),
        cost.pairs_per_s
    ))
}

/// Of a batch that has run: what only its runs could tell.
///
/// # Errors
/// When the plan that was the same for all cannot be drawn again.
pub(super) fn as_it_was(batch: &Batch, ran: &Ran, manifest: &mut Manifest) -> anyhow::Result<()> {
    if let Some(rate) = ran.rate_per_s {
        manifest.plan = plan_facts(batch, &*batch.plan_at(rate, 1)?);
        // The rate is one that all carry.
        manifest.plan.saturating = false;
    }
    if let Some(blocks) = ran.decided {
        // What was not run was not needed.
        manifest.blocks = blocks;
    }
    if let Some(blocks) = ran.blocks {
        // What was not run of them was not needed, or there was no time.
        if batch.level.is_some() {
            let without =
                if blocks < 3 { ": too few for an interval, so that nothing is compared" } else { "" };
            let wanted = manifest.blocks;
            manifest
                .threats
                .push(format!("The budget was spent after {blocks} of {wanted} blocks{without}."));
        }
        manifest.blocks = blocks;
    }
    Ok(())
}

fn plan_facts(batch: &Batch, plan: &Plan) -> PlanFacts {
    let twin = ControlTwin::of(plan);
    let mut kinds: Vec<_> = plan.kinds.iter().map(|kind| (kind.clone(), 0)).collect();
    for task in plan.tasks.iter() {
        kinds[usize::from(task.kind)].1 += 1;
    }
    PlanFacts {
        nodes: u32::from(plan.settings.nodes),
        tasks: plan.tasks.len() as u64,
        steps: plan.tasks.steps() as u64,
        window_ns: plan.settings.window_ns,
        kinds,
        busiest: plan.loads().first().map(|(resource, load)| (resource.to_string(), *load)),
        saturating: batch.scenario.spec.saturating,
        unlimited: plan.is_unlimited(),
        closed: plan.closed,
        overlaps_predicted: plan.overlaps_without_exclusion(),
        control_fold: twin.fold,
        control_hold_ns: twin.hold_ns,
    }
}

/// A password may stand in any URL on the command line.
fn redact_argument(argument: &str) -> String {
    match argument.split_once("://") {
        Some(_) => servers::redact(argument),
        None => argument.to_owned(),
    }
}

fn threats(batch: &Batch) -> Vec<String> {
    let mut threats = vec![
        match batch.pinning {
            None => "Driver, nodes and server share one machine: its processors are contended, and no network lies between.",
            Some(_) => "Driver, nodes and server share one machine: each has processors of its own, but memory, caches and disk are contended, and no network lies between.",
        }
        .to_owned(),
        match batch.scenario.spec.topology {
            Topology::Single => "Servers are single members; replication adds round trips and failure modes that this batch does not show.",
            Topology::Independent => "All five servers are on this machine: whatever hits it hits all of them, which is what they are five for.",
            Topology::Copied => "A server and its copy are on this machine: the copy is behind by as much as a fault has it, and by next to nothing otherwise.",
            Topology::Replicated => "All three members of a server are on this machine: its round trips between members cost next to nothing, its flushes share one disk.",
        }
        .to_owned(),
    ];
    if harness::engine::machine::is_virtual() {
        threats.push(
            "This is a virtual machine: what its host does for others falls on wall time, which on hosted runners strays by tens of per \
             cent from one run to the next. The processor time of a task strays less; `lockbench calibrate` says by how much."
                .to_owned(),
        );
    }
    if batch.scenario.spec.faults.is_empty() {
        threats.push(
            "No faults were injected: nothing here says what happens when a process pauses or a link breaks."
                .to_owned(),
        );
    }
    if batch.scenario.spec.blocks < 5 {
        threats.push(format!(
            "{} block{}: the spread over blocks is an indication, not an interval.",
            batch.scenario.spec.blocks,
            if batch.scenario.spec.blocks == 1 { "" } else { "s" }
        ));
    }
    if batch.scenario.spec.when_busy != WhenBusy::Admit {
        threats.push(
            "Agents turn an overlap away or let it wait (when_busy): races that a mechanism lets through do not show."
                .to_owned(),
        );
    }
    if !batch.skipped.is_empty() {
        threats.push(format!("{} contender(s) of the scenario did not take part.", batch.skipped.len()));
    }
    threats
}
