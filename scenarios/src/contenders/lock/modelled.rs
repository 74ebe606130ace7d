//! Our own variants over a model of their server, in virtual time: protocol, client and guard are those of real runs.

use std::fmt;
use std::sync::Arc;

use harness::engine::Mechanism;
use harness::model::NodeId;
use harness::servers::ServerKind;
use lock_backends::{
    AtKill, Capabilities, ClientOptions, Endpoint, LockBackend, LockError, Modelled, Passage, Variant,
};

use super::locks::Locks;
use super::mechanism::LockMechanism;
use crate::contenders::products::server_kind;
use crate::contenders::setting::Setting;

/// Every variant that runs over a model.
pub(crate) fn modelled_variants() -> Vec<&'static Variant> {
    let mut modelled = Vec::new();
    for server in lock_backends::backends::SERVERS {
        let runs = server.model.map(|model| model(AtKill::Keeps).variants()).unwrap_or_default();
        let over = server.variants.iter().copied().filter(|variant| runs.contains(&variant.name));
        modelled.extend(over);
    }
    modelled
}

/// The mechanism of a variant over a new server, with a connection for each node.
///
/// # Errors
/// When it runs over no model, or a session cannot be opened.
pub(crate) async fn over_model(
    variant: &'static Variant,
    at_kill: AtKill,
    passage: impl Fn(NodeId) -> Arc<dyn Passage> + Send + Sync + 'static,
    setting: &Setting,
) -> anyhow::Result<Arc<dyn Mechanism>> {
    let server = lock_backends::server_of(variant).and_then(|server| server.model);
    let server = server.ok_or_else(|| anyhow::anyhow!("{}: its server has no model", variant.name))?;
    let locks = OverModel { variant, server: server(at_kill), passage: Box::new(passage) };
    Ok(Arc::new(LockMechanism::connect(Arc::new(locks), setting).await?))
}

struct OverModel {
    variant: &'static Variant,
    server: Arc<dyn Modelled>,
    passage: Box<dyn Fn(NodeId) -> Arc<dyn Passage> + Send + Sync>,
}

impl fmt::Debug for OverModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OverModel").field(&self.variant.name).finish()
    }
}

impl Locks for OverModel {
    fn name(&self) -> &str {
        self.variant.name
    }

    fn capabilities(&self) -> Capabilities {
        self.variant.capabilities
    }

    fn server(&self) -> Option<ServerKind> {
        server_kind(self.variant)
    }

    fn are_counted(&self) -> bool {
        true
    }

    fn options(&self) -> ClientOptions {
        ClientOptions::default()
    }

    fn may_share(&self) -> bool {
        false
    }

    fn open(&self, node: NodeId, _: &Endpoint, _: &Setting) -> Result<Arc<dyn LockBackend>, LockError> {
        let opened = self.server.open(self.variant.name, (self.passage)(node));
        opened.map(Arc::from).ok_or(LockError::Unsupported("it runs over no model"))
    }
}
