//! A lock variant as a mechanism: the step runs at the node where it was asked for, under a guard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use harness::clock::Clock;
use harness::mechanism::{
    BoxFuture, Entitlement, Lease, Mechanism, NoLease, Outcome, Promises, ReleaseRet, StepRunner, Token,
};
use harness::plan::{Mode, NodeId, Plan, StepRef};
use harness::record::{Role, Survives};
use lock_backends::{
    ClientOptions, Endpoint, Guard, LockClient, LockError, Now, OwnerId, Request, SessionOptions, Validity,
    Variant,
};
use tokio_util::sync::CancellationToken;

use super::{Contender, Kind, Setting, server_kind};

pub(super) fn contender(variant: &'static Variant) -> Contender {
    let server = server_kind(variant.server);
    Contender {
        name: variant.name,
        summary: variant.summary,
        // Without a server it excludes within one process only: nothing to compare with.
        role: if server.is_some() { Role::Contender } else { Role::Control },
        server,
        survives: Survives {
            node_crash: variant.survives.node_crash.to_owned(),
            server_kill: variant.survives.server_kill.to_owned(),
            power_loss: variant.survives.power_loss.to_owned(),
        },
        kind: Kind::Lock(variant.name),
    }
}

/// The run's clock, as lock clients want it.
#[derive(Debug)]
struct NodeClock(Clock);

impl Now for NodeClock {
    fn now_ns(&self) -> u64 {
        self.0.now_ns()
    }
}

/// One lock client per node: its own session, also when all nodes live in one process.
#[derive(Debug)]
pub(super) struct LockMechanism {
    plan: Arc<Plan>,
    variant: &'static Variant,
    run_seed: u64,
    asked_ms: u128,
    clients: Mutex<BTreeMap<NodeId, Arc<LockClient>>>,
    runners: Mutex<BTreeMap<NodeId, Arc<dyn StepRunner>>>,
}

impl LockMechanism {
    pub(super) async fn connect(variant: &'static Variant, setting: &Setting) -> anyhow::Result<Self> {
        let endpoint = Endpoint(setting.endpoint.clone().unwrap_or_default());
        let backend = (variant.open)(&endpoint)?;
        let mut clients = BTreeMap::new();
        for node in (0..setting.plan.settings.nodes).map(NodeId) {
            let options = SessionOptions {
                node: format!("node-{}-{:x}", node.0, setting.run_seed),
                ttl: setting.detect,
                now: Arc::new(NodeClock(setting.clock.clone())),
            };
            let client =
                LockClient::connect_on(&*backend, variant.capabilities, options, ClientOptions::default());
            let client =
                client.await.with_context(|| format!("{}: session of node {}", variant.name, node.0))?;
            clients.insert(node, Arc::new(client));
        }
        Ok(Self {
            plan: Arc::clone(&setting.plan),
            variant,
            run_seed: setting.run_seed,
            asked_ms: setting.detect.as_millis(),
            clients: Mutex::new(clients),
            runners: Mutex::default(),
        })
    }

    fn at(&self, node: NodeId) -> Option<(Arc<LockClient>, Arc<dyn StepRunner>)> {
        let client = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()?;
        let runner = self.runners.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()?;
        Some((client, runner))
    }

    fn request(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> Request {
        let planned = self.plan.step(step);
        let resource = self.plan.resource(step);
        Request {
            keys: vec![resource.key().into()],
            mode: match planned.mode {
                Mode::Exclusive => lock_backends::Mode::Exclusive,
                Mode::Shared => lock_backends::Mode::Shared,
            },
            level: resource.level,
            slot_seed: self.plan.slot_seed(step),
            owner: OwnerId(format!("{:x}:{}:{}.{}", self.run_seed, at.0, step.task.0, step.step).into()),
            description: format!("{step} at node {}", at.0).into(),
            deadline_ns,
        }
    }

    async fn locked(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> Outcome {
        let Some((client, runner)) = self.at(at) else {
            return Outcome::Refused(format!("node {} is down", at.0));
        };
        if self.plan.resource(step).level == 0 {
            return runner.run(step, Entitlement { slot: None, token: None, lease: Arc::new(NoLease) }).await;
        }
        let guard = match client.acquire(self.request(at, step, deadline_ns)).await {
            Ok(guard) => Arc::new(guard),
            Err(error) => return outcome(&error),
        };
        let token =
            guard.token().map(|token| Token { generation: token.generation, sequence: token.sequence });
        let lease = Arc::clone(&guard);
        let entitlement = Entitlement { slot: Some(guard.slot()), token, lease: Arc::new(GuardLease(lease)) };
        let outcome = runner.run(step, entitlement).await;
        let guard = Arc::into_inner(guard).expect("a runner keeps no entitlement beyond its section");
        runner.release_sent(step);
        let ret = match guard.release().await {
            Ok(lock_backends::ReleaseRet::Released) => ReleaseRet::Released,
            Ok(lock_backends::ReleaseRet::AlreadyLost) => ReleaseRet::AlreadyLost,
            Err(error) => ReleaseRet::Unknown(error.to_string()),
        };
        runner.released(step, ret);
        outcome
    }
}

impl Mechanism for LockMechanism {
    fn register(&self, node: NodeId, runner: Arc<dyn StepRunner>) {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner).insert(node, runner);
    }

    fn run(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> BoxFuture<'_, Outcome> {
        Box::pin(self.locked(at, step, deadline_ns))
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.runners.lock().unwrap_or_else(PoisonError::into_inner).clear();
            let clients = std::mem::take(&mut *self.clients.lock().unwrap_or_else(PoisonError::into_inner));
            for client in clients.into_values().filter_map(Arc::into_inner) {
                client.close().await;
            }
        })
    }

    fn operations(&self) -> Option<u64> {
        server_kind(self.variant.server)?;
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        Some(clients.values().map(|client| client.counts().operations).sum())
    }

    fn detection(&self) -> String {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        match clients.values().next().and_then(|client| client.ttl()) {
            Some(ttl) => format!("lease of {} ms (asked {})", ttl.as_millis(), self.asked_ms),
            None => "no lease".to_owned(),
        }
    }

    fn promises(&self) -> Promises {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let ttl = clients.values().next().and_then(|client| client.ttl());
        // Servers notice the end of a lease by ticks of up to half of it; then the waiters must be woken.
        let free_within = ttl.map(|ttl| ttl + ttl / 2 + Duration::from_secs(1));
        Promises { free_within_ns: free_within.map(|within| within.as_nanos() as u64), ..Promises::default() }
    }
}

#[derive(Debug)]
struct GuardLease(Arc<Guard>);

impl Lease for GuardLease {
    fn valid_until_ns(&self) -> Option<u64> {
        match self.0.valid_until() {
            Validity::Until(at_ns) => Some(at_ns),
            Validity::NoLease => None,
            Validity::Lost => Some(0),
        }
    }

    fn lost(&self) -> CancellationToken {
        self.0.lost()
    }
}

fn outcome(error: &LockError) -> Outcome {
    match error {
        LockError::TimedOut => Outcome::TimedOut,
        LockError::Unknown(_) => Outcome::Unknown(error.to_string()),
        LockError::Unavailable(_) => Outcome::Refused(error.to_string()),
        LockError::SessionLost(_) | LockError::Protocol(_) | LockError::Unsupported(_) => {
            Outcome::Failed(error.to_string())
        }
    }
}
