//! The servers of a batch: private ones, fresh for each run, or those that already run.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::record::{MemberFacts, ServerFacts};
use harness::servers::{self, ClockOf, Server, ServerKind, ServerOptions};

use super::wanted::Batch;
use crate::spec::VerbSpec;

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
        let program = self.programs.get(&kind).cloned();
        let set = spec.faults.iter().any(|fault| fault.verb == VerbSpec::Jump);
        let clock = if set { ClockOf::Itself } else { ClockOf::Machine };
        let (data_root, tls) = (None, None);
        let options =
            ServerOptions { durability, topology, detect, data_root, processors, tls, clock, program };
        Ok(Server::start(kind, &options).await?)
    }
}

/// What is recorded of a server, with its members, where they were looked at.
pub(super) fn facts(server: &Server, members: &BTreeMap<ServerKind, Vec<MemberFacts>>) -> ServerFacts {
    let kind = server.kind();
    let members = members.get(&kind).filter(|_| server.pid().is_none()).cloned().unwrap_or_default();
    let origin = match server.pid() {
        Some(_) => "started for this run".to_owned(),
        None => format!("already running at {}", servers::redact(server.endpoint())),
    };
    ServerFacts {
        name: kind.title().to_owned(),
        version: server.version().to_owned(),
        settings: server.settings().clone(),
        origin,
        members,
    }
}
