//! Everything that can take part: controls, every registered lock variant, the ring, and the job queue.

mod jobs;
mod locks;
mod ring;

use std::sync::Arc;
use std::time::Duration;

use harness::engine::{Clock, Fencing, Mechanism, Open};
use harness::model::{Fault, FaultTarget, LinkTo, NodeId, Plan};
use harness::placement::process::Place;
use harness::record::{Role, Survives};
use harness::servers::ServerKind;
use lock_backends::Variant;
use queue_lockfree::{JobForm, Takeover, Transport};
use serde::{Deserialize, Serialize};

use crate::spec::{Class, Members, Placement, ScenarioSpec, Topology};

/// A configured mechanism in a comparison.
#[derive(Debug, Clone)]
pub struct Contender {
    /// Name on the command line and in reports.
    pub name: &'static str,
    /// One sentence on how it works.
    pub summary: &'static str,
    /// Compared, or a control.
    pub role: Role,
    /// The server that it needs.
    pub server: Option<ServerKind>,
    /// What a grant survives.
    pub survives: Survives,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Noop,
    None,
    Ring(Between, Takeover, Members),
    Lock(&'static str),
    Jobs(JobForm),
}

/// How the ring's nodes reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Tcp,
    Calls,
}

/// What a mechanism is made for.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The plan that it will run.
    pub plan: Arc<Plan>,
    /// The run's clock.
    pub clock: Clock,
    /// Address of the server, where it needs one.
    pub endpoint: Option<String>,
    /// Time to live, session timeout, membership suspicion.
    pub detect: Duration,
    /// Delay of the control `noop`.
    pub noop_delay: Duration,
    /// Unique per run: part of owner ids and of the ring's secret.
    pub run_seed: u64,
    /// Which nodes live in this process.
    pub here: Here,
}

/// The nodes that live in one process.
#[derive(Debug, Clone, Default)]
pub struct Here {
    /// Their numbers.
    pub nodes: Vec<NodeId>,
    /// How often they were started before in this run.
    pub incarnation: u32,
    /// What their mechanism introduced itself with then: others still know it by that.
    pub former: Option<String>,
    /// What lies between: the server as each node of the run reaches it over its own link, and how links between nodes
    /// are. None where nothing lies between.
    pub between: Option<LinksBetween>,
}

/// Links that can be slow or broken.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LinksBetween {
    /// The server's endpoint for each node, by number; empty where there is no server.
    pub endpoints: Vec<String>,
    /// Delay of each way between nodes.
    pub one_way: Duration,
}

impl Here {
    /// All nodes of the plan, in this process.
    #[must_use]
    pub fn all(plan: &Plan) -> Self {
        Self { nodes: (0..plan.settings.nodes).map(NodeId).collect(), ..Self::default() }
    }
}

/// What the process of a node makes its mechanism of; see [`node`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Recipe {
    contender: String,
    endpoint: Option<String>,
    detect: Duration,
    noop_delay: Duration,
    run_seed: u64,
    between: Option<LinksBetween>,
    members: Members,
}

/// Makes the mechanism of one node, in a process of its own.
///
/// # Errors
/// When a session or the node cannot be opened.
pub async fn node(place: Place) -> Result<Arc<dyn Mechanism>, String> {
    let recipe: Recipe = serde_json::from_value(place.mechanism)
        .map_err(|error| format!("what the driver asks for is not known here: {error}"))?;
    let contender = all().into_iter().find(|contender| contender.name == recipe.contender);
    let contender = contender.ok_or_else(|| format!("there is no contender `{}` here", recipe.contender))?;
    let contender = contender.with_members(recipe.members);
    let setting = Setting {
        plan: place.plan,
        clock: place.clock,
        endpoint: recipe.endpoint,
        detect: recipe.detect,
        noop_delay: recipe.noop_delay,
        run_seed: recipe.run_seed,
        here: Here {
            nodes: vec![place.node],
            incarnation: place.incarnation,
            former: place.former,
            between: recipe.between,
        },
    };
    contender.build(&setting).await.map_err(|error| format!("{error:#}"))
}

/// Every contender, controls first.
#[must_use]
pub fn all() -> Vec<Contender> {
    let mut all = vec![
        control(
            "noop",
            "grants after a programmed delay and excludes nothing: what it measures is the bench",
            Kind::Noop,
        ),
        control("none", "grants at once and excludes nothing: the checks must catch it", Kind::None),
    ];
    let locks = lock_backends::backends::all().map(locks::contender);
    let (controls, locks): (Vec<_>, Vec<_>) = locks.partition(|contender| contender.role == Role::Control);
    all.extend(controls);
    all.push(control(
        "ring-local",
        "the ring with direct calls instead of connections: its cost without network",
        Kind::Ring(Between::Calls, Takeover::Faithful, Members::Static),
    ));
    all.extend(locks);
    all.extend([
        ring(
            "ring-queue",
            "consistent-hash ring, router over TCP between nodes, work queue per key at its owner; no lock; a change of \
             the ring moves keys at once, whatever runs",
            Takeover::Faithful,
        ),
        ring(
            "ring-drain",
            "as ring-queue, but the new owner of a key starts it when the old one says that nothing of it runs",
            Takeover::Drain,
        ),
        ring(
            "ring-fenced",
            "as ring-queue, but the new owner of a key starts under a higher token; its agents always reject lower ones",
            Takeover::Fenced,
        ),
    ]);
    all.extend(JobForm::ALL.iter().map(|form| jobs::contender(*form)));
    all
}

