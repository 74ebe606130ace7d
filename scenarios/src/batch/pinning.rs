//! Processors of their own for the parties of a run: the driver, each member of a server, each node that is a process.

use anyhow::Context as _;
use harness::processors::Processors;
use harness::record;

use crate::spec::{Placement, ScenarioSpec};

/// Who has which.
#[derive(Debug, Clone)]
pub struct Pinning {
    /// With the agent, and with all nodes that are no processes.
    pub driver: Processors,
    /// Each member of a private server.
    pub members: Vec<Processors>,
    /// Each node that is a process.
    pub nodes: Vec<Processors>,
}

impl Pinning {
    /// Deals the processors that this process may use, the same for every contender: also where one has no server, the
    /// others' shares are no larger.
    ///
    /// # Errors
    /// When there are fewer processors than parties.
    pub fn deal(spec: &ScenarioSpec, private_servers: bool) -> anyhow::Result<Self> {
        let members = if private_servers { spec.topology.members() } else { 0 };
        let nodes = match spec.placement {
            Placement::Single | Placement::Remote => 0,
            Placement::Process => usize::from(spec.nodes),
        };
        let allowed = Processors::allowed().context("cannot tell which processors may be used")?;
        let mut dealt = allowed.deal(1 + members + nodes).with_context(|| {
            format!("--pin: the driver, {members} of a server and {nodes} nodes cannot have processors of their own")
        })?;
        let nodes = dealt.split_off(1 + members);
        let members = dealt.split_off(1);
        Ok(Self { driver: dealt.remove(0), members, nodes })
    }

    /// All of them.
    #[must_use]
    pub fn count(&self) -> usize {
        let others = self.members.iter().chain(&self.nodes);
        self.driver.count() + others.map(Processors::count).sum::<usize>()
    }

    /// As it is recorded.
    #[must_use]
    pub fn facts(&self) -> record::Pinning {
        let lists = |all: &[Processors]| all.iter().map(Processors::to_string).collect();
        record::Pinning {
            driver: self.driver.to_string(),
            members: lists(&self.members),
            nodes: lists(&self.nodes),
        }
    }
}
