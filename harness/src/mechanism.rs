//! The contract between a run and a way to keep its steps apart.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::fault::FaultVerb;
use crate::plan::{NodeId, StepRef};
use crate::view::View;

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

    /// Runs a step that was asked for at a node. The deadline, a stamp of the run's clock, bounds the waiting; a
    /// step once inside runs to its end.
    ///
    /// Never dropped before its end by a run, except when the drain is over: then the step counts as unfinished.
    fn run(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> BoxFuture<'_, Outcome>;

    /// Ends sessions, connections and tasks, bounded in time, and lets go of the runners.
    fn shutdown(&self) -> BoxFuture<'_, ()>;

    /// Requests sent to a server so far; `None` where there is no server.
    fn operations(&self) -> Option<u64> {
        None
    }

    /// How the loss of a node is noticed, with negotiated values; for the report.
    fn detection(&self) -> String;

    /// What it promises beyond exclusion, negotiated values included; asked once, before a run.
    fn promises(&self) -> Promises {
        Promises::default()
    }
}

/// What a mechanism promises beyond exclusion; nothing unless it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Promises {
    /// A key that nobody is inside any more, also because its holder crashed, lets a waiter in within this.
    pub free_within_ns: Option<u64>,
    /// Where a member of its server that led is lost, the members that are left serve again within this.
    pub led_within_ns: Option<u64>,
    /// Steps of one resource enter in the order in which they were asked for, unless they were asked for within this
    /// of each other: two nodes' requests may pass each other on their way.
    pub in_order_beyond_ns: Option<u64>,
    /// A step that finds or creates its resource is run again, elsewhere, when the node where it runs is lost: at least
    /// once. Every other step, and every step of mechanisms that do not promise this, at most once.
    pub runs_again: bool,
    /// Steps of a resource run at one node, which owns it until the ring changes; not just where they were asked for.
    pub one_owner: bool,
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

/// A fencing token: rises with every grant of a key; compared by generation, then sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    /// For a ring: the epoch at which this owner got the key. 0 for locks.
    pub generation: u64,
    /// Rises with every grant of one generation.
    pub sequence: u64,
}

/// How a step, or a task, ended. The ring's nodes send it to each other as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done, the effect is applied.
    Completed,
    /// The agent refused it.
    Rejected(String),
    /// It did not begin: queue full, node down.
    Refused(String),
    /// It ended without effect.
    Failed(String),
    /// The deadline passed while it waited, and it is proven that it will not run.
    TimedOut,
    /// It may have run, or may yet run.
    Unknown(String),
}

/// How a release ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseRet {
    /// It was held until then.
    Released,
    /// It was no longer held.
    AlreadyLost,
    /// The answer did not come.
    Unknown(String),
}
