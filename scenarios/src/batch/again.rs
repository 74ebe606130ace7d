//! A run judged once more, from what is stored of it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use harness::model::Plan;
use harness::record::{Evidence, Manifest, RunRecord, StoredFacts, StoredHistory};

use super::drawing::plan_for;
use super::judged::judged;
use crate::contenders::{self, Contender};
use crate::spec::Scenario;
use crate::workload;

/// The record of a run with everything that follows from its history worked out again; what was measured of the machine, and what its
/// bystanders waited, is as it was stored.
///
/// # Errors
/// When no history was kept, it or the facts beside it are not those that the record had, or the plan cannot be drawn again.
pub fn again(manifest: &Manifest, folder: &Path, stored: &RunRecord) -> anyhow::Result<RunRecord> {
    let of = format!("{}, block {}", stored.contender, stored.block);
    let evidence =
        stored.evidence.as_ref().with_context(|| format!("{of}: no digest of its history was stored"))?;
    let found = Evidence::of(folder)
        .with_context(|| format!("{of}: its history cannot be read in {}", folder.display()))?;
    ensure!(
        found.history_sha256 == evidence.history_sha256,
        "{of}: its history is another than the one it was judged by"
    );
    ensure!(
        found.facts_sha256 == evidence.facts_sha256,
        "{of}: its facts are others than those it was judged by"
    );
    let scenario = scenario_of(manifest)?;
    let scenario = stored.rate_per_s.map_or(scenario.clone(), |rate| scenario.at_rate(rate));
    let contender = contender_of(&scenario, &stored.contender)?;
    let plan = Arc::new(workload::draw(&scenario, workload::block_seed(manifest.seed, stored.block))?);
    let plan = plan_for(&contender, &plan);
    ensure!(
        plan.digest() == stored.plan_digest,
        "{of}: this lockbench draws another plan; use the version that ran it"
    );
    let facts = facts_of(folder, plan).with_context(|| format!("{of}: its facts cannot be read"))?;
    let history = StoredHistory(folder.join(Evidence::HISTORY));
    let judged =
        judged(&scenario, &contender, &facts, &history, &stored.latency.bystander, stored.server.as_ref())
            .with_context(|| format!("{of}: its history cannot be read"))?;
    let level = stored.probe.and(manifest.service_level);
    Ok(judged.into_record(stored.clone(), level.as_ref()))
}

fn scenario_of(manifest: &Manifest) -> anyhow::Result<Scenario> {
    let scenario = Scenario::parse("manifest.json", &manifest.spec_toml, &[])?;
    Ok(Scenario { cell: manifest.cell.clone(), ..scenario })
}

fn contender_of(scenario: &Scenario, name: &str) -> anyhow::Result<Contender> {
    let all = contenders::all().into_iter().flat_map(|contender| [contender.again(), contender]);
    let found =
        all.map(|contender| contender.with_members(scenario.spec.membership)).find(|one| one.name == name);
    found.with_context(|| format!("this lockbench has no contender `{name}`"))
}

fn facts_of(folder: &Path, plan: Arc<Plan>) -> anyhow::Result<harness::model::Facts> {
    /// Outages and faults of a run are few.
    const MOST_BYTES: u64 = 64 << 20;
    let path = folder.join(Evidence::FACTS);
    ensure!(path.metadata()?.len() <= MOST_BYTES, "{} is longer than {MOST_BYTES} bytes", path.display());
    let facts: StoredFacts = serde_json::from_slice(&std::fs::read(&path)?)?;
    Ok(facts.of_plan(plan))
}
