//! Injects a plan's faults while the run goes on, and takes each back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Fault, FaultTarget, FaultVerb, Injected, LinkTo};
use crate::agent::{Agent, Section};
use crate::clock::Clock;
use crate::link::{Link, Links};
use crate::mechanism::BoxFuture;
use crate::plan::{NodeId, Plan, splitmix};
use crate::servers::Server;

/// How long a holder is aimed at before the fault is given up.
const AIM: Duration = Duration::from_secs(10);

/// How often the agent is asked who is inside while nobody is.
const LOOK: Duration = Duration::from_millis(1);

/// What faults can be done to nodes, where they are processes.
pub(crate) trait Nodes: Send + Sync {
    /// Stops a node and returns when it stands still and the agent has heard all that it said.
    fn pause(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>>;
    /// Lets it go on.
    fn resume(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>>;
    /// Kills a node that stands still, and returns when its connections have closed.
    fn kill(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>>;
    /// Starts it again and returns when it runs its arrivals.
    fn restart(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>>;
    /// The link between a node and the agent, where there is one.
    fn agent_link(&self, node: NodeId) -> Option<&Link>;
    /// Has the agent hear all that a node has said and that has arrived.
    fn hear_out(&self, node: NodeId) -> BoxFuture<'_, ()>;
}

/// Injects the faults of one run, one at a time.
pub(crate) struct Injector<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) clock: &'a Clock,
    pub(crate) agent: &'a Agent,
    pub(crate) nodes: Option<&'a dyn Nodes>,
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
                Victim::Node(node) => self.nodes()?.kill(node).await?,
                Victim::Server => self.server()?.lock().await.kill().await?,
                Victim::Member(place) => self.server()?.lock().await.member(place)?.kill().await?,
            }
        }
        let lasts = self.clock.sleep_until(from_ns + fault.for_ns);
        // Cut short by the end of the run.
        let _early = self.over.run_until_cancelled(lasts).await.is_none();
        let taken_back = match (fault.verb, victim) {
            (FaultVerb::Kill, Victim::Node(node)) => self.nodes()?.restart(node).await,
            (FaultVerb::Kill, Victim::Server) => self.server()?.lock().await.restart().await,
            (FaultVerb::Kill, Victim::Member(place)) => {
                self.server()?.lock().await.member(place)?.restart().await
            }
            _ => self.go_on(fault, victim).await,
        };
        injected.lasted_ns = Some((from_ns, self.clock.now_ns()));
        taken_back
    }

    /// Finds whom the fault is aimed at and stops him, or his link; since when.
    async fn strike(&self, fault: Fault, injected: &mut Injected) -> Result<Option<(Victim, u64)>, String> {
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
        while self.clock.now_ns() < give_up_ns && !self.over.is_cancelled() {
            let inside = self.agent.inside();
            let Some(section) = pick(&inside, self.plan.settings.seed ^ fault.at_ns) else {
                self.clock.sleep_until(self.clock.now_ns() + LOOK.as_nanos() as u64).await;
                continue;
            };
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

    /// Stops a node, or its link; the sections that were hit.
    async fn hit(&self, fault: Fault, node: NodeId) -> Result<Vec<Section>, String> {
        let before = self.inside(node);
        self.stop(fault, Victim::Node(node)).await?;
        // A reset on the way to the agent ends those that it hits; everything else leaves them inside.
        let ends = (fault.verb, fault.link) == (FaultVerb::Reset, LinkTo::Agent);
        Ok(if ends { before } else { self.inside(node) })
    }

    async fn stop(&self, fault: Fault, victim: Victim) -> Result<(), String> {
        if fault.verb.is_of_link() {
            for link in self.links(fault.link, victim)? {
                match fault.verb {
                    FaultVerb::Reset => link.reset(),
                    verb => link.set(verb.ways(link.usual())),
                }
            }
            if let (LinkTo::Agent, Victim::Node(node)) = (fault.link, victim) {
                // What has passed the link before the fault is not hit by it.
                self.nodes()?.hear_out(node).await;
            }
            return Ok(());
        }
        match victim {
            Victim::Node(node) => self.nodes()?.pause(node).await,
            Victim::Server => self.server()?.lock().await.pause().await,
            Victim::Member(place) => self.server()?.lock().await.member(place)?.pause().await,
        }
    }

    async fn go_on(&self, fault: Fault, victim: Victim) -> Result<(), String> {
        if fault.verb.is_of_link() {
            self.links(fault.link, victim)?.iter().for_each(|link| link.set(link.usual()));
            return Ok(());
        }
        match victim {
            Victim::Node(node) => self.nodes()?.resume(node).await,
            Victim::Server => self.server()?.lock().await.resume(),
            Victim::Member(place) => {
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
            let link = self.nodes()?.agent_link(node);
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

    fn nodes(&self) -> Result<&dyn Nodes, String> {
        self.nodes.ok_or_else(|| "nodes that are no processes cannot be paused or killed".to_owned())
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