fn ring(name: &'static str, summary: &'static str, takeover: Takeover) -> Contender {
    Contender {
        name,
        summary,
        role: Role::Contender,
        server: None,
        survives: Survives {
            node_crash: "no: with static membership the keys of a dead owner stay unserved".to_owned(),
            server_kill: "no server; an owner's queued tasks die with it".to_owned(),
            power_loss: "no: queues live in memory".to_owned(),
        },
        kind: Kind::Ring(Between::Tcp, takeover, Members::Static),
    }
}

fn control(name: &'static str, summary: &'static str, kind: Kind) -> Contender {
    let nothing = "no: a control inside one process".to_owned();
    let survives =
        Survives { node_crash: nothing.clone(), server_kill: "no server".to_owned(), power_loss: nothing };
    Contender { name, summary, role: Role::Control, server: None, survives, kind }
}

impl Contender {
    /// The same where the nodes of a ring know of each other in this way; all that have none, and controls, stay as they are.
    #[must_use]
    pub fn with_members(mut self, members: Members) -> Self {
        if let Kind::Ring(Between::Tcp, _, known) = &mut self.kind
            && members == Members::Postgres
        {
            *known = members;
            self.server = Some(ServerKind::Postgres);
            self.survives = Survives {
                node_crash: "partly: once a dead owner is evicted others serve its keys; its queued tasks die with it"
                    .to_owned(),
                server_kill: "grants yes; without the database no change of the ring, and nodes stop after the suspicion"
                    .to_owned(),
                power_loss: "no: queues live in memory".to_owned(),
            };
        }
        self
    }

    /// Whether this is the control without exclusion, which the checks must catch.
    #[must_use]
    pub fn excludes_nothing(&self) -> bool {
        self.kind == Kind::None
    }

    /// Whether this is the control that is programmed with a delay.
    #[must_use]
    pub fn is_noop(&self) -> bool {
        self.kind == Kind::Noop
    }

    /// How it behaves when a node stands still or dies.
    #[must_use]
    pub fn class(&self) -> Class {
        match self.kind {
            _ if self.role == Role::Control => Class::Control,
            Kind::Lock(name) if variant(name).capabilities.lease => Class::Leased,
            Kind::Lock(_) => Class::Unleased,
            Kind::Jobs(_) => Class::Jobs,
            Kind::Ring(_, Takeover::Drain, _) => Class::RingDrain,
            Kind::Ring(_, Takeover::Fenced, _) => Class::RingFenced,
            Kind::Noop | Kind::None | Kind::Ring(_, Takeover::Faithful, _) => Class::Ring,
        }
    }

    /// The agents of its runs: a takeover that is a higher token is none without agents that reject the lower one.
    #[must_use]
    pub fn fencing(&self, wanted: bool) -> Fencing {
        let always = matches!(self.kind, Kind::Ring(_, Takeover::Fenced, _));
        if wanted || always { Fencing::On } else { Fencing::Off }
    }

    /// Whether it is spared a fault: controls prove the bench, undisturbed, and what it has not cannot break.
    #[must_use]
    pub fn is_spared(&self, fault: &Fault) -> bool {
        let of_nodes = fault.verb.is_of_link() && fault.link == LinkTo::Nodes;
        let of_server = matches!(fault.target, FaultTarget::Server | FaultTarget::Leader)
            || fault.verb.is_of_link() && fault.link == LinkTo::Server;
        let has_ring = matches!(self.kind, Kind::Ring(..));
        self.role == Role::Control
            || of_server && self.server.is_none()
            || (fault.verb.is_of_ring() || of_nodes) && !has_ring
    }

    /// Whether shared steps of one resource may be inside together; otherwise they wait for each other.
    #[must_use]
    pub fn shares(&self) -> bool {
        match self.kind {
            Kind::Noop | Kind::None => true,
            Kind::Ring(..) | Kind::Jobs(_) => false,
            Kind::Lock(name) => variant(name).capabilities.shared_mode,
        }
    }

    /// Why it cannot run a scenario, where it cannot.
    #[must_use]
    pub fn refuses(&self, spec: &ScenarioSpec) -> Option<String> {
        let replicated = spec.topology == Topology::Replicated;
        let single = self.server.filter(|kind| replicated && !kind.can_be_replicated());
        if let Some(kind) = single {
            return Some(format!(
                "{kind} has no replicated form here, only etcd and ZooKeeper have: use `--topology single`"
            ));
        }
        let in_memory = match self.kind {
            Kind::Noop | Kind::None | Kind::Ring(Between::Tcp, ..) => false,
            Kind::Jobs(_) => return jobs::refuses(spec),
            Kind::Ring(Between::Calls, ..) => true,
            Kind::Lock(name) => server_kind(variant(name)).is_none(),
        };
        (in_memory && spec.placement == Placement::Process)
            .then(|| "it lives in the memory of one process: use `--placement single`".to_owned())
    }

