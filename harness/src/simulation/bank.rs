//! Accounts whose money the tasks of another mechanism move.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Flaw;
use crate::engine::{BoxFuture, Entitlement, Mechanism, StepRunner};
use crate::model::{Audit, NodeId, Outcome, Plan, Promises, ReleaseRet, StepRef, View};

/// Each task moves one unit from its root's resource to the next one, under the exclusion of another mechanism.
#[derive(Debug)]
pub struct SimulatedBank {
    inner: Arc<dyn Mechanism>,
    accounts: Arc<Accounts>,
}

#[derive(Debug)]
struct Accounts {
    plan: Arc<Plan>,
    balances: Mutex<BTreeMap<u32, i64>>,
    flaw: Flaw,
}

/// In each account at the beginning.
const OPENING: i64 = 100;

impl SimulatedBank {
    /// Accounts for the resources of a plan, whose steps that mechanism runs.
    #[must_use]
    pub fn new(plan: Arc<Plan>, inner: Arc<dyn Mechanism>, flaw: Flaw) -> Self {
        let balances = (0..plan.resources.len() as u32).map(|place| (place, OPENING)).collect();
        Self { inner, accounts: Arc::new(Accounts { plan, balances: Mutex::new(balances), flaw }) }
    }

    /// What is in them.
    #[must_use]
    pub fn audit(&self) -> Audit {
        let balances = self.accounts.balances();
        let accounts = balances.len() as u64;
        Audit { expected: OPENING * accounts as i64, found: balances.values().sum(), accounts, stuck: 0 }
    }
}

impl Accounts {
    fn balances(&self) -> MutexGuard<'_, BTreeMap<u32, i64>> {
        self.balances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn balance(&self, account: u32) -> i64 {
        self.balances().get(&account).copied().unwrap_or(OPENING)
    }

    fn transfer(&self, step: StepRef, read: i64) {
        let from = self.plan.step(step).resource;
        let to = (from + 1) % self.plan.resources.len() as u32;
        let mut balances = self.balances();
        match self.flaw {
            Flaw::ReadsAhead => drop(balances.insert(from, read - 1)),
            _ => *balances.entry(from).or_default() -= 1,
        }
        *balances.entry(to).or_default() += 1;
    }
}

impl Mechanism for SimulatedBank {
    fn register(&self, node: NodeId, runner: Arc<dyn StepRunner>) {
        self.inner.register(node, Arc::new(Teller { runner, accounts: Arc::clone(&self.accounts) }));
    }

    fn view(&self, node: NodeId, view: &View) {
        self.inner.view(node, view);
    }

    fn run(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> BoxFuture<'_, Outcome> {
        self.inner.run(at, step, deadline_ns)
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.inner.shutdown()
    }

    fn detection(&self) -> String {
        self.inner.detection()
    }

    fn promises(&self) -> Promises {
        self.inner.promises()
    }
}

/// Moves the money of what a node's runner has run.
#[derive(Debug)]
struct Teller {
    runner: Arc<dyn StepRunner>,
    accounts: Arc<Accounts>,
}

impl StepRunner for Teller {
    fn run(&self, step: StepRef, entitlement: Entitlement) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let moves = step.step == 0 && !step.task.is_bystander();
            let read = moves.then(|| self.accounts.balance(self.accounts.plan.step(step).resource));
            let outcome = self.runner.run(step, entitlement).await;
            if let Some(read) = read.filter(|_| outcome == Outcome::Completed) {
                self.accounts.transfer(step, read);
            }
            outcome
        })
    }

    fn release_sent(&self, step: StepRef) {
        self.runner.release_sent(step);
    }

    fn released(&self, step: StepRef, ret: ReleaseRet) {
        self.runner.released(step, ret);
    }
}
