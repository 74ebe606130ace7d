//! A server and its nodes: a latency, and answers that get lost as a test foretells.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::server;
use crate::session::{
    AtKill, BoxFuture, Carried, LockBackend, LockSession, Modelled, Now, OwnerId, Passage, Request,
    SessionOptions, SinceStart,
};

/// One way; a request takes two.
const LATENCY: Duration = Duration::from_millis(1);
pub(super) const TTL: Duration = Duration::from_secs(2);
/// How long a late request is on its way.
pub(super) const LATE: Duration = Duration::from_secs(1);

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is executed, and the connection breaks before its answer.
    AnswerLost,
    /// It is executed, and nobody hears the answer; the connection goes on.
    Unheard,
    /// The connection breaks while it is on its way, and it is executed in the end.
    Late,
    /// It is not sent, since there is no connection.
    Unsent,
    /// The server answers what the protocol does not allow.
    Nonsense,
}

/// Every node's way to the server.
#[derive(Debug)]
struct Wires {
    started: Instant,
    fates: Mutex<VecDeque<Option<Fate>>>,
    /// Requests that are on their way for long.
    late: Arc<Mutex<JoinSet<()>>>,
}

impl Passage for Wires {
    fn carry(&self, at_server: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, Carried> {
        // Foretold in the order of sending.
        let fate = self.fates.lock().unwrap().pop_front().flatten();
        let late = Arc::clone(&self.late);
        Box::pin(async move {
            sleep(LATENCY).await;
            let carried = match fate {
                None => {
                    at_server();
                    Carried::Answered
                }
                Some(Fate::AnswerLost) => {
                    at_server();
                    Carried::Broken
                }
                Some(Fate::Unheard) => {
                    at_server();
                    Carried::Unheard
                }
                Some(Fate::Late) => {
                    late.lock().unwrap().spawn(async move {
                        sleep(LATE).await;
                        at_server();
                    });
                    Carried::Broken
                }
                Some(Fate::Unsent) => Carried::Unsent,
                Some(Fate::Nonsense) => Carried::Nonsense,
            };
            sleep(LATENCY).await;
            carried
        })
    }

    fn push(&self, at_node: Box<dyn FnOnce() + Send>) {
        at_node();
    }

    fn server_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap()
    }

    fn server_starts(&self) -> usize {
        0
    }
}

/// A server, and the clock of all nodes.
pub(super) struct Bench {
    server: Arc<dyn Modelled>,
    wires: Arc<Wires>,
    pub(super) now: Arc<dyn Now>,
}

const KEY: &str = "vm-1";

/// Those of which no test expects that they break their contract.
const HONEST: [&str; 4] = ["redis-poll", "redis-pubsub", "redis-fenced", "redis-queue"];

impl Bench {
    pub(super) fn new() -> Self {
        let (fates, late) = (Mutex::default(), Arc::default());
        let wires = Arc::new(Wires { started: Instant::now(), fates, late });
        Self { server: server(AtKill::Keeps), wires, now: Arc::new(SinceStart::default()) }
    }

    /// What becomes of the next requests, in order; after them, all are answered.
    pub(super) fn foretell(&self, fates: &[Option<Fate>]) {
        self.wires.fates.lock().unwrap().extend(fates);
    }

    pub(super) fn backends(&self) -> [(&'static str, Box<dyn LockBackend>); 4] {
        HONEST.map(|name| (name, self.server.open(name, Arc::clone(&self.wires) as _).unwrap()))
    }

    pub(super) async fn node(&self, backend: &dyn LockBackend) -> Arc<dyn LockSession> {
        let options = SessionOptions { node: "n".into(), ttl: TTL, now: Arc::clone(&self.now) };
        backend.connect(options).await.unwrap()
    }

    pub(super) fn ask(&self, owner: &str, wait: Duration) -> Request {
        let deadline_ns = self.now.now_ns() + u64::try_from(wait.as_nanos()).unwrap();
        Request::exclusive(KEY, OwnerId(owner.into()), deadline_ns)
    }
}

pub(super) const LONG: Duration = Duration::from_secs(60);
