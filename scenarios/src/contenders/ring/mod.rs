//! The ring: the step runs at the owner of its resource, when its queue lets it.

mod heartbeats;
mod mechanism;

use std::sync::Arc;

use harness::engine::{BoxFuture, Mechanism};
use harness::record::{Role, Survives};
use harness::servers::ServerKind;
use queue_lockfree::{Directory, Takeover, Transport};

use self::mechanism::RingMechanism;
use crate::contenders::contender::{Contender, Design, only_in_one_process};
use crate::contenders::setting::Setting;
use crate::spec::{Class, Members, ScenarioSpec};

/// The control without connections, and a contender for each takeover.
pub(super) fn contenders() -> Vec<Contender> {
    let local = Nodes { between: Between::Calls, takeover: Takeover::Faithful, members: Members::Static };
    vec![
        Contender::control(
            "ring-local",
            "the ring with direct calls instead of connections: its cost without network",
            local,
        ),
        told(
            "ring-queue",
            "consistent-hash ring, router over TCP between nodes, work queue per key at its owner; no lock; a change of \
             the ring moves keys at once, whatever runs",
            Takeover::Faithful,
        ),
        told(
            "ring-drain",
            "as ring-queue, but the new owner of a key starts it when the old one says that nothing of it runs",
            Takeover::Drain,
        ),
        told(
            "ring-fenced",
            "as ring-queue, but the new owner of a key starts under a higher token; its agents always reject lower ones",
            Takeover::Fenced,
        ),
    ]
}

/// One whose nodes are told who is a member.
fn told(name: &'static str, summary: &'static str, takeover: Takeover) -> Contender {
    Contender {
        name,
        summary,
        role: Role::Contender,
        server: None,
        survives: Survives {
            node_crash: "no: with static membership the keys of a dead owner stay unserved".to_owned(),
            server_kill: "no server; an owner's queued tasks die with it".to_owned(),
            power_loss: "no: queues live in memory".to_owned(),
        },
        design: Arc::new(Nodes { between: Between::Tcp, takeover, members: Members::Static }),
    }
}

/// How the ring's nodes reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Tcp,
    Calls,
}

/// A ring's nodes.
#[derive(Debug, Clone, Copy)]
struct Nodes {
    between: Between,
    takeover: Takeover,
    members: Members,
}

impl Design for Nodes {
    fn class(&self) -> Class {
        match self.takeover {
            Takeover::Faithful => Class::Ring,
            Takeover::Drain => Class::RingDrain,
            Takeover::Fenced => Class::RingFenced,
        }
    }

    fn has_ring(&self) -> bool {
        true
    }

    fn is_free_of_links(&self) -> bool {
        self.between == Between::Calls
    }

    fn needs_fencing(&self) -> bool {
        matches!(self.takeover, Takeover::Fenced)
    }

    fn refuses(&self, spec: &ScenarioSpec) -> Option<String> {
        if self.between == Between::Calls { only_in_one_process(spec) } else { None }
    }

    fn members(&self) -> Members {
        self.members
    }

    fn with_members(&self, contender: &Contender, members: Members) -> Option<Contender> {
        if members != Members::Postgres || self.between == Between::Calls {
            return None;
        }
        let survives = Survives {
            node_crash:
                "partly: once a dead owner is evicted others serve its keys; its queued tasks die with it"
                    .to_owned(),
            server_kill:
                "grants yes; without the database no change of the ring, and nodes stop after the suspicion"
                    .to_owned(),
            power_loss: "no: queues live in memory".to_owned(),
        };
        let design = Arc::new(Self { members, ..*self });
        Some(Contender { server: Some(ServerKind::named("postgres")), survives, design, ..contender.clone() })
    }

    fn build<'a>(&'a self, setting: &'a Setting) -> BoxFuture<'a, anyhow::Result<Arc<dyn Mechanism>>> {
        Box::pin(async move {
            let transport = match self.between {
                Between::Tcp => Transport::Tcp,
                Between::Calls => Transport::Direct(Directory::new()),
            };
            let ring = RingMechanism::start(setting, transport, self.takeover, self.members).await?;
            Ok(Arc::new(ring) as Arc<dyn Mechanism>)
        })
    }
}