    /// What the process of a node makes this contender's mechanism of.
    #[must_use]
    pub fn recipe(&self, setting: &Setting) -> Recipe {
        Recipe {
            contender: self.name.to_owned(),
            endpoint: setting.endpoint.clone(),
            detect: setting.detect,
            noop_delay: setting.noop_delay,
            run_seed: setting.run_seed,
            between: setting.here.between.clone(),
            members: match self.kind {
                Kind::Ring(_, _, members) => members,
                _ => Members::default(),
            },
        }
    }

    /// Makes the mechanism, connected and ready to run.
    ///
    /// # Errors
    /// When a session or a node cannot be opened.
    pub async fn build(&self, setting: &Setting) -> anyhow::Result<Arc<dyn Mechanism>> {
        Ok(match self.kind {
            Kind::Noop => {
                Arc::new(Open::new(Arc::clone(&setting.plan), setting.clock.clone(), setting.noop_delay))
            }
            Kind::None => {
                Arc::new(Open::new(Arc::clone(&setting.plan), setting.clock.clone(), Duration::ZERO))
            }
            Kind::Ring(between, takeover, members) => {
                let transport = match between {
                    Between::Tcp => Transport::Tcp,
                    Between::Calls => Transport::Direct(queue_lockfree::Directory::new()),
                };
                Arc::new(ring::RingMechanism::start(setting, transport, takeover, members).await?)
            }
            Kind::Lock(name) => Arc::new(locks::LockMechanism::connect(variant(name), setting).await?),
            Kind::Jobs(form) => Arc::new(jobs::JobMechanism::start(form, setting).await?),
        })
    }
}

fn variant(name: &str) -> &'static Variant {
    lock_backends::variant(name).expect("contenders are made from the registry")
}

/// The server of a lock variant.
pub(crate) fn server_kind(variant: &Variant) -> Option<ServerKind> {
    let server = lock_backends::server_of(variant)?;
    Some(server.name.parse().expect("lock servers are products of the harness"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().iter().map(|contender| contender.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn nobody_is_hit_by_a_fault_of_what_he_has_not() {
        use harness::model::{Direction, FaultVerb};
        let all = all();
        let spared = |name: &str, members, verb, target, link| {
            let contender = all.iter().find(|contender| contender.name == name).unwrap().clone();
            contender.with_members(members).is_spared(&Fault { at_ns: 0, for_ns: 1, verb, target, link })
        };
        let (node, server) = (FaultTarget::Node(NodeId(0)), FaultTarget::Server);
        let (join, cut) = (FaultVerb::Join { late: None }, FaultVerb::Cut { way: Direction::Both });
        let (told, table) = (Members::Static, Members::Postgres);
        for (verb, target, link, expected) in [
            // pg-mux, ring-queue that is told its members, ring-queue with a table of them.
            (join, node, LinkTo::Server, [true, false, false]),
            (cut, node, LinkTo::Nodes, [true, false, false]),
            (cut, node, LinkTo::Server, [false, true, false]),
            (FaultVerb::Kill, server, LinkTo::Server, [false, true, false]),
            (FaultVerb::Kill, node, LinkTo::Server, [false, false, false]),
        ] {
            let found = [("pg-mux", told), ("ring-queue", told), ("ring-queue", table)]
                .map(|(name, members)| spared(name, members, verb, target, link));
            assert_eq!(found, expected, "{verb} {target} {link:?}");
            assert!(
                spared("none", told, verb, target, link) && spared("ring-local", told, verb, target, link)
            );
        }
    }

    #[test]
    fn jobs_are_refused_where_they_would_wait_for_each_other_or_share_a_resource() {
        let all = all();
        let refused = |scenario: &str, settings: &[(String, String)]| {
            let spec = crate::catalog::load(scenario, settings).unwrap().spec;
            let jobs = all.iter().filter(|contender| contender.name.starts_with("jobs-"));
            let reasons: Vec<_> = jobs.map(|contender| contender.refuses(&spec)).collect();
            assert_eq!(reasons.len(), 2);
            assert_eq!(reasons[0], reasons[1]);
            reasons[0].clone()
        };
        assert_eq!(refused("virtual-router", &[]), None);
        assert_eq!(refused("hot-key", &[]), None);
        assert!(refused("smoke", &[]).unwrap().contains("router has level 100, not 1"));
        let flat = ["router", "host"].map(|kind| (format!("resources.{kind}.level"), "1".to_owned()));
        assert!(refused("smoke", &flat).unwrap().contains("those of `start-vm`"));
    }

    #[test]
    fn the_catalogue_names_only_contenders_that_exist() {
        let names: Vec<_> = all().iter().map(|contender| contender.name).collect();
        for (scenario, _) in crate::catalog::ALL {
            for contender in crate::catalog::load(scenario, &[]).unwrap().spec.contenders {
                assert!(names.contains(&contender.get_ref().as_str()), "{scenario}: {contender:?}");
            }
        }
    }
}
