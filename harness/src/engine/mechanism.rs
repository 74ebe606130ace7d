//! The contract between a run and a way to keep its steps apart.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use crate::model::{FaultVerb, NodeId, Operations, Outcome, Promises, ReleaseRet, StepRef, Token, View};

/// A boxed future, as object-safe traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way to run steps of one resource under its level.
///
/// To implement it: [`Mechanism::run`] brings the step to a node of the mechanism's choice, waits there until the
/// step may be inside, has the runner *of that node* run it, gives the slot back and returns when the caller may go
/// on. It must not run a step twice, unless it has said so ([`Promises::runs_again`]), nor after it returned `Refused` or
/// `TimedOut`.
pub trait Mechanism: Send + Sync + fmt::Debug {
    /// Gives the mechanism the runner of a node that lives in this process; once per node, before the first `run`.
    fn register(&self, node: NodeId, runner: Arc<dyn StepRunner>);

    /// What the nodes that live here tell those that live elsewhere before the run, such as their addresses.
    fn introduction(&self) -> String {
        String::new()
    }

    /// Hears the introductions of all nodes, its own included; once, before [`Mechanism::register`].
    ///
    /// # Errors
    /// What is wrong with one of them.
    fn meet(&self, _introductions: &[String]) -> Result<(), String> {
        Ok(())
    }

    /// Tells a node that lives in this process who is a member of the ring from now on: before the first `run`, and at
    /// each change. Nodes may hear of one change at different times. Mechanisms without a ring have no use for it.
    fn view(&self, _node: NodeId, _view: &View) {}

    /// Breaks the link over which other nodes reach one that lives in this process, or restores it (`None`). Mechanisms whose
    /// nodes do not speak to each other have none.
    fn disturb(&self, _node: NodeId, _verb: Option<FaultVerb>) {}

    /// The steps of its tasks at which faults can be aimed, where it has any.
    fn gate(&self) -> Option<&Gate> {
        None
    }

    /// Runs a step that was asked for at a node. The deadline, a stamp of the run's clock, bounds the waiting; a
    /// step once inside runs to its end.
    ///
    /// Never dropped before its end by a run, except when the drain is over: then the step counts as unfinished.
    fn run(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> BoxFuture<'_, Outcome>;

    /// Ends sessions, connections and tasks, bounded in time, and lets go of the runners.
    fn shutdown(&self) -> BoxFuture<'_, ()>;

    /// Requests sent to a server so far; `None` where there is no server.
    fn operations(&self) -> Option<Operations> {
        None
    }

    /// How the loss of a node is noticed, with negotiated values; for the report.
    fn detection(&self) -> String;

    /// What it promises beyond exclusion, negotiated values included; asked once, before a run.
    fn promises(&self) -> Promises {
        Promises::default()
    }
}

/// Runs steps at one node: enters at the agent, holds, runs the children through the same mechanism, leaves.
pub trait StepRunner: Send + Sync + fmt::Debug {
    /// Runs the step under an entitlement.
    fn run(&self, step: StepRef, entitlement: Entitlement) -> BoxFuture<'_, Outcome>;

    /// Notes that the release of a step's lock is about to be sent. Ring and controls have none.
    fn release_sent(&self, step: StepRef);

    /// Notes how the release ended.
    fn released(&self, step: StepRef, ret: ReleaseRet);
}

/// The right to be inside.
#[derive(Debug, Clone)]
pub struct Entitlement {
    /// The slot; `None` at level 0.
    pub slot: Option<u32>,
    /// The fencing token; `None` where the mechanism has none.
    pub token: Option<Token>,
    /// How long it lasts.
    pub lease: Arc<dyn Lease>,
}

/// How long an entitlement lasts, as its mechanism knows at the moment.
pub trait Lease: Send + Sync + fmt::Debug {
    /// Stamp until which it is certain; `None` = no end is known. Renewals move it.
    fn valid_until_ns(&self) -> Option<u64>;

    /// Fires when it is lost.
    fn lost(&self) -> CancellationToken;
}

/// The lease of mechanisms that have none: never lost.
#[derive(Debug, Clone, Copy)]
pub struct NoLease;

impl Lease for NoLease {
    fn valid_until_ns(&self) -> Option<u64> {
        None
    }

    fn lost(&self) -> CancellationToken {
        CancellationToken::new()
    }
}
