//! Locks as a mechanism of the harness.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use harness::engine::{BoxFuture, Clock, Entitlement, Lease, Mechanism, NoLease, StepRunner};
use harness::model::{Mode, NodeId, Operations, Outcome, Plan, Promises, ReleaseRet, StepRef, Token};
use harness::servers::{self, ServerKind};
use lock_backends::{
    Counts, Endpoint, Guard, LockBackend, LockClient, LockError, OwnerId, Purpose, Request, SessionOptions,
    Validity,
};
use tokio_util::sync::CancellationToken;

use super::locks::Locks;
use crate::contenders::clock::NodeClock;
use crate::contenders::setting::Setting;

/// One lock client per node that lives here: its own session, also when all nodes live in one process.
#[derive(Debug)]
pub(in crate::contenders) struct LockMechanism {
    plan: Arc<Plan>,
    clock: Clock,
    locks: Arc<dyn Locks>,
    run_seed: u64,
    asked: Duration,
    nodes: BTreeMap<NodeId, Sessions>,
    runners: Mutex<BTreeMap<NodeId, Arc<dyn StepRunner>>>,
}

/// The sessions of one node, one at a time: a lost one is followed by another.
#[derive(Debug)]
struct Sessions {
    /// Over the node's own link, where there is one.
    backend: Arc<dyn LockBackend>,
    /// None before the first and after the last.
    current: Mutex<Option<LockClient>>,
    /// How often the node was started before, and how many sessions it has had since; held while one is opened.
    opened: tokio::sync::Mutex<(u32, u32)>,
    /// Operations of those that were lost.
    operations: Mutex<Operations>,
}

impl Sessions {
    fn current(&self) -> MutexGuard<'_, Option<LockClient>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LockMechanism {
    pub(in crate::contenders) async fn connect(
        locks: Arc<dyn Locks>,
        setting: &Setting,
    ) -> anyhow::Result<Self> {
        let open = |node: NodeId, endpoint: Option<&servers::Endpoint>| {
            let endpoint = Endpoint::from(endpoint.map_or("", servers::Endpoint::as_str));
            locks.open(node, &endpoint, setting)
        };
        // One for all that have no link of their own, where it may be: without a server it is what they share.
        let mut shared: Option<Arc<dyn LockBackend>> = None;
        let mut nodes = BTreeMap::new();
        for &node in &setting.here.nodes {
            let own = setting.here.between.as_ref();
            let own = own.and_then(|between| between.endpoints.get(usize::from(node.0)));
            let common = shared.clone().filter(|_| own.is_none() && locks.may_share());
            let backend = match common {
                Some(common) => common,
                None => open(node, own.or(setting.endpoint.as_ref()))?,
            };
            if own.is_none() {
                shared = Some(Arc::clone(&backend));
            }
            let sessions = Sessions {
                backend,
                current: Mutex::default(),
                opened: tokio::sync::Mutex::new((setting.here.incarnation, 0)),
                operations: Mutex::default(),
            };
            nodes.insert(node, sessions);
        }
        let mechanism = Self {
            plan: Arc::clone(&setting.plan),
            clock: setting.clock.clone(),
            locks,
            run_seed: setting.run_seed,
            asked: setting.detect,
            nodes,
            runners: Mutex::default(),
        };
        for &node in &setting.here.nodes {
            let client = mechanism.session(node).await;
            client.with_context(|| format!("{}: session of node {}", mechanism.locks.name(), node.0))?;
        }
        Ok(mechanism)
    }

    /// The node's session; a new one where the last was lost.
    async fn session(&self, node: NodeId) -> Result<LockClient, LockError> {
        let none = || LockError::Unavailable(format!("node {} is down", node.0));
        let sessions = self.nodes.get(&node).ok_or_else(none)?;
        let alive = || sessions.current().clone().filter(|client| !client.lost().is_cancelled());
        if let Some(client) = alive() {
            return Ok(client);
        }
        let mut opened = sessions.opened.lock().await;
        if let Some(client) = alive() {
            return Ok(client);
        }
        if opened.1 > 0 && sessions.current().is_none() {
            // Shut down meanwhile.
            return Err(none());
        }
        let options = SessionOptions {
            node: format!("node-{}-{:x}-{}-{}", node.0, self.run_seed, opened.0, opened.1),
            ttl: self.asked,
            now: Arc::new(NodeClock(self.clock.clone())),
        };
        opened.1 += 1;
        let (capabilities, of_client) = (self.locks.capabilities(), self.locks.options());
        let client = LockClient::connect_on(&*sessions.backend, capabilities, options, of_client).await?;
        let lost = sessions.current().replace(client.clone());
        if let Some(lost) = lost {
            let mut before = sessions.operations.lock().unwrap_or_else(PoisonError::into_inner);
            *before = *before + operations(&lost);
        }
        Ok(client)
    }

