//! `lockbench node`: one node of a run, in a process of its own; or a host of such nodes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use harness::model::NodeId;
use harness::placement::process::{self, Invitation};
use harness::placement::remote::{self, Joining};
use harness::secret::SECRET;
use tokio::signal::unix::{SignalKind, signal};

use super::how::time;
use super::verb::{Example, Group, Work};
use crate::batch;
use crate::contenders;

/// The exit code of whoever was told to end.
const INTERRUPTED: u8 = 130;

/// Take in nodes of a run on another machine (--join), or be one node: the driver or a host starts it, and the secret is in
/// LOCKBENCH_SECRET.
#[derive(Debug, Args)]
pub(super) struct Node {
    #[command(flatten)]
    host: HostArgs,
    #[command(flatten)]
    node: NodeArgs,
}

/// A host of nodes.
#[derive(Debug, Args)]
struct HostArgs {
    /// Where the driver of a run listens (`lockbench run --placement remote --listen`): takes nodes in until it wants no more.
    #[arg(long, value_name = "HOST:PORT", requires = "keys", conflicts_with_all = ["driver", "node"])]
    join: Option<String>,
    /// The folder of the keys: ca.pem, node.pem and node.key of `lockbench keys`.
    #[arg(long, env = remote::KEYS, value_name = "DIR", hide_env_values = true)]
    keys: Option<PathBuf>,
    /// How many nodes it takes in.
    #[arg(long, value_name = "NODES", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    nodes: u16,
    /// What it is called in reports; the machine's name where not given.
    #[arg(long)]
    name: Option<String>,
    /// How long the driver may take to be there.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    patience: Duration,
}

/// One node.
#[derive(Debug, Args)]
struct NodeArgs {
    /// Where the driver listens.
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "join")]
    driver: Option<SocketAddr>,
    /// Where the agent is reached; by default where the driver listens.
    #[arg(long, value_name = "ADDRESS:PORT")]
    agent: Option<SocketAddr>,
    /// Which node this is to be, from 0.
    #[arg(long, required_unless_present = "join")]
    node: Option<u16>,
    /// Where other nodes reach this one, or those that are taken in here; by default 127.0.0.1, and with --join the address from which
    /// the driver is dialled.
    #[arg(long)]
    address: Option<IpAddr>,
    /// Ends with this process, which must be the one that started it.
    #[arg(long, value_name = "ID", hide = true)]
    parent: Option<u32>,
    /// How far the driver's clock is ahead, in ns.
    #[arg(long, value_name = "NS", hide = true, allow_negative_numbers = true, default_value_t = 0)]
    clock_ahead: i64,
}

impl Work for Node {
    const NAME: &str = "node";
    const GROUP: Group = Group::Place;
    const EXAMPLES: &[Example] =
        &[("A machine that takes four nodes in", "lockbench node --join driver:7400 --keys keys --nodes 4")];

    async fn work(self) -> anyhow::Result<u8> {
        match self.host.join.clone() {
            Some(driver) => self.host.take_in(driver, self.node.address).await,
            None => self.node.be().await,
        }
    }
}

impl HostArgs {
    async fn take_in(self, driver: String, address: Option<IpAddr>) -> anyhow::Result<u8> {
        let Self { keys, nodes, name, patience, .. } = self;
        let program = std::env::current_exe().context("cannot find the program of lockbench itself")?;
        let joining = Joining {
            driver,
            keys: keys.context("--keys is missing")?,
            patience,
            name: name.unwrap_or_else(harness::engine::machine::name),
            nodes,
            build: batch::build(),
            address,
            program: (program, vec!["node".into()]),
        };
        // The first process of a container is ended by nothing that it does not listen to.
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            joined = remote::join(joining) => joined.map(|()| 0).map_err(Into::into),
            _ = terminate.recv() => Ok(INTERRUPTED),
            _ = interrupt.recv() => Ok(INTERRUPTED),
        }
    }
}

impl NodeArgs {
    async fn be(self) -> anyhow::Result<u8> {
        let Self { driver, agent, node, address, parent, clock_ahead } = self;
        if let Some(parent) = parent {
            process::end_with(parent)?;
        }
        let (driver, node) = driver.zip(node).context("--driver and --node are missing")?;
        let secret = std::env::var(SECRET)
            .with_context(|| format!("{SECRET} is not set; `lockbench run` starts nodes itself"))?;
        let invitation = Invitation {
            driver,
            agent: agent.unwrap_or(driver),
            node: NodeId(node),
            secret: secret.into(),
            address: address.unwrap_or(Ipv4Addr::LOCALHOST.into()),
            clock_ahead_ns: clock_ahead,
        };
        process::serve(invitation, batch::draw, contenders::node)
            .await
            .with_context(|| format!("node {node}"))?;
        Ok(0)
    }
}
