//! A transfer from one account to another, all or nothing: each way of making one of two changes is a contender.

mod bank;
mod teller;
mod transactions;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use harness::engine::{BoxFuture, Mechanism};
use harness::model::{Audit, Mode, Point, ResourceKind};
use harness::record::{Role, Survives};
use harness::servers::ServerKind;

use self::bank::{Bank, Layout};
use self::teller::{Tellers, Undoes};
use self::transactions::{Participants, Protocol, Transactions, settle};
use super::contender::{Contender, Design};
use super::setting::{Here, Setting};
use super::{lock, ring};
use crate::spec::{Class, ScenarioSpec};

/// One for each way.
pub(super) fn contenders() -> Vec<Contender> {
    let kept = "committed transfers yes, with synchronous_commit and fsync on";
    let ways = [
        (
            Way::Locks,
            "transfer-locks",
            "both accounts are locked (pg-mux), read, changed and written one after the other; nothing is undone",
            "no: a transfer that was half done stays so",
        ),
        (
            Way::Saga,
            "transfer-saga",
            "each change is made by its account's owner (ring-queue), once, and written down; a transfer that ends half-way is undone",
            "yes, once its node is back: what was half done is undone",
        ),
        (
            Way::Transaction(Protocol::One),
            "transfer-xact",
            "both accounts are in one database, and changed in one transaction under row locks",
            "yes: the database rolls back",
        ),
        (
            Way::Transaction(Protocol::TwoPhase),
            "transfer-2pc",
            "two databases promise (PREPARE TRANSACTION), the coordinator writes down his decision, both commit",
            "yes, once its node is back: until then both accounts stay locked",
        ),
        (
            Way::Transaction(Protocol::ThreePhase(Participants::Ask)),
            "transfer-3pc",
            "two databases promise, are told that both have, and commit; when nobody speaks any more they ask each other",
            "yes: the databases decide after the suspicion",
        ),
        (
            Way::Transaction(Protocol::ThreePhase(Participants::Apart)),
            "transfer-3pc-apart",
            "as transfer-3pc, but the databases cannot ask each other: each decides by what it was told itself",
            "no: one may commit while the other gives up",
        ),
        (
            Way::Mirror(Arbiter::Lock),
            "transfer-mirror-locks",
            "every account is in two databases; both are locked (pg-mux), read in the node's own and written in both; nothing is undone",
            "no: a transfer that was half done stays so, and the copies differ",
        ),
        (
            Way::Mirror(Arbiter::Nobody),
            "transfer-mirror-apart",
            "as transfer-mirror-locks, but with a lock in the node's memory: nobody arbitrates between the copies",
            "no: a transfer that was half done stays so, and the copies differ",
        ),
    ];
    let contender = |(way, name, summary, node_crash): (Way, &'static str, &'static str, &str)| Contender {
        name,
        summary,
        role: Role::Contender,
        server: Some(ServerKind::named("postgres")),
        survives: Survives {
            node_crash: node_crash.to_owned(),
            server_kill: kept.to_owned(),
            power_loss: kept.to_owned(),
        },
        design: Arc::new(way),
    };
    ways.into_iter().map(contender).collect()
}

/// How two changes are made one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Locks,
    Saga,
    Transaction(Protocol),
    /// Each account is there twice, and a transfer is made at the copy of its node.
    Mirror(Arbiter),
}

/// Who keeps two nodes from changing the two copies of an account at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arbiter {
    Lock,
    Nobody,
}

impl Way {
    fn layout(self) -> Layout {
        match self {
            Self::Transaction(Protocol::One) => Layout::One,
            Self::Locks | Self::Saga | Self::Transaction(_) => Layout::Two,
            Self::Mirror(_) => Layout::Mirror,
        }
    }
}

/// The contender of that name, whose sections move the money.
fn inner(of: Vec<Contender>, name: &str) -> anyhow::Result<Contender> {
    of.into_iter().find(|one| one.name == name).with_context(|| format!("there is no `{name}`"))
}

impl Design for Way {
    fn class(&self) -> Class {
        match self {
            Self::Locks | Self::Mirror(_) => Class::Unleased,
            Self::Saga => Class::Ring,
            Self::Transaction(_) => Class::Transactions,
        }
    }