    /// As negotiated; `None` where there is no lease.
    fn ttl(&self) -> Option<Duration> {
        let mut clients = self.nodes.values().filter_map(|sessions| sessions.current().clone());
        clients.next().and_then(|client| client.ttl())
    }

    fn runner(&self, node: NodeId) -> Option<Arc<dyn StepRunner>> {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    /// A guard on the step's key; asked for again when the session is lost on the way, since what it may have held went
    /// with it. By another owner then: what the lost session still has under way withdraws what its owner holds.
    async fn guard(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> Result<Guard, LockError> {
        for attempt in 0.. {
            let client = tokio::select! {
                biased;
                client = self.session(at) => client?,
                // Nothing has been asked for.
                () = self.clock.sleep_until(deadline_ns) => return Err(LockError::TimedOut),
            };
            match client.acquire_request(self.request(at, step, attempt, deadline_ns)).await {
                Err(LockError::SessionLost(_)) if self.clock.now_ns() < deadline_ns => {}
                answer => return answer,
            }
        }
        Err(LockError::TimedOut)
    }

    fn request(&self, at: NodeId, step: StepRef, attempt: u32, deadline_ns: u64) -> Request {
        let planned = self.plan.step(step);
        let resource = self.plan.resource(step);
        Request {
            // Of this run alone: on a server that has served another, nothing that is left of it is in the way.
            keys: vec![format!("{}-{:08x}", resource.key(), self.run_seed as u32).into()],
            mode: match planned.mode {
                Mode::Shared if self.locks.capabilities().shared_mode => lock_backends::Mode::Shared,
                // Without shared mode, shared steps wait for each other: slower, and safe.
                Mode::Shared | Mode::Exclusive => lock_backends::Mode::Exclusive,
            },
            level: resource.level,
            slot_seed: self.plan.slot_seed(step),
            owner: OwnerId(
                format!("{:x}:{}:{}.{}:{attempt}", self.run_seed, at.0, step.task.0, step.step).into(),
            ),
            description: format!("{step} at node {}", at.0).into(),
            deadline_ns,
            left: CancellationToken::new(),
        }
    }

    async fn locked(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> Outcome {
        let Some(runner) = self.runner(at) else {
            return Outcome::Refused(format!("node {} is down", at.0));
        };
        if self.plan.resource(step).level == 0 {
            return runner.run(step, Entitlement { slot: None, token: None, lease: Arc::new(NoLease) }).await;
        }
        let guard = match self.guard(at, step, deadline_ns).await {
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
            Ok(()) => ReleaseRet::Released,
            Err(LockError::AlreadyLost) => ReleaseRet::AlreadyLost,
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
        let locked = self.locked(at, step, deadline_ns);
        match step.task.is_bystander() {
            true => Box::pin(Purpose::Probe.scope(locked)),
            false => Box::pin(locked),
        }
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.runners.lock().unwrap_or_else(PoisonError::into_inner).clear();
            for sessions in self.nodes.values() {
                let client = sessions.current().take();
                if let Some(client) = client {
                    client.close().await;
                }
            }
        })
    }

    fn operations(&self) -> Option<Operations> {
        if !self.locks.are_counted() {
            return None;
        }
        let of = |sessions: &Sessions| {
            let current = sessions.current().as_ref().map(operations).unwrap_or_default();
            current + *sessions.operations.lock().unwrap_or_else(PoisonError::into_inner)
        };
        Some(self.nodes.values().map(of).sum())
    }

    fn detection(&self) -> String {
        match self.ttl() {
            Some(ttl) => format!("lease of {} ms (asked {})", ttl.as_millis(), self.asked.as_millis()),
            None => "no lease".to_owned(),
        }
    }

    fn promises(&self) -> Promises {
        // Servers notice the end of a lease by ticks of up to half of it; then the waiters must be woken.
        let free_within = self.ttl().map(|ttl| ttl + ttl / 2 + Duration::from_secs(1));
        // Elections: etcd notices after 1 to 2 s, ZooKeeper after half a session timeout; a vote may be split.
        let replicated = self.locks.server().is_some_and(ServerKind::can_be_replicated);
        let led_within = self.ttl().filter(|_| replicated).map(|ttl| ttl / 2 + Duration::from_secs(4));
        let ns = |within: Duration| within.as_nanos() as u64;
        Promises {
            free_within_ns: free_within.map(ns),
            led_within_ns: led_within.map(ns),
            ..Promises::default()
        }
    }
}

/// What a client has sent, by what it was for.
fn operations(client: &LockClient) -> Operations {
    let Counts { operations, renewals: renewal, probes: bystander, .. } = client.counts();
    Operations { load: operations.saturating_sub(renewal + bystander), bystander, renewal }
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
        LockError::SessionLost(_)
        | LockError::AlreadyLost
        | LockError::Protocol(_)
        | LockError::BadUrl(_)
        | LockError::Unsupported(_) => Outcome::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
