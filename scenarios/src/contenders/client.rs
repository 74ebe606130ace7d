//! Programs that speak over the port: those of a folder, our own locks on the other side of a pipe, and the control that shows what
//! the pipe costs.

use std::sync::Arc;

use harness::engine::{BoxFuture, Mechanism};
use harness::model::NodeId;
use harness::record::Role;
use harness::servers::ServerKind;
use lock_backends::{Capabilities, ClientOptions, Endpoint, LockBackend, LockError, Variant};

use super::contender::{Contender, Design, PORT_ECHO, Proof};
use super::lock::{LockMechanism, Locks};
use super::products::server_kind;
use super::setting::Setting;
use crate::port::{Client, ClientFile, Port, Served, SurvivesWords};
use crate::spec::Class;

/// The control alone: whoever else speaks over the port is named by whoever runs lockbench.
pub(super) fn contenders() -> Vec<Contender> {
    let summary = "noop on the other side of a pipe: grants at once and excludes nothing, so what it takes is what the port costs";
    let client = ours(PORT_ECHO, summary, None, Served::Noop, SurvivesWords::default());
    vec![Contender::control(PORT_ECHO, summary, Spoken(Arc::new(client)))]
}

/// A program of lockbench itself.
fn ours(
    name: &str,
    summary: &str,
    server: Option<ServerKind>,
    served: Served,
    survives: SurvivesWords,
) -> Client {
    // A program that has been replaced is started from where it was.
    let lockbench =
        std::env::current_exe().map_or_else(|_| "lockbench".to_owned(), |path| path.display().to_string());
    let what = match served {
        Served::Noop => "noop",
        Served::Lock(variant) => variant.name,
    };
    let file = ClientFile {
        name: name.to_owned(),
        summary: summary.to_owned(),
        server: server.map(|kind| kind.name().to_owned()),
        command: [&*lockbench, "port", "serve", what].map(str::to_owned).into(),
        build: None,
        get: None,
        made_of: Vec::new(),
        promises: served.promises(),
        survives,
    };
    Client { file, folder: None }
}

impl Contender {
    /// One that speaks over the port.
    #[must_use]
    pub fn client(client: Client) -> Self {
        // Names live as long as the program; those of a command are few.
        let leak = |text: &String| -> &'static str { text.clone().leak() };
        Self {
            name: leak(&client.file.name),
            summary: leak(&client.file.summary),
            role: Role::Contender,
            server: client.server(),
            survives: client.survives(),
            design: Arc::new(Spoken(Arc::new(client))),
        }
    }

    /// One of our own locks, asked for over the port, so that it pays what programs of others pay. `None`: it has no server.
    #[must_use]
    pub fn over_the_port(variant: &'static Variant) -> Option<Self> {
        let server = server_kind(variant)?;
        let (name, summary) =
            (format!("{}-port", variant.name), format!("{}, asked for over the port", variant.name));
        let survives = SurvivesWords {
            node_crash: Some(variant.survives.node_crash.to_owned()),
            server_kill: Some(variant.survives.server_kill.to_owned()),
            power_loss: Some(variant.survives.power_loss.to_owned()),
        };
        Some(Self::client(ours(&name, &summary, Some(server), Served::Lock(variant), survives)))
    }
}

/// A program, one a node.
#[derive(Debug, Clone)]
struct Spoken(Arc<Client>);

impl Locks for Spoken {
    fn name(&self) -> &str {
        &self.0.file.name
    }

    fn capabilities(&self) -> Capabilities {
        self.0.file.promises.into()
    }

    fn server(&self) -> Option<ServerKind> {
        self.0.server()
    }

    fn are_counted(&self) -> bool {
        self.0.file.promises.counts
    }

    fn options(&self) -> ClientOptions {
        // How its callers wait for each other is a part of what is compared.
        ClientOptions { local_fifo: false, ..ClientOptions::default() }
    }

    fn may_share(&self) -> bool {
        false
    }

    fn open(
        &self,
        node: NodeId,
        endpoint: &Endpoint,
        setting: &Setting,
    ) -> Result<Arc<dyn LockBackend>, LockError> {
        let log = setting.logs.as_ref().map(|logs| logs.join(format!("{}-{}.log", self.name(), node.0)));
        if let Some(logs) = &setting.logs {
            let failed = |error| LockError::Unavailable(format!("cannot make {}: {error}", logs.display()));
            std::fs::create_dir_all(logs).map_err(failed)?;
        }
        Ok(Arc::new(Port::new(Client::clone(&self.0), endpoint.clone(), log)))
    }
}

impl Design for Spoken {
    fn class(&self) -> Class {
        if self.0.file.promises.lease { Class::Leased } else { Class::Unleased }
    }

    fn proves(&self) -> Option<Proof> {
        (self.0.file.name == PORT_ECHO).then_some(Proof::Cost)
    }

    fn shares(&self) -> bool {
        self.0.file.promises.shared
    }

    fn is_free_of_links(&self) -> bool {
        self.0.server().is_none()
    }

    fn client(&self) -> Option<&Client> {
        Some(&self.0)
    }

    fn build<'a>(&'a self, setting: &'a Setting) -> BoxFuture<'a, anyhow::Result<Arc<dyn Mechanism>>> {
        Box::pin(async move {
            let mechanism = LockMechanism::connect(Arc::new(self.clone()), setting).await?;
            Ok(Arc::new(mechanism) as Arc<dyn Mechanism>)
        })
    }
}
