//! The ring as a mechanism of the harness.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use harness::engine::{BoxFuture, Entitlement, Link, Mechanism, StepRunner, Ways};
use harness::model::{FaultVerb, NodeId, Outcome, Plan, Promises, StepRef, Token, View};
use queue_lockfree::{
    Delivery, Handler, HashKind, Member as RingMember, Membership, Node, NodeOptions, Ring, Secret,
    SubmitError, Takeover, Transport, zstack_node_id,
};
use serde::{Deserialize, Serialize};

use super::heartbeats::{Entrant, Heartbeats, gathered};
use crate::contenders::clock::NodeClock;
use crate::contenders::setting::{LinksBetween, Setting};
use crate::contenders::travel::{Held, decode, encode};
use crate::spec::Members;

/// The ring's nodes that live in this process, each going by the view that it was told last, or that it read where there is
/// a table of members. What travels is a step's
/// reference; the owner finds the step in its own plan.
pub(super) struct RingMechanism {
    plan: Arc<Plan>,
    /// All nodes of the run, as they introduced themselves.
    known: Mutex<BTreeMap<NodeId, RingMember>>,
    /// Before the listeners of the nodes here, where links are slow.
    links: BTreeMap<u16, Link>,
    nodes: Mutex<BTreeMap<NodeId, Member>>,
    /// None where membership is static.
    heartbeats: Option<(Heartbeats, Duration)>,
}

/// A node of the ring, and what it does with steps.
type Member = (Arc<Node>, Arc<Sections>);

impl fmt::Debug for RingMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingMechanism").finish_non_exhaustive()
    }
}

impl RingMechanism {
    pub(super) async fn start(
        setting: &Setting,
        transport: Transport,
        takeover: Takeover,
        members: Members,
    ) -> anyhow::Result<Self> {
        let secret = setting.ring_secret.bytes().context("ring: the secret of its nodes is none")?;
        let (mut nodes, mut links) = (BTreeMap::new(), BTreeMap::new());
        let between = setting.here.between.as_ref().filter(|_| matches!(transport, Transport::Tcp));
        // Others still know a node that was started again by its former address.
        let former = setting.here.former.as_deref().map(Introduction::parse).transpose();
        let former = former.map_err(anyhow::Error::msg)?.unwrap_or_default();
        for NodeId(id) in setting.here.nodes.iter().copied() {
            // Named as the original names them, by their address.
            let name = zstack_node_id(&format!("10.0.{}.{}", id / 250, id % 250 + 1));
            let now = Arc::new(NodeClock(setting.clock.clone()));
            let number = queue_lockfree::NodeId(id);
            let mut options = NodeOptions {
                listen: (setting.here.address, 0).into(),
                transport: transport.clone(),
                takeover,
                ..NodeOptions::new(number, &name, Membership::new(), Secret::new(secret), now)
            };
            let known = former.0.iter().find(|(known, ..)| *known == id).map(|(.., address)| *address);
            if let (Some(known), None) = (known, between) {
                options.listen = known;
            }
            let sections = Arc::new(Sections::default());
            let node = Node::start(options, Arc::clone(&sections) as _).await;
            let node = node.with_context(|| format!("ring: cannot start node {id}"))?;
            if let Some(LinksBetween { one_way, .. }) = between {
                let (listen, clock) = (known.unwrap_or(([127, 0, 0, 1], 0).into()), setting.clock.clone());
                let link = Link::open(listen, node.member().address, Ways::delayed(*one_way), clock).await;
                links.insert(id, link.with_context(|| format!("ring: no link before node {id}"))?);
            }
            nodes.insert(NodeId(id), (Arc::new(node), sections));
        }
        let plan = Arc::clone(&setting.plan);
        let nodes = Mutex::new(nodes);
        let mut ring = Self { plan, known: Mutex::default(), links, nodes, heartbeats: None };
        if members == Members::Postgres {
            ring.heartbeats = Some((ring.enter_members(setting).await?, setting.detect));
        }
        Ok(ring)
    }

    /// Enters the nodes here in the table of members, and waits for those elsewhere unless the run is under way.
    async fn enter_members(&self, setting: &Setting) -> anyhow::Result<Heartbeats> {
        let entrants = self.entrants(setting)?;
        let memberships: Vec<_> = entrants.iter().map(|entrant| entrant.membership.clone()).collect();
        let heartbeats = Heartbeats::start(entrants, setting.detect).await?;
        for membership in memberships.iter().filter(|_| setting.here.incarnation == 0) {
            gathered(membership, usize::from(self.plan.settings.nodes)).await?;
        }
        Ok(heartbeats)
    }

