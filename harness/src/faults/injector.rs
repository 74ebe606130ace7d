//! Injects a plan's faults while the run goes on, and takes each back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::nodes::Nodes;
use super::views::Views;
use crate::engine::{Agent, Clock, Link, Links};
use crate::model::{
    Fault, FaultTarget, FaultVerb, Injected, Late, LinkTo, NodeId, Plan, Section, View, splitmix,
};
use crate::servers::Server;

/// How long a holder is aimed at before the fault is given up.
const AIM: Duration = Duration::from_secs(10);

/// How often the agent is asked who is inside while nobody is.
const LOOK: Duration = Duration::from_millis(1);

/// Injects the faults of one run, one at a time.
pub(crate) struct Injector<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) clock: &'a Clock,
    pub(crate) agent: &'a Agent,
    pub(crate) nodes: &'a dyn Nodes,
    pub(crate) views: &'a Views,
    pub(crate) server: Option<Arc<Mutex<Server>>>,
    pub(crate) links: Option<Arc<Links>>,
    pub(crate) origin_ns: u64,
    /// The run is over: what lasts is taken back, what is to come is left.
    pub(crate) over: CancellationToken,
}

/// Whom a fault has found.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Node(NodeId),
    Server,
    /// The one at this place.
    Member(usize),
}

