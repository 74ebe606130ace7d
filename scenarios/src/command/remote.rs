//! The options of runs whose nodes are on other machines.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use clap::Args;

use crate::batch::Remote;
use crate::spec::{Placement, ScenarioSpec};

/// Where hosts of nodes join.
#[derive(Debug, Clone, Args)]
pub(super) struct RemoteArgs {
    /// Where hosts of nodes join (`lockbench node --join`), for --placement remote.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "keys")]
    listen: Option<SocketAddr>,
    /// How many nodes there must be hosts for before the first run begins; as many as the scenario has where not given.
    #[arg(long, value_name = "NODES", requires = "listen", value_parser = clap::value_parser!(u16).range(1..))]
    expect: Option<u16>,
    /// The folder of the driver's keys (`lockbench keys`).
    #[arg(long, env = harness::placement::remote::KEYS, value_name = "DIR", hide_env_values = true)]
    keys: Option<PathBuf>,
    /// All batches have the same hosts.
    #[arg(skip)]
    remote: Arc<OnceLock<Arc<Remote>>>,
}

impl RemoteArgs {
    /// Where this scenario's nodes on other machines come from, if they are to be there.
    ///
    /// # Errors
    /// When it is not said where they join, or is said of nodes here.
    pub(super) fn of(&self, spec: &ScenarioSpec) -> anyhow::Result<Option<Arc<Remote>>> {
        match (spec.placement, self.listen, &self.keys) {
            (Placement::Remote, Some(listen), Some(keys)) => {
                let remote = || Arc::new(Remote::new(listen, keys.clone(), self.expect));
                Ok(Some(Arc::clone(self.remote.get_or_init(remote))))
            }
            (Placement::Remote, ..) => anyhow::bail!(
                "--placement remote: say where hosts of nodes join, and by which keys they are known: --listen ADDRESS:PORT --keys DIR"
            ),
            (_, Some(_), _) => {
                anyhow::bail!("--listen is for nodes on other machines: add --placement remote")
            }
            _ => Ok(None),
        }
    }

    /// Those hosts, if any have been waited for.
    pub(super) fn remote(&self) -> Option<&Arc<Remote>> {
        self.remote.get()
    }
}