    fn points(&self) -> &'static [Point] {
        use Point::{
            AllPreCommitted, AllPrepared, Begun, BothChanged, Decided, FirstChanged, FirstCommitted,
            FirstPreCommitted, FirstPrepared,
        };
        match self {
            Self::Locks | Self::Saga | Self::Mirror(_) | Self::Transaction(Protocol::One) => {
                &[Begun, FirstChanged, BothChanged]
            }
            Self::Transaction(Protocol::TwoPhase) => {
                &[Begun, FirstChanged, BothChanged, FirstPrepared, AllPrepared, Decided, FirstCommitted]
            }
            Self::Transaction(Protocol::ThreePhase(_)) => &[
                Begun,
                FirstChanged,
                BothChanged,
                FirstPrepared,
                AllPrepared,
                FirstPreCommitted,
                AllPreCommitted,
                FirstCommitted,
            ],
        }
    }

    fn refuses(&self, spec: &ScenarioSpec) -> Option<String> {
        let moves = |step: &crate::spec::StepSpec| {
            let alone = spec.resources[step.resource.get_ref()].level == 1 && step.mode == Mode::Exclusive;
            *step.resource.get_ref() == ResourceKind::Account && alone
        };
        let transfer = |task: &crate::spec::TaskSpec| {
            let second = task.step.steps.as_slice();
            moves(&task.step) && second.len() == 1 && moves(&second[0]) && second[0].steps.is_empty()
        };
        if let Some(other) = spec.tasks.iter().find(|task| !transfer(task)) {
            return Some(format!(
                "it moves money between two accounts of level 1, and `{}` is no step on one with a step on another in it",
                other.name.get_ref()
            ));
        }
        spec.servers.contains_key("postgres").then(|| {
            "it makes a database of its own, and not on a server of others: leave --postgres out".to_owned()
        })
    }

    fn audit<'a>(&'a self, setting: &'a Setting) -> BoxFuture<'a, anyhow::Result<Option<Audit>>> {
        Box::pin(async move {
            let bank = Bank::reach(setting, self.layout())?;
            bank.is_quiet().await?;
            let stuck = match self {
                Self::Locks | Self::Mirror(_) => 0,
                Self::Saga => {
                    let open = bank.unfinished(false).await?;
                    for task in &open {
                        bank.undo(*task).await?;
                    }
                    open.len() as u64
                }
                Self::Transaction(protocol) => settle(&bank, *protocol, false, Duration::ZERO).await?,
            };
            let audit = bank.audit(stuck).await?;
            bank.close().await;
            Ok(Some(audit))
        })
    }

    fn build<'a>(&'a self, setting: &'a Setting) -> BoxFuture<'a, anyhow::Result<Arc<dyn Mechanism>>> {
        Box::pin(async move {
            let bank = Arc::new(Bank::open(setting, self.layout()).await?);
            let first = setting.here.incarnation == 0;
            Ok(match self {
                Self::Mirror(Arbiter::Nobody) => {
                    // In the node's memory: it knows no server.
                    let here = Here { between: None, ..setting.here.clone() };
                    let alone = Setting { endpoint: None, here, ..setting.clone() };
                    let locks = inner(lock::contenders(), "local-mutex")?.build(&alone).await?;
                    Arc::new(Tellers::new(locks, bank, Undoes::Not, first).await?) as Arc<dyn Mechanism>
                }
                Self::Locks | Self::Mirror(Arbiter::Lock) => {
                    let locks = inner(lock::contenders(), "pg-mux")?.build(setting).await?;
                    Arc::new(Tellers::new(locks, bank, Undoes::Not, first).await?) as Arc<dyn Mechanism>
                }
                Self::Saga => {
                    let owners = inner(ring::contenders(), "ring-queue")?.build(setting).await?;
                    Arc::new(Tellers::new(owners, bank, Undoes::Compensates, first).await?)
                }
                Self::Transaction(protocol) => Arc::new(Transactions::start(bank, *protocol, setting).await?),
            })
        })
    }
}