impl Injector<'_> {
    /// Injects all faults in time. Each is taken back before this returns.
    pub(crate) async fn run(&self) -> Vec<Injected> {
        let mut all = Vec::new();
        for fault in &self.plan.faults {
            let due = self.clock.sleep_until(self.origin_ns + fault.at_ns);
            if self.over.run_until_cancelled(due).await.is_none() {
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
        if let Err(failure) = self.strike_and_take_back(fault, &mut injected).await {
            injected.failure = Some(failure);
        }
        injected
    }

    async fn strike_and_take_back(&self, fault: Fault, injected: &mut Injected) -> Result<(), String> {
        let Some((victim, from_ns)) = self.strike(fault, injected).await? else {
            // Nobody was inside for so long: no failure, but no hit.
            return Ok(());
        };
        match victim {
            Victim::Node(node) => injected.node = Some(node),
            Victim::Member(place) => injected.member = Some(place),
            Victim::Server => {}
        }
        // A holder is stopped first, so that it is known to be inside; then it is killed.
        if fault.verb == FaultVerb::Kill {
            match victim {
                Victim::Node(node) => self.nodes.kill(node).await?,
                Victim::Server => self.server()?.lock().await.kill().await?,
                Victim::Member(place) => self.server()?.lock().await.member(place)?.kill().await?,
            }
        }
        let lasts = self.clock.sleep_until(from_ns + fault.for_ns);
        // Cut short by the end of the run.
        let _early = self.over.run_until_cancelled(lasts).await.is_none();
        let until_ns = self.clock.now_ns();
        let taken_back = match (fault.verb, victim) {
            (FaultVerb::Kill, Victim::Node(node)) => self.nodes.restart(node).await,
            (FaultVerb::Kill, Victim::Server) => self.server()?.lock().await.restart().await,
            (FaultVerb::Kill, Victim::Member(place)) => {
                self.server()?.lock().await.member(place)?.restart().await
            }
            (FaultVerb::Leave { late }, Victim::Node(node)) => self.join(node, late).await,
            (FaultVerb::Join { late }, Victim::Node(node)) => self.leave(node, late).await,
            (_, victim) => self.go_on(fault, victim).await,
        };
        // What is broken is so until it is whole again; a change of the ring is over when the next begins.
        let until_ns = if fault.verb.is_of_ring() { until_ns } else { self.clock.now_ns() };
        injected.lasted_ns = Some((from_ns, until_ns));
        taken_back
    }

    /// Finds whom the fault is aimed at and stops him, or his link; since when.
    async fn strike(&self, fault: Fault, injected: &mut Injected) -> Result<Option<(Victim, u64)>, String> {
        if let FaultVerb::Leave { late } | FaultVerb::Join { late } = fault.verb {
            return self.change_ring(fault, late, injected).await;
        }
        let from_ns = self.clock.now_ns();
        match fault.target {
            FaultTarget::Holder => self.aim(injected).await,
            FaultTarget::Node(node) => {
                injected.hit = self.hit(fault, node).await?;
                Ok(Some((Victim::Node(node), from_ns)))
            }
            FaultTarget::Server => {
                self.stop(fault, Victim::Server).await?;
                Ok(Some((Victim::Server, from_ns)))
            }
            FaultTarget::Leader => {
                let victim = Victim::Member(self.server()?.lock().await.leader().await?);
                // To ask may have taken as long as an election.
                let from_ns = self.clock.now_ns();
                self.stop(fault, victim).await?;
                Ok(Some((victim, from_ns)))
            }
        }
    }

    /// Stops nodes that are inside, or their links, until one is hit: still inside when that is done.
    async fn aim(&self, injected: &mut Injected) -> Result<Option<(Victim, u64)>, String> {
        let fault = injected.fault;
        let give_up_ns = self.clock.now_ns() + AIM.as_nanos() as u64;
        while let Some(section) = self.somebody_inside(fault, give_up_ns).await {
            let (victim, from_ns) = (Victim::Node(section.node), self.clock.now_ns());
            injected.hit = self.hit(fault, section.node).await?;
            if !injected.hit.is_empty() {
                return Ok(Some((victim, from_ns)));
            }
            injected.misses += 1;
            self.go_on(fault, victim).await?;
        }
        Ok(None)
    }

    /// Waits until somebody is inside, and picks one; `None` if nobody is in time.
    async fn somebody_inside(&self, fault: Fault, give_up_ns: u64) -> Option<Section> {
        while self.clock.now_ns() < give_up_ns && !self.over.is_cancelled() {
            let inside = self.agent.inside();
            if let Some(section) = pick(&inside, self.plan.settings.seed ^ fault.at_ns) {
                return Some(section);
            }
            self.clock.sleep_until(self.clock.now_ns() + LOOK.as_nanos() as u64).await;
        }
        None
    }

    /// Takes a node into the ring, or out of it. Nothing is stopped, so whoever is inside stays so meanwhile.
    async fn change_ring(
        &self,
        fault: Fault,
        late: Option<Late>,
        injected: &mut Injected,
    ) -> Result<Option<(Victim, u64)>, String> {
        let node = match fault.target {
            FaultTarget::Node(node) => node,
            FaultTarget::Holder => {
                let give_up_ns = self.clock.now_ns() + AIM.as_nanos() as u64;
                let Some(section) = self.somebody_inside(fault, give_up_ns).await else { return Ok(None) };
                section.node
            }
            FaultTarget::Server | FaultTarget::Leader => {
                return Err("a server is no member of the ring".to_owned());
            }
        };
        // Those at keys that did not move are left out where it is known who moved: in the history.
        injected.hit = self.agent.inside();
        let from_ns = self.clock.now_ns();
        match fault.verb {
            FaultVerb::Join { .. } => self.join(node, late).await?,
            _ => self.leave(node, late).await?,
        }
        Ok(Some((Victim::Node(node), from_ns)))
    }

    async fn join(&self, node: NodeId, late: Option<Late>) -> Result<(), String> {
        self.announce(self.views.join(node)?, late).await;
        Ok(())
    }

    async fn leave(&self, node: NodeId, late: Option<Late>) -> Result<(), String> {
        self.announce(self.views.leave(node)?, late).await;
        Ok(())
    }

    /// Tells every node the view; him who hears late after his time, or at the end of the run if that is sooner.
    async fn announce(&self, view: View, late: Option<Late>) {
        let since_ns = self.clock.now_ns();
        let nodes = (0..self.plan.settings.nodes).map(NodeId);
        for node in nodes.filter(|node| late.is_none_or(|late| late.node != *node)) {
            self.nodes.tell(node, &view).await;
        }
        if let Some(Late { node, by_ns }) = late {
            let due = self.clock.sleep_until(since_ns + by_ns);
            let _early = self.over.run_until_cancelled(due).await.is_none();
            self.nodes.tell(node, &view).await;
        }
    }

    /// Stops a node, or its link; the sections that were hit.
    async fn hit(&self, fault: Fault, node: NodeId) -> Result<Vec<Section>, String> {
        let before = self.inside(node);
        self.stop(fault, Victim::Node(node)).await?;
        // A reset on the way to the agent ends those that it hits; everything else leaves them inside.
        let ends = (fault.verb, fault.link) == (FaultVerb::Reset, LinkTo::Agent);
        Ok(if ends { before } else { self.inside(node) })
    }

    async fn stop(&self, fault: Fault, victim: Victim) -> Result<(), String> {
        match (fault.verb.is_of_link(), fault.link, victim) {
            (true, LinkTo::Nodes, Victim::Node(node)) => {
                self.nodes.disturb(node, Some(fault.verb)).await;
                Ok(())
            }
            (true, ..) => {
                self.links(fault.link, victim)?.iter().for_each(|link| link.strike(fault.verb));
                if let (LinkTo::Agent, Victim::Node(node)) = (fault.link, victim) {
                    // What has passed the link before the fault is not hit by it.
                    self.nodes.hear_out(node).await;
                }
                Ok(())
            }
            (false, _, Victim::Node(node)) => self.nodes.pause(node).await,
            (false, _, Victim::Server) => self.server()?.lock().await.pause().await,
            (false, _, Victim::Member(place)) => self.server()?.lock().await.member(place)?.pause().await,
        }
    }

    async fn go_on(&self, fault: Fault, victim: Victim) -> Result<(), String> {
        match (fault.verb.is_of_link(), fault.link, victim) {
            (true, LinkTo::Nodes, Victim::Node(node)) => {
                self.nodes.disturb(node, None).await;
                Ok(())
            }
            (true, ..) => {
                self.links(fault.link, victim)?.iter().for_each(|link| link.set(link.usual()));
                Ok(())
            }
            (false, _, Victim::Node(node)) => self.nodes.resume(node).await,
            (false, _, Victim::Server) => self.server()?.lock().await.resume(),
            (false, _, Victim::Member(place)) => {
                self.server()?.lock().await.member(place)?.resume();
                Ok(())
            }
        }
    }

    /// The links of a node to the agent or the server; those of all nodes where the server, or a member, is meant.
    fn links(&self, to: LinkTo, victim: Victim) -> Result<Vec<&Link>, String> {
        if to == LinkTo::Agent {
            let Victim::Node(node) = victim else {
                return Err("only nodes have a link to the agent".to_owned());
            };
            let link = self.nodes.agent_link(node);
            return link.map(|link| vec![link]).ok_or_else(|| "there is no link before the agent".to_owned());
        }
        let links = self.links.as_deref().ok_or_else(|| "there is no link before the server".to_owned())?;
        let meant = move |node: usize, member: usize| match victim {
            Victim::Node(victim) => usize::from(victim.0) == node,
            Victim::Member(place) => place == member,
            Victim::Server => true,
        };
        let all = links.iter().enumerate().flat_map(|(node, links)| {
            links.iter().enumerate().map(move |(member, link)| (node, member, link))
        });
        Ok(all.filter(|(node, member, _)| meant(*node, *member)).map(|(_, _, link)| link).collect())
    }

    fn inside(&self, node: NodeId) -> Vec<Section> {
        let mut inside = self.agent.inside();
        inside.retain(|section| section.node == node);
        inside
    }

    fn server(&self) -> Result<&Mutex<Server>, String> {
        self.server.as_deref().ok_or_else(|| "there is no server".to_owned())
    }
}

/// One of those inside, drawn from the plan's seed.
fn pick(inside: &[Section], seed: u64) -> Option<Section> {
    let place = splitmix(seed) % (inside.len() as u64).max(1);
    inside.get(place as usize).copied()
}
