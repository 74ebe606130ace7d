//! `lockbench node`: one node of a run, in a process of its own.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use harness::model::NodeId;
use harness::placement::process::{self, Invitation};

use super::verb::{Group, Work};
use crate::contenders;

/// Be one node of a run whose nodes are processes. The driver starts it; the secret is in LOCKBENCH_SECRET.
#[derive(Debug, Args)]
pub(super) struct Node {
    /// Where the driver listens.
    #[arg(long, value_name = "ADDRESS:PORT")]
    driver: SocketAddr,
    /// Where the agent is reached; by default where the driver listens.
    #[arg(long, value_name = "ADDRESS:PORT")]
    agent: Option<SocketAddr>,
    /// Which node this is to be, from 0.
    #[arg(long)]
    node: u16,
}

impl Work for Node {
    const NAME: &str = "node";
    const GROUP: Group = Group::Place;

    async fn work(self) -> anyhow::Result<u8> {
        let Self { driver, agent, node } = self;
        let secret = std::env::var(process::SECRET).with_context(|| {
            format!("{} is not set; `lockbench run` starts nodes itself", process::SECRET)
        })?;
        let agent = agent.unwrap_or(driver);
        let invitation = Invitation { driver, agent, node: NodeId(node), secret: secret.into() };
        process::serve(invitation, contenders::node).await.with_context(|| format!("node {node}"))?;
        Ok(0)
    }
}
