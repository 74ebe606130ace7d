//! The servers of a batch: private ones, fresh for each run, or those that already run.

use std::time::Duration;

use harness::record::ServerFacts;
use harness::servers::{self, Server, ServerKind, ServerOptions};

use super::wanted::Batch;

impl Batch {
    /// The server of one run.
    pub(super) async fn server(&self, kind: ServerKind) -> anyhow::Result<Server> {
        if let Some(url) = self.attached.get(&kind) {
            return Ok(Server::attach(kind, url).await?);
        }
        let spec = &self.scenario.spec;
        let (durability, topology) = (spec.durability, spec.topology);
        let detect = Duration::from_secs_f64(spec.detect_ms / 1e3);
        let processors = self.pinning.as_ref().map(|pinning| pinning.members.clone()).unwrap_or_default();
        let options = ServerOptions { durability, topology, detect, data_root: None, processors, tls: None };
        Ok(Server::start(kind, &options).await?)
    }
}

/// What is recorded of a server.
pub(super) fn facts(server: &Server) -> ServerFacts {
    let origin = match server.pid() {
        Some(_) => "started for this run".to_owned(),
        None => format!("already running at {}", servers::redact(server.endpoint())),
    };
    ServerFacts {
        name: server.kind().title().to_owned(),
        version: server.version().to_owned(),
        settings: server.settings().clone(),
        origin,
    }
}
