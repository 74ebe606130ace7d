//! All that is measured on one server.

use std::time::Duration;

use harness::servers::Server;
use lock_backends::{Endpoint, Variant};

use super::hot::{Hot, hot};
use super::idle::requests_per_holder_hour;
use super::nodes::Nodes;
use super::pair::{Pairs, Requests, pairs};
use crate::batch::Show as _;
use crate::contenders::server_kind;
use crate::progress::Display;

/// What was measured of a variant.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) variant: &'static Variant,
    pub(super) pairs: Pairs,
    pub(super) hot: Hot,
    pub(super) idle_per_hour: f64,
}

/// Measures the variants on a server, or those without one. The hot key of each is contended for so long.
pub(super) async fn of_server(
    server: Option<&Server>,
    contend: Duration,
    seed: u64,
    display: &Display,
) -> anyhow::Result<(Requests, Vec<Measured>)> {
    let kind = server.map(Server::kind);
    let name = kind.map_or("none", |kind| kind.name());
    let endpoint = Endpoint(server.map(|server| server.endpoint().to_owned()).unwrap_or_default());
    let to_be_used = |variant: &&'static Variant| server_kind(variant) == kind && !variant.is_unsafe();
    let variants: Vec<_> = lock_backends::backends::all().filter(to_be_used).collect();
    let (requests, pairs) = pairs(&variants, &endpoint, seed, name, display).await?;
    let mut nodes = Vec::new();
    for variant in variants {
        nodes.push(Nodes::connect(variant, &endpoint).await?);
    }
    display.line(&format!("{name}: held and not used"));
    let idle = requests_per_holder_hour(&nodes).await?;
    let hot = hot(&nodes, contend, seed, name, display).await;
    let mut measured = Vec::new();
    for (((nodes, pairs), hot), idle_per_hour) in nodes.into_iter().zip(pairs).zip(hot).zip(idle) {
        measured.push(Measured { variant: nodes.variant, pairs, hot, idle_per_hour });
        nodes.close().await;
    }
    Ok((requests, measured))
}
