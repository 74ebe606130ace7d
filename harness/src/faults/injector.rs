//! Injects a plan's faults while the run goes on, and takes each back.

use std::time::Duration;

use super::channel::{Blow, Channel, Victim};
use super::channels;
use super::surroundings::Surroundings;
use crate::engine::Progress;
use crate::model::{Fault, FaultTarget, Injected, NodeId, Plan, Point, Section, splitmix};

/// How long a holder is aimed at before the fault is given up.
const AIM: Duration = Duration::from_secs(10);

/// How often the agent is asked who is inside while nobody is.
const LOOK: Duration = Duration::from_millis(1);

/// Injects the faults of one run, one at a time. What a fault does is the matter of its [`Channel`].
pub(crate) struct Injector<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) origin_ns: u64,
    pub(crate) progress: &'a Progress,
    pub(crate) around: Surroundings<'a>,
}

impl Injector<'_> {
    /// Injects all faults in time. Each is taken back before this returns.
    pub(crate) async fn run(&self) -> Vec<Injected> {
        let mut all = Vec::new();
        for fault in &self.plan.faults {
            if self.around.wait_until(self.origin_ns + fault.at_ns).await.is_none() {
                break;
            }
            all.push(self.one(*fault).await);
        }
        all
    }

    async fn one(&self, fault: Fault) -> Injected {
        let mut injected = Injected {
            fault,
            lasted_ns: None,
            node: None,
            member: None,
            hit: Vec::new(),
            misses: 0,
            failure: None,
        };
        if let Err(failure) = self.inject_and_take_back(&mut injected).await {
            injected.failure = Some(failure);
        }
        self.progress.set_fault(None);
        injected
    }

    async fn inject_and_take_back(&self, injected: &mut Injected) -> Result<(), String> {
        let clock = self.around.clock;
        let channel = channels::of(&injected.fault)?;
        let Some((blow, from_ns)) = self.strike(channel, injected).await? else {
            // Nobody was inside for so long: no failure, but no hit.
            return Ok(());
        };
        self.progress.set_fault(Some(format!("{} {}", blow.fault, blow.victim)));
        match blow.victim {
            Victim::Node(node) => injected.node = Some(node),
            Victim::Member(place) => injected.member = Some(place),
            Victim::Server => {}
        }
        channel.complete(blow).await?;
        if let FaultTarget::At(_) = injected.fault.target {
            // Who stands there goes on when he can.
            self.around.nodes.halt_at(None, None).await;
        }
        tracing::debug!(channel = channel.name(), victim = ?blow.victim, "a fault was injected");
        // Cut short by the end of the run.
        self.around.wait_until(from_ns + blow.fault.for_ns).await;
        let before_ns = clock.now_ns();
        let taken_back = channel.take_back(blow).await;
        injected.lasted_ns = Some((from_ns, channel.until_ns(before_ns, clock.now_ns())));
        taken_back
    }

    /// Finds whom the fault is aimed at and strikes, a holder until one is hit; since when.
    async fn strike(
        &self,
        channel: &dyn Channel,
        injected: &mut Injected,
    ) -> Result<Option<(Blow<'_>, u64)>, String> {
        let (around, fault) = (&self.around, injected.fault);
        let give_up_ns = around.clock.now_ns() + AIM.as_nanos() as u64;
        while let Some(victim) = self.find(fault, give_up_ns).await? {
            let (blow, from_ns) = (Blow { around, fault, victim }, around.clock.now_ns());
            injected.hit = channel.strike(blow).await?;
            if fault.target != FaultTarget::Holder || !channel.missed(&injected.hit) {
                return Ok(Some((blow, from_ns)));
            }
            injected.misses += 1;
            channel.let_go(blow).await?;
        }
        Ok(None)
    }

    /// Whom the fault means now; `None` if it is a holder and nobody is inside in time. To ask who leads may take as long
    /// as an election.
    async fn find(&self, fault: Fault, give_up_ns: u64) -> Result<Option<Victim>, String> {
        Ok(match fault.target {
            FaultTarget::Node(node) => Some(Victim::Node(node)),
            FaultTarget::Server => Some(Victim::Server),
            FaultTarget::Leader => Some(Victim::Member(self.around.server().await?.leader().await?)),
            FaultTarget::Holder => {
                let section = self.somebody_inside(fault, give_up_ns).await;
                section.map(|section| Victim::Node(section.node))
            }
            FaultTarget::At(point) => self.somebody_at(point, give_up_ns).await.map(Victim::Node),
        })
    }

    /// Waits until a task has come to a step and stands there; `None` if none does in time. All others go on.
    async fn somebody_at(&self, point: Point, give_up_ns: u64) -> Option<NodeId> {
        let Surroundings { clock, nodes, over, .. } = &self.around;
        nodes.halt_at(Some(point), None).await;
        let there = tokio::select! {
            biased;
            node = nodes.halted() => Some(node),
            () = clock.sleep_until(give_up_ns) => None,
            () = over.cancelled() => None,
        };
        nodes.halt_at(None, there).await;
        there
    }

    /// Waits until somebody is inside, and picks one; `None` if nobody is in time.
    async fn somebody_inside(&self, fault: Fault, give_up_ns: u64) -> Option<Section> {
        let Surroundings { clock, agent, over, .. } = &self.around;
        while clock.now_ns() < give_up_ns && !over.is_cancelled() {
            let inside = agent.inside();
            if let Some(section) = pick(&inside, self.plan.settings.seed ^ fault.at_ns) {
                return Some(section);
            }
            clock.sleep_until(clock.now_ns() + LOOK.as_nanos() as u64).await;
        }
        None
    }
}

/// One of those inside, drawn from the plan's seed.
fn pick(inside: &[Section], seed: u64) -> Option<Section> {
    let place = splitmix(seed) % (inside.len() as u64).max(1);
    inside.get(place as usize).copied()
}
