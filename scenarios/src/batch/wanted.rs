//! What a batch is to run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use harness::record::difference::Looks;
use harness::record::{MemberFacts, Role, ServiceLevel, Skipped};
use harness::servers::{self, Finding, ServerKind};
use tokio_util::sync::CancellationToken;

use super::pinning::Pinning;
use super::remote::Remote;
use crate::contenders::Contender;
use crate::spec::{Placement, Scenario, ScenarioSpec};

/// What to run.
#[derive(Debug)]
pub struct Batch {
    /// The scenario.
    pub scenario: Scenario,
    /// Who takes part, with a server on this machine or at a URL.
    pub contenders: Vec<Contender>,
    /// Who does not, and why.
    pub skipped: Vec<Skipped>,
    /// Servers that already run, by kind.
    pub attached: BTreeMap<ServerKind, String>,
    /// The programs of private servers that are not those of this machine.
    pub programs: BTreeMap<ServerKind, PathBuf>,
    /// What the members of those that already run were before the first run.
    pub members: BTreeMap<ServerKind, Vec<MemberFacts>>,
    /// So many times as long as before others may wait for answers of those; nothing: whatever they feel.
    pub bystander_bound: Option<f64>,
    /// The seed of everything drawn.
    pub seed: u64,
    /// Where batch directories are made.
    pub out: PathBuf,
    /// The program that is started for each node in a process of its own: lockbench itself.
    pub program: PathBuf,
    /// Processors of their own for the parties of a run; `None`: all share all.
    pub pinning: Option<Pinning>,
    /// Where nodes on other machines come from, if they are to be there.
    pub remote: Option<Arc<Remote>>,
    /// Where the noise floors of machines are kept, if anywhere.
    pub store: Option<PathBuf>,
    /// After which blocks it may end because everything is told; `None`: only after all.
    pub looks: Option<Looks>,
    /// What a rate must meet to be carried, where capacities are looked for.
    pub level: Option<ServiceLevel>,
    /// Whether latencies under a common rate are compared elsewhere, so that capacities are looked for alone.
    pub latencies_elsewhere: bool,
    /// How long that may take, about: no block begins that would probably end later.
    pub budget: Option<Duration>,
    /// Ends the batch early.
    pub stop: CancellationToken,
}

impl Batch {
    /// Whom all others are compared with: the first that the scenario names of those that take part.
    #[must_use]
    pub fn reference(&self) -> Option<&'static str> {
        let takes_part = |name: &str| {
            let is = |contender: &&Contender| contender.name == name && contender.role == Role::Contender;
            self.contenders.iter().find(is).map(|contender| contender.name)
        };
        self.scenario.spec.contenders.iter().find_map(|name| takes_part(name.get_ref()))
    }
}

/// Sorts contenders into those that can run and those that cannot, with the reason.
#[must_use]
pub fn sort(
    wanted: Vec<Contender>,
    attached: &BTreeMap<ServerKind, String>,
    programs: &BTreeMap<ServerKind, PathBuf>,
    spec: &ScenarioSpec,
) -> (Vec<Contender>, Vec<Skipped>) {
    let mut skipped = Vec::new();
    let mut contenders = Vec::new();
    for contender in wanted {
        let missing = contender.server.filter(|kind| !attached.contains_key(kind)).and_then(|kind| {
            match servers::find_with(kind, programs.get(&kind).map(PathBuf::as_path)) {
                Finding::Found { .. } => None,
                Finding::Missing { remedy } => Some(remedy),
            }
        });
        let beyond =
            (spec.placement == Placement::Remote).then(|| out_of_reach(&contender, attached)).flatten();
        match contender.refuses(spec).or(missing).or(beyond) {
            Some(reason) => skipped.push(Skipped { contender: contender.name.to_owned(), reason }),
            None => contenders.push(contender),
        }
    }
    (contenders, skipped)
}

/// Why nodes on other machines cannot run it.
fn out_of_reach(contender: &Contender, attached: &BTreeMap<ServerKind, String>) -> Option<String> {
    if contender.is_over_the_port() {
        return Some("its program is on this machine, and nodes are on others".to_owned());
    }
    let private = contender.server.filter(|kind| !attached.contains_key(kind))?;
    Some(format!(
        "nodes on other machines cannot reach a private server of this one: name one that they can, with --{} URL",
        private.name()
    ))
}
