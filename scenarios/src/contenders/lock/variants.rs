//! Every variant in the registry of lock backends, as a contender.

use std::sync::Arc;

use harness::engine::{BoxFuture, Mechanism};
use harness::model::NodeId;
use harness::record::{Role, Survives};
use harness::servers::ServerKind;
use lock_backends::{Capabilities, ClientOptions, Endpoint, LockBackend, LockError, Variant};

use super::locks::Locks;
use super::mechanism::LockMechanism;
use crate::contenders::contender::{Contender, Design, only_in_one_process};
use crate::contenders::products::server_kind;
use crate::contenders::setting::Setting;
use crate::spec::{Class, ScenarioSpec};

/// Every variant in the registry of lock backends.
pub(super) fn contenders() -> Vec<Contender> {
    lock_backends::backends::all().map(contender).collect()
}

fn contender(variant: &'static Variant) -> Contender {
    let server = server_kind(variant);
    Contender {
        name: variant.name,
        summary: variant.summary,
        // Without a server it excludes within one process only: nothing to compare with.
        role: if server.is_some() { Role::Contender } else { Role::Control },
        server,
        survives: Survives {
            node_crash: variant.survives.node_crash.to_owned(),
            server_kill: variant.survives.server_kill.to_owned(),
            power_loss: variant.survives.power_loss.to_owned(),
        },
        design: Arc::new(Lock(variant)),
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Lock(pub(super) &'static Variant);

impl Locks for Lock {
    fn name(&self) -> &str {
        self.0.name
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    fn server(&self) -> Option<ServerKind> {
        server_kind(self.0)
    }

    fn are_counted(&self) -> bool {
        server_kind(self.0).is_some()
    }

    fn options(&self) -> ClientOptions {
        ClientOptions::default()
    }

    fn may_share(&self) -> bool {
        true
    }

    fn open(&self, _: NodeId, endpoint: &Endpoint, _: &Setting) -> Result<Arc<dyn LockBackend>, LockError> {
        (self.0.open)(endpoint).map(Arc::from)
    }
}

impl Design for Lock {
    fn class(&self) -> Class {
        if self.0.capabilities.lease { Class::Leased } else { Class::Unleased }
    }

    fn shares(&self) -> bool {
        self.0.capabilities.shared_mode
    }

    fn is_of_a_quorum(&self) -> bool {
        lock_backends::server_of(self.0).is_some_and(|server| server.of_a_quorum.contains(&self.0.name))
    }

    fn is_unsafe(&self) -> bool {
        self.0.is_unsafe()
    }

    fn is_free_of_links(&self) -> bool {
        server_kind(self.0).is_none()
    }

    fn refuses(&self, spec: &ScenarioSpec) -> Option<String> {
        if server_kind(self.0).is_none() { only_in_one_process(spec) } else { None }
    }

    fn build<'a>(&'a self, setting: &'a Setting) -> BoxFuture<'a, anyhow::Result<Arc<dyn Mechanism>>> {
        Box::pin(async move {
            let mechanism = LockMechanism::connect(Arc::new(*self), setting).await?;
            Ok(Arc::new(mechanism) as Arc<dyn Mechanism>)
        })
    }
}
