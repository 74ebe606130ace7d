//! A management node: tasks enter here, sections run here.

use std::sync::{Arc, Weak};

use tokio_util::sync::CancellationToken;

use super::agent::{AgentLink, EnterRet, LeaveRet};
use super::clock::Clock;
use super::mechanism::{BoxFuture, Entitlement, Mechanism, StepRunner};
use super::recorder::Recorder;
use crate::model::{Event, Holder, Mode, NodeId, Outcome, Plan, ReleaseRet, StepRef, TaskId, What};

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
        self.ask_again(step, deadline_ns).await
    }

    /// The same for a user who has asked before, at a node that is down now.
    pub async fn ask_again(&self, step: StepRef, deadline_ns: u64) -> Outcome {
        let outcome = match self.mechanism.upgrade() {
            Some(mechanism) => mechanism.run(self.id, step, deadline_ns).await,
            None => Outcome::Refused("the mechanism is shut down".to_owned()),
        };
        self.record(step, What::Returned { outcome: outcome.clone() });
        outcome
    }

    /// The deadline of a step of a planned task that is asked for now: the task's intended start + D. In a closed loop nothing is
    /// intended beforehand, and it is D from now.
    #[must_use]
    pub fn deadline_ns(&self, task: TaskId) -> u64 {
        if self.plan.closed.is_some() {
            return self.clock.now_ns() + self.plan.settings.deadline_ns;
        }
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
            EnterRet::Done => return Outcome::Completed,
        };
        let holder = self.plan.settings.holder;
        let lost = lease.lost();
        // What does not exist yet has never been written.
        let planned = self.plan.step(step);
        let creates = planned.create_ns.filter(|_| value == 0);
        let mut outcome = {
            let work = self.work(step, creates.unwrap_or(planned.hold_ns), &lost);
            tokio::pin!(work);
            tokio::select! {
                biased;
                () = self.told(&lost) => {
                    self.record(step, What::Lost);
                    work.await
                }
                outcome = &mut work => outcome,
            }
        };
        let expired = lease.valid_until_ns().is_some_and(|until_ns| until_ns <= self.clock.now_ns());
        if holder != Holder::Oblivious && outcome == Outcome::Completed && (expired || lost.is_cancelled()) {
            outcome = Outcome::Failed("lease lost".to_owned());
        }
        // Level 0 has no value; a shared step, and one that has found what it looked for, only read; everybody else writes
        // what it read plus one, so that an overlap loses an update.
        let found = planned.create_ns.is_some() && creates.is_none();
        let writes = slot.is_some() && planned.mode == Mode::Exclusive && !found;
        let write = (outcome == Outcome::Completed && writes).then_some(value.wrapping_add(1));
        match self.agent.leave(step, slot, write).await {
            LeaveRet::Rejected(reason) if outcome == Outcome::Completed => Outcome::Rejected(reason),
            LeaveRet::Unknown(reason) if outcome == Outcome::Completed => Outcome::Unknown(reason),
            _ => outcome,
        }
    }

    /// Until it is told of a loss: whoever stands still is told when it goes on.
    async fn told(&self, lost: &CancellationToken) {
        lost.cancelled().await;
        self.clock.awake().await;
    }

    /// What a section does inside: its hold, then its children in order. With `stops` it ends when the lease is lost; a
    /// child that was asked for by then runs to its end, since it has a lock of its own.
    async fn work(&self, step: StepRef, hold_ns: u64, lost: &CancellationToken) -> Outcome {
        let stopped = || Outcome::Failed("lease lost; the hold was cancelled".to_owned());
        let stops = self.plan.settings.holder == Holder::Stops;
        if hold_ns > 0 {
            let until_ns = self.clock.now_ns() + hold_ns;
            tokio::select! {
                biased;
                () = self.clock.sleep_until(until_ns) => {}
                () = self.told(lost), if stops => return stopped(),
            }
        }
        if step.task.is_bystander() {
            return Outcome::Completed;
        }
        for child in self.plan.task(step.task).children(step.step) {
            if stops && lost.is_cancelled() {
                return stopped();
            }
            let child = StepRef { task: step.task, step: child };
            // Boxed inside `run`, so that the recursion has a size.
            let outcome = self.ask(child, self.deadline_ns(step.task)).await;
            if outcome != Outcome::Completed {
                return outcome;
            }
        }
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

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::engine::mechanism::{Lease, NoLease};
    use crate::model::{Arrival, Facts, PlanSettings, Resource, ResourceKind, StepTree};
    use crate::placement::single::run;
    use crate::placement::{Run, RunOptions};

    const MS: u64 = 1_000_000;

    /// Grants at once; the root's lease is lost after a while.
    #[derive(Debug)]
    struct Losing {
        clock: Clock,
        runner: OnceLock<Arc<dyn StepRunner>>,
        after_ns: u64,
    }

    #[derive(Debug)]
    struct Lapsing {
        until_ns: u64,
        lost: CancellationToken,
    }

    impl Lease for Lapsing {
        fn valid_until_ns(&self) -> Option<u64> {
            Some(self.until_ns)
        }

        fn lost(&self) -> CancellationToken {
            self.lost.clone()
        }
    }

    impl Mechanism for Losing {
        fn register(&self, _: NodeId, runner: Arc<dyn StepRunner>) {
            self.runner.set(runner).unwrap();
        }

        fn run(&self, _: NodeId, step: StepRef, _: u64) -> BoxFuture<'_, Outcome> {
            Box::pin(async move {
                let runner = Arc::clone(self.runner.get().unwrap());
                if step.step > 0 || step.task.is_bystander() {
                    let lease = Arc::new(NoLease);
                    return runner.run(step, Entitlement { slot: Some(0), token: None, lease }).await;
                }
                let until_ns = self.clock.now_ns() + self.after_ns;
                let lost = CancellationToken::new();
                let lease = Arc::new(Lapsing { until_ns, lost: lost.clone() });
                let section = runner.run(step, Entitlement { slot: Some(0), token: None, lease });
                tokio::pin!(section);
                tokio::select! {
                    biased;
                    () = self.clock.sleep_until(until_ns) => lost.cancel(),
                    outcome = &mut section => return outcome,
                }
                section.await
            })
        }

        fn shutdown(&self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }

        fn detection(&self) -> String {
            "none".to_owned()
        }
    }

    /// One task, vm (40 ms) → l3 (30 ms), host (30 ms), whose lease of the vm is lost after so long: everything that
    /// happened to its steps, from the start of the run.
    async fn story(holder: Holder, lost_after_ms: u64) -> Vec<(u64, u16, &'static str)> {
        let step = |kind, hold_ms, children| {
            let resource = Resource { kind, id: 0, level: 1 };
            StepTree { resource, mode: Mode::Exclusive, hold_ns: hold_ms * MS, create_ns: None, children }
        };
        let children = vec![step(ResourceKind::L3, 30, vec![]), step(ResourceKind::Host, 30, vec![])];
        told(holder, lost_after_ms, vec![(0, step(ResourceKind::Vm, 40, children))]).await
    }

    /// The same of tasks that arrive at these times.
    async fn told(
        holder: Holder,
        lost_after_ms: u64,
        roots: Vec<(u64, StepTree)>,
    ) -> Vec<(u64, u16, &'static str)> {
        let settings = PlanSettings { seed: 1, nodes: 1, window_ns: 1, deadline_ns: 1000 * MS, holder };
        let arrival = |(at_ms, root)| Arrival { kind: 0, at_ns: at_ms * MS, entry: NodeId(0), root };
        let arrivals = roots.into_iter().map(arrival);
        let plan = Arc::new(Plan::new(settings, vec!["vm".into()], arrivals).unwrap());
        let clock = Clock::virtual_time();
        let after_ns = lost_after_ms * MS;
        let mechanism = Arc::new(Losing { clock: clock.clone(), runner: OnceLock::new(), after_ns });
        let Run { history, facts: Facts { origin_ns, .. }, .. } =
            run(plan, mechanism, clock, RunOptions::default()).await;
        let events = history.to_vec().unwrap();
        let told = events.iter().filter_map(|event| {
            let what = match &event.what {
                What::Entered { .. } => "in",
                What::Lost => "lost",
                What::Left { wrote: Some(_) } => "wrote",
                What::Left { wrote: None } => "left",
                _ => return None,
            };
            Some(((event.at_ns - origin_ns) / MS, event.step.step, what))
        });
        told.collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_oblivious_holder_writes_whatever_happens_to_its_lease() {
        let told = story(Holder::Oblivious, 20).await;
        assert_eq!(told[..2], [(0, 0, "in"), (20, 0, "lost")]);
        assert_eq!(told.last(), Some(&(100, 0, "wrote")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_checks_works_on_and_leaves_without_effect() {
        let told = story(Holder::Checks, 20).await;
        assert_eq!(told.iter().filter(|(.., what)| *what == "wrote").count(), 2, "both children: {told:?}");
        assert_eq!(told.last(), Some(&(100, 0, "left")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_stops_cancels_its_hold() {
        let told = story(Holder::Stops, 20).await;
        assert_eq!(told, [(0, 0, "in"), (20, 0, "lost"), (20, 0, "left")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_stops_lets_a_child_end_and_asks_for_no_other() {
        let told = story(Holder::Stops, 50).await;
        let expected = [(0, 0, "in"), (40, 1, "in"), (50, 0, "lost"), (70, 1, "wrote"), (70, 0, "left")];
        assert_eq!(told, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_creates_and_writes_and_the_next_finds_and_writes_nothing() {
        let root = || {
            let resource = Resource { kind: ResourceKind::Router, id: 0, level: 1 };
            let create_ns = Some(40 * MS);
            StepTree { resource, mode: Mode::Exclusive, hold_ns: 5 * MS, create_ns, children: vec![] }
        };
        let told = told(Holder::Checks, 900, vec![(0, root()), (50, root())]).await;
        assert_eq!(told, [(0, 0, "in"), (40, 0, "wrote"), (50, 0, "in"), (55, 0, "left")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_lasts_disturbs_nobody() {
        for holder in [Holder::Oblivious, Holder::Checks, Holder::Stops] {
            assert_eq!(story(holder, 101).await.last(), Some(&(100, 0, "wrote")));
        }
    }
}
