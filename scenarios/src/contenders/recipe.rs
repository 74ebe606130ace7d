//! How a contender's mechanism comes about in another process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use harness::engine::Mechanism;
use harness::placement::process::Place;
use harness::secret::Secret;
use harness::servers::Endpoint;
use serde::{Deserialize, Serialize};

use super::contender::Contender;
use super::registry::all;
use super::setting::{Here, LinksBetween, Setting};
use crate::port::Client;
use crate::spec::Members;

/// What the process of a node makes its mechanism of; see [`node`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Recipe {
    contender: String,
    endpoint: Option<Endpoint>,
    detect: Duration,
    noop_delay: Duration,
    run_seed: u64,
    ring_secret: Secret,
    between: Option<LinksBetween>,
    members: Members,
    logs: Option<PathBuf>,
    /// One that speaks over the port is in no registry but the driver's.
    client: Option<Client>,
}

/// Makes the mechanism of one node, in a process of its own.
///
/// # Errors
/// When a session or the node cannot be opened.
pub async fn node(place: Place) -> Result<Arc<dyn Mechanism>, String> {
    let recipe: Recipe = serde_json::from_value(place.mechanism.0)
        .map_err(|error| format!("what the driver asks for is not known here: {error}"))?;
    let registered = || all().into_iter().find(|contender| contender.name == recipe.contender);
    let contender = match recipe.client {
        Some(client) => Contender::client(client),
        None => registered().ok_or_else(|| format!("there is no contender `{}` here", recipe.contender))?,
    };
    let contender = contender.with_members(recipe.members);
    let setting = Setting {
        plan: place.plan,
        clock: place.clock,
        endpoint: recipe.endpoint,
        detect: recipe.detect,
        noop_delay: recipe.noop_delay,
        run_seed: recipe.run_seed,
        ring_secret: recipe.ring_secret,
        logs: recipe.logs,
        here: Here {
            nodes: vec![place.node],
            incarnation: place.incarnation,
            former: place.former,
            address: place.address,
            between: recipe.between,
        },
    };
    contender.build(&setting).await.map_err(|error| format!("{error:#}"))
}

impl Contender {
    /// What the process of a node makes this contender's mechanism of.
    #[must_use]
    pub fn recipe(&self, setting: &Setting) -> Recipe {
        Recipe {
            contender: self.plain_name().to_owned(),
            endpoint: setting.endpoint.clone(),
            detect: setting.detect,
            noop_delay: setting.noop_delay,
            run_seed: setting.run_seed,
            ring_secret: setting.ring_secret.clone(),
            between: setting.here.between.clone(),
            members: self.design.members(),
            logs: setting.logs.clone(),
            client: self.design.client().cloned(),
        }
    }
}
