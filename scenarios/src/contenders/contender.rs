//! What can take part in a comparison.

use std::fmt;
use std::sync::Arc;

use harness::engine::{BoxFuture, Fencing, Mechanism};
use harness::model::{Audit, Fault, FaultTarget, LinkTo, Mode, Plan, Point};
use harness::record::{Role, Survives};
use harness::servers::{ServerKind, Topology};

use super::setting::Setting;
use crate::port::Client;
use crate::spec::{Class, Members, ScenarioSpec};

/// How a class of mechanisms takes part: one file, one line in `CLASSES` of the registry, which asks the class for its
/// contenders; each of them has one of these.
///
/// To implement it: [`Design::class`] and [`Design::build`]; all else has an answer that fits a plain lock without a lease.
/// Everything but `build` is asked before anything runs, and must give the same answer each time.
pub trait Design: fmt::Debug + Send + Sync {
    /// How it behaves when a node stands still or dies: what scenarios expect turns on it.
    fn class(&self) -> Class;

    /// What it proves of the bench, where it is a control that does.
    fn proves(&self) -> Option<Proof> {
        None
    }

    /// Whether shared steps of one resource may be inside together; otherwise they wait for each other.
    fn shares(&self) -> bool {
        false
    }

    /// Whether its nodes form a ring, which can change, and whose links can break.
    fn has_ring(&self) -> bool {
        false
    }

    /// Whether its nodes reach each other, or what keeps their steps apart, by calls: it is there to tell what exclusion takes
    /// where the network is free, so it crosses no link and pays no round trip.
    fn is_free_of_links(&self) -> bool {
        false
    }

    /// Whether it keeps nothing apart unless the agents reject stale tokens.
    fn needs_fencing(&self) -> bool {
        false
    }

    /// Whether it is on several servers that know nothing of each other, and is whose most of them say.
    fn is_of_a_quorum(&self) -> bool {
        false
    }

    /// Whether it was built to be caught: a known mistake on purpose.
    fn is_unsafe(&self) -> bool {
        false
    }

    /// Why it cannot run a scenario, where it cannot.
    fn refuses(&self, _spec: &ScenarioSpec) -> Option<String> {
        None
    }

    /// How its nodes know who is a member; only a ring has a choice.
    fn members(&self) -> Members {
        Members::default()
    }

    /// The program that it is, where it speaks over the port.
    fn client(&self) -> Option<&Client> {
        None
    }

    /// The contender, which has this design, with nodes that know of each other in this way; `None` where that makes no
    /// difference.
    fn with_members(&self, _contender: &Contender, _members: Members) -> Option<Contender> {
        None
    }

    /// The steps of its tasks at which faults can be aimed.
    fn points(&self) -> &'static [Point] {
        &[]
    }

    /// Looks at what its tasks have left behind when all nodes have gone, and settles what is in doubt; `None` where they move
    /// no money.
    ///
    /// # Errors
    /// When the server does not answer.
    fn audit<'a>(&'a self, _setting: &'a Setting) -> BoxFuture<'a, anyhow::Result<Option<Audit>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Makes the mechanism of the nodes that live here, connected and ready to run.
    ///
    /// # Errors
    /// When a session or a node cannot be opened.
    fn build<'a>(&'a self, setting: &'a Setting) -> BoxFuture<'a, anyhow::Result<Arc<dyn Mechanism>>>;
}

/// What a control proves of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// That waits are measured as they are: it makes each as long as it is programmed to, and excludes nothing.
    Measuring,
    /// That the checks see what goes wrong: it excludes nothing, and they must catch it.
    Checks,
    /// What the port takes of those who speak over it: it excludes nothing either.
    Cost,
}

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
    /// How it works.
    pub design: Arc<dyn Design>,
}

/// The control that takes part wherever a program speaks over the port.
pub const PORT_ECHO: &str = "port-echo";

/// What stands behind the name of whoever takes part a second time.
pub const AGAIN: &str = "-again";

impl Contender {
    /// The same once more, as a contender of its own.
    #[must_use]
    pub fn again(&self) -> Self {
        // Names live as long as the program; those of a command are few.
        Self { name: format!("{}{AGAIN}", self.name).leak(), ..self.clone() }
    }

    /// A control inside one process.
    pub(super) fn control(name: &'static str, summary: &'static str, design: impl Design + 'static) -> Self {
        let nothing = "no: a control inside one process".to_owned();
        let survives = Survives {
            node_crash: nothing.clone(),
            server_kill: "no server".to_owned(),
            power_loss: nothing,
        };
        Self { name, summary, role: Role::Control, server: None, survives, design: Arc::new(design) }
    }

