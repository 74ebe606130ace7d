//! Money moved by the sections of a lock or of a ring: each step changes its account while it has it to itself.

use std::sync::Arc;

use harness::engine::{BoxFuture, Entitlement, Gate, Mechanism, StepRunner};
use harness::model::{FaultVerb, NodeId, Operations, Outcome, Point, Promises, ReleaseRet, StepRef, View};

use super::bank::Bank;

/// The accounts' side of another mechanism.
#[derive(Debug)]
pub(super) struct Tellers {
    inner: Arc<dyn Mechanism>,
    bank: Arc<Bank>,
    undoes: Undoes,
}

/// What happens to a transfer that ends half-way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undoes {
    /// Nothing.
    Not,
    /// It was written down, and is undone: by its coordinator, or by the next life of his node.
    Compensates,
}

impl Tellers {
    /// Of a mechanism that keeps sections apart. Undoes first what a former life of this node has left.
    pub(super) async fn new(
        inner: Arc<dyn Mechanism>,
        bank: Arc<Bank>,
        undoes: Undoes,
        is_first_life: bool,
    ) -> anyhow::Result<Self> {
        if undoes == Undoes::Compensates && !is_first_life {
            for task in bank.unfinished(true).await? {
                bank.undo(task).await?;
            }
        }
        Ok(Self { inner, bank, undoes })
    }
}

impl Mechanism for Tellers {
    fn register(&self, node: NodeId, runner: Arc<dyn StepRunner>) {
        let teller = Teller { runner, bank: Arc::clone(&self.bank), undoes: self.undoes };
        self.inner.register(node, Arc::new(teller));
    }

    fn introduction(&self) -> String {
        self.inner.introduction()
    }

    fn meet(&self, introductions: &[String]) -> Result<(), String> {
        self.inner.meet(introductions)
    }

    fn view(&self, node: NodeId, view: &View) {
        self.inner.view(node, view);
    }

    fn disturb(&self, node: NodeId, verb: Option<FaultVerb>) {
        self.inner.disturb(node, verb);
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.bank.gate)
    }

    fn run(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let outcome = self.inner.run(at, step, deadline_ns).await;
            // The second step was asked for by whoever coordinates the transfer.
            if step.step > 0 && outcome == Outcome::Completed {
                self.bank.gate.pass(Point::FirstChanged).await;
            }
            outcome
        })
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.inner.shutdown().await;
            self.bank.close().await;
        })
    }

    fn operations(&self) -> Option<Operations> {
        let inner = self.inner.operations().unwrap_or_default();
        Some(Operations { load: inner.load + self.bank.operations(), ..inner })
    }

    fn detection(&self) -> String {
        self.inner.detection()
    }

    fn promises(&self) -> Promises {
        self.inner.promises()
    }
}

/// Moves the money of what a node's runner runs.
#[derive(Debug)]
struct Teller {
    runner: Arc<dyn StepRunner>,
    bank: Arc<Bank>,
    undoes: Undoes,
}

impl Teller {
    /// Changes the account of a step whose section is over; its slot is still held.
    async fn change(&self, step: StepRef) -> Outcome {
        let changed = match self.undoes {
            Undoes::Not => self.bank.add(step).await.map(|()| true),
            Undoes::Compensates => self.bank.add_once(step).await,
        };
        match changed {
            Ok(true) => Outcome::Completed,
            Ok(false) => Outcome::Failed("the transfer was undone meanwhile".to_owned()),
            Err(error) => Outcome::Unknown(format!("the account: {error}")),
        }
    }

    /// A whole transfer: the step on the second account is in the section of the first.
    async fn transfer(&self, step: StepRef, entitlement: Entitlement) -> Outcome {
        let compensates = self.undoes == Undoes::Compensates;
        if compensates && let Err(error) = self.bank.begin(step.task).await {
            return Outcome::Failed(format!("the transfer could not be written down: {error}"));
        }
        self.bank.gate.pass(Point::Begun).await;
        let mut outcome = self.runner.run(step, entitlement).await;
        if outcome == Outcome::Completed {
            outcome = self.change(step).await;
        }
        if outcome == Outcome::Completed {
            self.bank.gate.pass(Point::BothChanged).await;
        }
        if compensates {
            let task = i64::from(step.task.0);
            let done = outcome == Outcome::Completed;
            let closed = if done { self.bank.end(task).await } else { self.bank.undo(task).await };
            if let Err(error) = closed {
                return Outcome::Unknown(format!("the transfer stays open: {error}"));
            }
        }
        outcome
    }
}

impl StepRunner for Teller {
    fn run(&self, step: StepRef, entitlement: Entitlement) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            if !self.bank.moves(step) {
                return self.runner.run(step, entitlement).await;
            }
            if step.step == 0 {
                return self.transfer(step, entitlement).await;
            }
            match self.runner.run(step, entitlement).await {
                Outcome::Completed => self.change(step).await,
                other => other,
            }
        })
    }

    fn release_sent(&self, step: StepRef) {
        self.runner.release_sent(step);
    }

    fn released(&self, step: StepRef, ret: ReleaseRet) {
        self.runner.released(step, ret);
    }
}