    /// The nodes here, as others reach them, each with its way to the database.
    fn entrants(&self, setting: &Setting) -> anyhow::Result<Vec<Entrant>> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let links = setting.here.between.as_ref().map(|between| &between.endpoints);
        let entrant = |(id, (node, sections)): (&NodeId, &Member)| {
            let over_link = links.and_then(|endpoints| endpoints.get(usize::from(id.0)));
            let url = over_link.or(setting.endpoint.as_ref()).context("ring: no database for its members")?;
            let membership = node.membership().clone();
            let stopped = Arc::clone(&sections.stopped);
            Ok(Entrant { url: url.clone(), member: self.reached(node), membership, stopped })
        };
        nodes.iter().map(entrant).collect()
    }

    /// A node here as others reach it: over its link, where there is one.
    fn reached(&self, node: &Node) -> RingMember {
        let member = node.member();
        let address = self.links.get(&member.id.0).map_or(member.address, Link::address);
        RingMember { address, ..member }
    }

    async fn submit(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> Outcome {
        let node = {
            let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            let working = |(_, sections): &&Member| !sections.stopped.load(Ordering::Acquire);
            nodes.get(&at).filter(working).map(|(node, _)| Arc::clone(node))
        };
        let Some(node) = node else { return Outcome::Refused(format!("node {} is down", at.0)) };
        let resource = self.plan.resource(step);
        match node.submit(&resource.key(), resource.level, encode(step), deadline_ns).await {
            Ok(answer) => serde_json::from_slice(&answer).unwrap_or_else(|error| {
                Outcome::Unknown(format!("the owner's answer is not an outcome: {error}"))
            }),
            Err(SubmitError::TimedOut) => Outcome::TimedOut,
            Err(error @ SubmitError::Unknown(_)) => Outcome::Unknown(error.to_string()),
            Err(error @ SubmitError::Failed(_)) => Outcome::Failed(error.to_string()),
            Err(error) => Outcome::Refused(error.to_string()),
        }
    }
}

/// Number, name and address of the ring's nodes that live in one process.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Introduction(Vec<(u16, String, SocketAddr)>);

impl Introduction {
    fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("a ring node's introduction is none: {error}"))
    }
}

impl Mechanism for RingMechanism {
    fn introduction(&self) -> String {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let members = nodes.values().map(|(node, _)| self.reached(node));
        let known = members.map(|member| (member.id.0, member.name, member.address)).collect();
        serde_json::to_string(&Introduction(known)).expect("an introduction is plain data")
    }

    fn meet(&self, introductions: &[String]) -> Result<(), String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for text in introductions {
            known.extend(Introduction::parse(text)?.0.into_iter().map(|(id, name, address)| {
                (NodeId(id), RingMember { id: queue_lockfree::NodeId(id), name, address })
            }));
        }
        Ok(())
    }

    fn view(&self, node: NodeId, view: &View) {
        if self.heartbeats.is_some() {
            // The nodes find out for themselves.
            return;
        }
        let members: Vec<_> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            view.members.iter().filter_map(|member| known.get(member).cloned()).collect()
        };
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((node, _)) = nodes.get(&node) {
            node.membership().install(Ring::new(view.epoch, HashKind::Mixed, members));
        }
    }

    fn disturb(&self, node: NodeId, verb: Option<FaultVerb>) {
        if let Some(link) = self.links.get(&node.0) {
            match verb {
                Some(verb) => link.strike(verb),
                None => link.set(link.usual()),
            }
        }
    }

    fn register(&self, node: NodeId, runner: Arc<dyn StepRunner>) {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, sections)) = nodes.get(&node) {
            sections.runner.set(runner).expect("a node is registered once");
        }
    }

    fn run(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> BoxFuture<'_, Outcome> {
        Box::pin(self.submit(at, step, deadline_ns))
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some((heartbeats, _)) = &self.heartbeats {
                heartbeats.leave().await;
            }
            let nodes = std::mem::take(&mut *self.nodes.lock().unwrap_or_else(PoisonError::into_inner));
            for (node, _) in nodes.values() {
                node.shutdown().await;
            }
        })
    }

    fn promises(&self) -> Promises {
        Promises { one_owner: true, ..Promises::default() }
    }

    fn detection(&self) -> String {
        match &self.heartbeats {
            None => "no failure detection: static membership".to_owned(),
            Some((_, detect)) => format!(
                "heartbeats in PostgreSQL every {0} ms, a member is suspected after {1} ms and evicted {0} ms later",
                detect.as_millis() / 6,
                detect.as_millis()
            ),
        }
    }
}

/// What the owner does with a delivered step: the runner of its node runs it.
#[derive(Default)]
struct Sections {
    runner: OnceLock<Arc<dyn StepRunner>>,
    /// Written by who keeps the node a member: meanwhile it is as good as down, and starts nothing.
    stopped: Arc<AtomicBool>,
}

impl Handler for Sections {
    fn run(&self, delivery: Delivery) -> queue_lockfree::BoxFuture<'_, Bytes> {
        Box::pin(async move {
            let outcome = match (decode(&delivery.payload), self.runner.get()) {
                _ if self.stopped.load(Ordering::Acquire) => {
                    Outcome::Refused("the owner has stopped itself".to_owned())
                }
                (Some(step), Some(runner)) => {
                    let queue_lockfree::Entitlement { slot, token, lost } = delivery.entitlement;
                    let token =
                        token.map(|token| Token { generation: token.generation, sequence: token.sequence });
                    runner.run(step, Entitlement { slot, token, lease: Arc::new(Held(lost.signal())) }).await
                }
                _ => Outcome::Refused("the owner does not know this step".to_owned()),
            };
            serde_json::to_vec(&outcome).expect("an outcome is plain data").into()
        })
    }
}
