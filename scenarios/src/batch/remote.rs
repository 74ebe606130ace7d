//! Where nodes on other machines come from: hosts that join, and stay until the last run is over.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use harness::placement::remote::Hosts;
use tokio::sync::OnceCell;
use tokio::time::sleep;

use super::show::Show;

/// For all hosts to join: an orchestrator may have to fetch an image to each first.
const PATIENCE: Duration = Duration::from_secs(600);

/// Hosts of nodes, once they have been waited for.
#[derive(Debug)]
pub struct Remote {
    /// Where the driver listens for them.
    pub listen: SocketAddr,
    /// The folder of its keys.
    pub keys: PathBuf,
    /// How many nodes they must be for, where that is more than the first run needs.
    pub expect: Option<u16>,
    hosts: OnceCell<Arc<Hosts>>,
}

/// Which lockbench this is, so that hosts can be the same: by its commit, or where that does not say what it is made of, by what it is.
#[must_use]
pub fn build() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("LOCKBENCH_COMMIT").filter(|commit| !commit.ends_with("-dirty")) {
        Some(commit) => format!("{version} {commit}"),
        None => {
            let program = std::env::current_exe();
            let print = program.and_then(|program| harness::fingerprint::of(&[&program]));
            format!("{version}, program {}", print.unwrap_or_else(|error| error.to_string()))
        }
    }
}

impl Remote {
    /// None has been waited for.
    #[must_use]
    pub fn new(listen: SocketAddr, keys: PathBuf, expect: Option<u16>) -> Self {
        Self { listen, keys, expect, hosts: OnceCell::new() }
    }

    /// Listens, once, and waits until there are hosts for so many nodes.
    ///
    /// # Errors
    /// When the keys or the address cannot be used, or too few have joined in time.
    pub async fn gather(&self, nodes: u16, show: &dyn Show) -> anyhow::Result<()> {
        let hosts = self.hosts.get_or_try_init(|| async {
            let hosts = Hosts::listen(self.listen, &self.keys, &build()).await?;
            let address = hosts.address();
            show.line(&format!(
                "waiting at {address} for hosts of nodes: on each, lockbench node --join HOST:{} --keys DIR",
                address.port()
            ));
            anyhow::Ok(Arc::new(hosts))
        });
        let hosts = hosts.await.context("--placement remote")?;
        let nodes = nodes.max(self.expect.unwrap_or(0));
        let mut told = 0;
        let telling = async {
            loop {
                let there = hosts.there();
                let places: u32 = there.iter().map(|(_, nodes)| u32::from(*nodes)).sum();
                if places != told {
                    let names: Vec<_> =
                        there.iter().map(|(name, nodes)| format!("{name} ({nodes})")).collect();
                    show.line(&format!("places for {places} of {nodes} nodes: {}", names.join(", ")));
                    told = places;
                }
                // What changes between two looks is seen by the next.
                tokio::select! {
                    () = hosts.changed() => {}
                    () = sleep(Duration::from_secs(1)) => {}
                }
            }
        };
        tokio::select! {
            gathered = hosts.gathered(nodes, PATIENCE) => gathered?,
            () = telling => {}
        }
        Ok(())
    }

    /// Those that have been waited for.
    #[must_use]
    pub fn hosts(&self) -> Option<&Arc<Hosts>> {
        self.hosts.get()
    }

    /// Lets them go, and tells who was refused.
    pub async fn dismiss(&self, show: &dyn Show) {
        let Some(hosts) = self.hosts.get() else { return };
        hosts.dismiss().await;
        let refused = hosts.refused();
        if !refused.is_empty() {
            show.conclude(&format!(
                "{} refused that wanted to be hosts of nodes: {}",
                refused.len(),
                refused.join("; ")
            ));
        }
    }
}
