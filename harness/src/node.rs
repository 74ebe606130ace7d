//! A management node: tasks enter here, sections run here.

use std::sync::{Arc, Weak};

use crate::agent::{AgentLink, EnterRet, LeaveRet};
use crate::clock::Clock;
use crate::event::{Event, Recorder, What};
use crate::mechanism::{BoxFuture, Entitlement, Mechanism, Outcome, ReleaseRet, StepRunner};
use crate::plan::{Holder, NodeId, Plan, StepRef, TaskId};

/// One node of a run. It runs its own arrivals, and every step that the mechanism brings to it.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Every node has the plan, so only references travel.
    pub plan: Arc<Plan>,
    /// The run's clock.
    pub clock: Clock,
    /// Start of the run on that clock.
    pub origin_ns: u64,
    /// The way to the agent.
    pub agent: Arc<dyn AgentLink>,
    /// Where its events go.
    pub recorder: Arc<Recorder>,
    /// Weak, since the mechanism holds its runners.
    pub mechanism: Weak<dyn Mechanism>,
}

impl Node {
    /// Asks the mechanism for a step, here, and returns when the caller may go on.
    pub async fn ask(&self, step: StepRef, deadline_ns: u64) -> Outcome {
        self.record(step, What::Invoked);
        let outcome = match self.mechanism.upgrade() {
            Some(mechanism) => mechanism.run(self.id, step, deadline_ns).await,
            None => Outcome::Refused("the mechanism is shut down".to_owned()),
        };
        self.record(step, What::Returned { outcome: outcome.clone() });
        outcome
    }

    /// The deadline of a planned task: intended start + D.
    #[must_use]
    pub fn deadline_ns(&self, task: TaskId) -> u64 {
        let arrival_ns = self.plan.tasks.get(task.0 as usize).map_or(0, |task| task.arrival_ns);
        self.origin_ns + arrival_ns + self.plan.settings.deadline_ns
    }

    fn record(&self, step: StepRef, what: What) {
        if !step.task.is_bystander() {
            let at_ns = self.clock.now_ns();
            self.recorder.record(Event { at_ns, node: Some(self.id), step, what });
        }
    }

    async fn section(&self, step: StepRef, entitlement: Entitlement) -> Outcome {
        let Entitlement { slot, token, lease } = entitlement;
        self.record(step, What::Granted { slot, token, valid_until_ns: lease.valid_until_ns() });
        let value = match self.agent.enter(step, slot, token).await {
            EnterRet::Entered(value) => value,
            EnterRet::Rejected(reason) => return Outcome::Rejected(reason),
        };
        let holder = self.plan.settings.holder;
        let lost = lease.lost();
        let mut outcome = self.hold(step, &lost).await;
        if outcome == Outcome::Completed && !step.task.is_bystander() {
            let task = &self.plan.tasks[step.task.0 as usize];
            for child in task.children(step.step) {
                let child = StepRef { task: step.task, step: child };
                // Boxed inside `run`, so that the recursion has a size.
                outcome = self.ask(child, self.deadline_ns(step.task)).await;
                if outcome != Outcome::Completed {
                    break;
                }
            }
        }
        let expired = lease.valid_until_ns().is_some_and(|until_ns| until_ns <= self.clock.now_ns());
        if holder != Holder::Oblivious && outcome == Outcome::Completed && (expired || lost.is_cancelled()) {
            outcome = Outcome::Failed("lease lost".to_owned());
        }
        // Level 0 has no value; everybody else writes what it read plus one, so that an overlap loses an update.
        let write = (outcome == Outcome::Completed).then_some(value + 1).filter(|_| slot.is_some());
        match self.agent.leave(step, slot, write).await {
            LeaveRet::Rejected(reason) if outcome == Outcome::Completed => Outcome::Rejected(reason),
            _ => outcome,
        }
    }

    /// Works for the step's hold; notes the loss of the lease, and with `stops` ends there.
    async fn hold(&self, step: StepRef, lost: &tokio_util::sync::CancellationToken) -> Outcome {
        let hold_ns = self.plan.step(step).hold_ns;
        if hold_ns == 0 {
            return Outcome::Completed;
        }
        let until_ns = self.clock.now_ns() + hold_ns;
        let elapsed = self.clock.sleep_until(until_ns);
        tokio::pin!(elapsed);
        tokio::select! {
            biased;
            () = &mut elapsed => return Outcome::Completed,
            () = lost.cancelled() => self.record(step, What::Lost),
        }
        if self.plan.settings.holder == Holder::Stops {
            return Outcome::Failed("lease lost; the hold was cancelled".to_owned());
        }
        elapsed.await;
        Outcome::Completed
    }
}

impl StepRunner for Node {
    fn run(&self, step: StepRef, entitlement: Entitlement) -> BoxFuture<'_, Outcome> {
        Box::pin(self.section(step, entitlement))
    }

    fn release_sent(&self, step: StepRef) {
        self.record(step, What::ReleaseSent);
    }

    fn released(&self, step: StepRef, ret: ReleaseRet) {
        self.record(step, What::Released { ret });
    }
}
