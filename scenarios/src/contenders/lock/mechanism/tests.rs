#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::HashSet;

use harness::model::{Arrival, Holder, PlanSettings, Resource, ResourceKind, StepTree, TaskId};
use lock_backends::{Grant, LockSession, Renewal, Variant, backends};

use super::*;
use crate::contenders::lock::variants::Lock;

/// Sessions so far, and the owners that asked on them. Static, since a variant opens its backend by a bare function; one test
/// alone uses it.
static ASKED: Mutex<Vec<OwnerId>> = Mutex::new(Vec::new());

/// Sessions that are lost as soon as something is asked on them.
const LOST: usize = 2;

#[derive(Debug)]
struct LosesSessions;

impl LockBackend for LosesSessions {
    fn connect(
        &self,
        options: SessionOptions,
    ) -> lock_backends::BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        let session = Session {
            ttl: options.ttl,
            lost: CancellationToken::new(),
            operations: lock_backends::Operations::default(),
        };
        Box::pin(std::future::ready(Ok(Arc::new(session) as Arc<dyn LockSession>)))
    }
}

#[derive(Debug)]
struct Session {
    ttl: Duration,
    lost: CancellationToken,
    operations: lock_backends::Operations,
}

type Answer<'a, T> = lock_backends::BoxFuture<'a, Result<T, LockError>>;

impl LockSession for Session {
    fn try_acquire<'a>(&'a self, _: &'a Request) -> Answer<'a, Option<Grant>> {
        unreachable!("steps wait")
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> Answer<'a, Grant> {
        let mut asked = ASKED.lock().unwrap();
        asked.push(request.owner.clone());
        let answer = if asked.len() <= LOST {
            self.lost.cancel();
            Err(LockError::SessionLost("at once".to_owned()))
        } else {
            let (keys, owner) = (request.keys.clone(), request.owner.clone());
            Ok(Grant { keys, owner, token: None, validity: Validity::NoLease })
        };
        Box::pin(std::future::ready(answer))
    }

    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> Answer<'a, Renewal> {
        let session = Validity::NoLease;
        Box::pin(std::future::ready(Ok(Renewal { session, grants: vec![session; grants.len()] })))
    }

    fn release<'a>(&'a self, _: &'a Grant) -> Answer<'a, lock_backends::ReleaseRet> {
        Box::pin(std::future::ready(Ok(lock_backends::ReleaseRet::Released)))
    }

    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    fn ttl(&self) -> Option<Duration> {
        Some(self.ttl)
    }

    fn operations(&self) -> &lock_backends::Operations {
        &self.operations
    }

    fn close(&self) -> lock_backends::BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

fn one_task() -> Arc<Plan> {
    let settings = PlanSettings {
        seed: 1,
        nodes: 1,
        window_ns: 1_000_000_000,
        deadline_ns: 60_000_000_000,
        holder: Holder::Checks,
    };
    let root = StepTree {
        resource: Resource { kind: ResourceKind::Vm, id: 0, level: 1 },
        mode: Mode::Exclusive,
        hold_ns: 1,
        create_ns: None,
        children: Vec::new(),
    };
    let arrival = Arrival { kind: 0, at_ns: 0, entry: NodeId(0), root };
    Arc::new(Plan::new(settings, vec!["change".to_owned()], [arrival]).unwrap())
}

/// Requests of a lost session may reach the server after those of the next one, and among them those that take back what
/// their owner holds.
#[tokio::test]
async fn what_is_asked_again_after_a_lost_session_is_asked_by_another_owner() {
    let like = backends::all().find(|variant| variant.name == "local-mutex").unwrap();
    let variant: &'static Variant =
        Box::leak(Box::new(Variant { open: |_| Ok(Box::new(LosesSessions)), ..*like }));
    let (plan, clock) = (one_task(), Clock::real().unwrap());
    let setting = Setting { detect: Duration::from_secs(60), ..Setting::alone(plan, clock.clone()) };
    let mechanism = LockMechanism::connect(Arc::new(Lock(variant)), &setting).await.unwrap();
    let deadline_ns = clock.now_ns() + 60_000_000_000;
    let step = StepRef { task: TaskId(0), step: 0 };
    let guard = mechanism.guard(NodeId(0), step, deadline_ns).await.unwrap();
    let asked = ASKED.lock().unwrap().clone();
    assert_eq!(asked.len(), LOST + 1);
    assert_eq!(asked.iter().map(|owner| &owner.0).collect::<HashSet<_>>().len(), LOST + 1, "{asked:?}");
    guard.release().await.unwrap();
}