    /// The same where the nodes of a ring know of each other in this way; all that have none, and controls, stay as they are.
    #[must_use]
    pub fn with_members(self, members: Members) -> Self {
        self.design.with_members(&self, members).unwrap_or(self)
    }

    /// How it behaves when a node stands still or dies.
    #[must_use]
    pub fn class(&self) -> Class {
        match self.role {
            Role::Control => Class::Control,
            Role::Contender => self.design.class(),
        }
    }

    /// Its name in the registry, also where it takes part a second time.
    #[must_use]
    pub fn plain_name(&self) -> &'static str {
        self.name.strip_suffix(AGAIN).unwrap_or(self.name)
    }

    /// Whether it is a program that speaks over the port.
    #[must_use]
    pub fn is_over_the_port(&self) -> bool {
        self.design.client().is_some()
    }

    /// What it proves of the bench, where it is a control that does.
    #[must_use]
    pub fn proves(&self) -> Option<Proof> {
        self.design.proves()
    }

    /// The agents of its runs: a takeover that is a higher token is none without agents that reject the lower one.
    #[must_use]
    pub fn fencing(&self, wanted: bool) -> Fencing {
        if wanted || self.design.needs_fencing() { Fencing::On } else { Fencing::Off }
    }

    /// Whether it is spared a fault: what it has not cannot break, and only the control that must be caught is hit like a
    /// contender, since the checks must see under faults too.
    #[must_use]
    pub fn is_spared(&self, fault: &Fault) -> bool {
        let of_nodes = fault.verb.is_of_link() && fault.link == LinkTo::Nodes;
        let of_server = matches!(fault.target, FaultTarget::Server | FaultTarget::Leader)
            || fault.verb.is_of_link() && fault.link == LinkTo::Server;
        // Nobody of it ever comes there.
        let elsewhere =
            matches!(fault.target, FaultTarget::At(point) if !self.design.points().contains(&point));
        elsewhere
            || self.role == Role::Control && self.proves() != Some(Proof::Checks)
            || of_server && self.server.is_none()
            || (fault.verb.is_of_ring() || of_nodes) && !self.design.has_ring()
    }

    /// Why it cannot run a scenario, where it cannot.
    #[must_use]
    pub fn refuses(&self, spec: &ScenarioSpec) -> Option<String> {
        let replicated = spec.topology == Topology::Replicated;
        let single = self.server.filter(|kind| replicated && !kind.can_be_replicated());
        if let Some(kind) = single {
            let others = ServerKind::replicated();
            return Some(format!(
                "{kind} has no replicated form here, only {others} have: use `--topology single`"
            ));
        }
        if let Some(kind) = self.server.filter(|kind| !kind.can_be(spec.topology)) {
            return Some(format!("{kind} cannot be started as `{}` here", spec.topology.name()));
        }
        if spec.topology == Topology::Independent && self.server.is_some() && !self.design.is_of_a_quorum() {
            return Some(
                "it is on one server, and these are several that know nothing of each other".to_owned(),
            );
        }
        self.design.refuses(spec)
    }

    /// Makes the mechanism of the nodes that live here, connected and ready to run.
    ///
    /// # Errors
    /// When a session or a node cannot be opened.
    pub async fn build(&self, setting: &Setting) -> anyhow::Result<Arc<dyn Mechanism>> {
        self.design.build(setting).await
    }

    /// What a reader of its figures must know, of a scenario and steps such as the plan's.
    #[must_use]
    pub fn caveats(&self, spec: &ScenarioSpec, plan: &Plan) -> Vec<String> {
        let mut caveats = Vec::new();
        if self.design.is_unsafe() {
            caveats.push("it is unsafe on purpose, built to be caught: not for use".to_owned());
        }
        if self.design.is_free_of_links() && spec.rtt_ms > 0.0 {
            caveats.push(format!(
                "it crosses no link: the round trip of {} ms that others pay is not in its figures",
                spec.rtt_ms
            ));
        }
        if self.design.client().is_some() {
            let pays = format!("what its pipe costs is in its waits, as in those of {PORT_ECHO}");
            caveats.push(format!(
                "it is asked over the port: {pays}, and its program's own processor time is not in its figures"
            ));
        }
        let shares = || plan.tasks.iter().any(|task| task.steps().any(|step| step.mode == Mode::Shared));
        if !self.design.shares() && shares() {
            caveats.push("it has no shared mode: shared steps waited for each other".to_owned());
        }
        caveats
    }
}

/// Why what lives in the memory of one process cannot run a scenario whose nodes are several.
pub(super) fn only_in_one_process(spec: &ScenarioSpec) -> Option<String> {
    spec.placement
        .is_of_processes()
        .then(|| "it lives in the memory of one process: use `--placement single`".to_owned())
}
