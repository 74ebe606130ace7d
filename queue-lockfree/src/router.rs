//! Nodes: a task submitted at any of them runs at the owner of its key, in the owner's queue.

mod calls;
mod inbound;
mod link;
mod options;
mod owner;
mod peer;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::options::{Directory, NodeOptions, RouterLimits, Secret, Transport};

use self::link::Identity;
use self::owner::{Errand, Owner};
use self::peer::{Peer, Surroundings};
use crate::frame::{FRAME_OVERHEAD, Refusal, Request};
use crate::membership::Membership;
use crate::now::reached;
use crate::queue::{Entitlement, QueueSnapshot, WorkQueues};
use crate::ring::{Member, NodeId};

/// How long tasks that were told to stop may take to do so, before shutdown goes on without them.
const STOP_WAIT: Duration = Duration::from_secs(1);

/// A boxed future, as object-safe traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What runs a task at its owner; one per node.
pub trait Handler: Send + Sync + 'static {
    /// Runs a task and returns its answer. Called when the task has its slot, which it keeps until the future ends;
    /// submitting other tasks meanwhile, here or elsewhere, is what nested holds are.
    ///
    /// A panic frees the slot and fails the task alone. The future is dropped halfway only when the node is stopped
    /// and does not end in time; the submitter is then told that the outcome is unknown.
    fn run(&self, delivery: Delivery) -> BoxFuture<'_, Bytes>;
}

/// A task whose turn has come.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its key.
    pub key: String,
    /// As submitted.
    pub payload: Bytes,
    /// As submitted, in ns. It bounded the wait; the task may run past it.
    pub deadline_ns: u64,
    /// Epoch of the owner's view when it accepted the task.
    pub epoch: u64,
    /// Slot, token and lost signal.
    pub entitlement: Entitlement,
}

/// Why a task has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// A bound on waiting tasks, or on calls to one node, is reached. It did not run.
    #[error("the queue is full")]
    QueueFull,
    /// The deadline passed, and the task is proven not to run.
    #[error("the deadline passed before the task was started")]
    TimedOut,
    /// The owner cannot be reached, or stops. The task did not run.
    #[error("node {node} is unavailable")]
    NodeUnavailable {
        /// The owner.
        node: NodeId,
    },
    /// The views of the nodes differ: the owner was not found with one redirect. The task did not run.
    #[error("the owner of the key was not found")]
    WrongOwner,
    /// The task may have run, or may yet run.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// This node stops. The task did not run.
    #[error("the node is shut down")]
    Shutdown,
    /// The handler panicked, or the task or its answer is larger than a frame.
    #[error("the task failed: {0}")]
    Failed(String),
}

/// A node: entry for tasks of all keys, owner of some.
///
/// ```text
/// submit at A ──▶ ring: owner is B ──▶ connection A→B ──▶ B's queue of the key ──▶ B's handler
///      ◀────────────────── answer ◀── connection A→B ◀──────────────────────────────────┘
/// ```
///
/// Between two nodes there is one connection per direction of asking, opened by the one that asks, also if both live
/// in one process. If the node itself owns the key, its queue is used directly, as in the original.
///
/// Dropping a node without [`Node::shutdown`] stops its tasks where they are. A handler that submits to its node
/// should hold it weakly, or both live for ever.
pub struct Node {
    owner: Arc<Owner>,
    name: String,
    address: SocketAddr,
    transport: Transport,
    /// Those that this node has submitted to.
    peers: Mutex<HashMap<NodeId, Arc<Peer>>>,
    around: Surroundings,
}

impl Node {
    /// Binds the listener and starts the node. Tasks can be submitted at once; they wait until
    /// [`Membership::install`] has told who owns what. Needs a tokio runtime, and runs handlers on it.
    ///
    /// # Errors
    ///
    /// If the listener cannot be bound.
    pub async fn start(options: NodeOptions, handler: Arc<dyn Handler>) -> io::Result<Self> {
        let NodeOptions { id, name, listen, membership, transport, secret, now, queue_limits, limits } =
            options;
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let runtime = Handle::current();
        let owner = Arc::new(Owner {
            id,
            membership,
            queues: WorkQueues::new(queue_limits, Arc::clone(&now)),
            handler,
            frame_bytes: limits.frame_bytes,
            tasks: TaskTracker::new(),
            runtime: runtime.clone(),
            stop: CancellationToken::new(),
        });
        let around = Surroundings {
            identity: Identity { id, secret, limits },
            now,
            tasks: TaskTracker::new(),
            runtime,
            closing: CancellationToken::new(),
        };
        if let Transport::Direct(directory) = &transport {
            directory.enter(&owner);
        }
        let listening = inbound::listen(listener, Arc::clone(&owner), around.clone());
        around.tasks.spawn_on(listening, &around.runtime);
        Ok(Self { owner, name, address, transport, peers: Mutex::default(), around })
    }

    /// Runs a task at the owner of `key`, at most `level` at a time (0 = unlimited), and returns the handler's answer.
    ///
    /// Tasks of one key start in the order in which one submitter has first polled these futures. `deadline_ns`, on
    /// the nodes' clock, bounds the wait; a started task is waited for as long as its owner says that it runs.
    ///
    /// Cancel safe: dropping the future takes the task back if it has not started; if it has, it runs to its end
    /// unobserved. Over a connection that is best effort.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]; a broken or silent connection is told at the latest two grace periods after the deadline.
    pub async fn submit(
        &self,
        key: &str,
        level: u32,
        payload: Bytes,
        deadline_ns: u64,
    ) -> Result<Bytes, SubmitError> {
        let size = key.len() + payload.len() + FRAME_OVERHEAD;
        if size > self.around.identity.limits.frame_bytes {
            return Err(SubmitError::Failed(format!("a task of {size} bytes exceeds the bound of frames")));
        }
        let first = self.owner_of(key, deadline_ns).await?;
        let errand = || Errand { key: key.to_owned(), level, payload: payload.clone(), deadline_ns };
        let (owner, answer) = match self.ask(first, errand()).await? {
            Err(Refusal::WrongOwner { owner: Some(second), .. }) if second != first => {
                (second, self.ask(second, errand()).await?)
            }
            answer => (first, answer),
        };
        answer.map_err(|refusal| match refusal {
            Refusal::QueueFull => SubmitError::QueueFull,
            Refusal::TimedOut => SubmitError::TimedOut,
            Refusal::Shutdown if owner == self.owner.id => SubmitError::Shutdown,
            Refusal::Shutdown => SubmitError::NodeUnavailable { node: owner },
            Refusal::WrongOwner { .. } => SubmitError::WrongOwner,
            Refusal::Failed(reason) => SubmitError::Failed(reason),
            Refusal::Unknown(reason) => SubmitError::Unknown(reason),
        })
    }

    /// This node's entry for a ring: its id, name and the address that its listener got.
    pub fn member(&self) -> Member {
        Member { id: self.owner.id, name: self.name.clone(), address: self.address }
    }

    /// The view that this node goes by.
    pub fn membership(&self) -> &Membership {
        &self.owner.membership
    }

    /// What runs and waits in this node's queues.
    pub fn snapshot(&self) -> Vec<QueueSnapshot> {
        self.owner.queues.snapshot()
    }

    /// Stops the node: refuses new tasks, gives up those that wait, lets started ones end within
    /// [`RouterLimits::shutdown`], then stops them, and closes the listener and all connections. Ends within a bound
    /// even if a handler never yields; further calls do no harm.
    pub async fn shutdown(&self) {
        self.retire();
        let Surroundings { tasks, closing, identity, .. } = &self.around;
        self.owner.tasks.close();
        let drained = timeout(identity.limits.shutdown, self.owner.tasks.wait()).await.is_ok();
        if !drained {
            tracing::warn!(node = %self.owner.id, tasks = self.owner.tasks.len(), "started tasks are stopped halfway");
        }
        self.owner.queues.lose();
        self.owner.stop.cancel();
        closing.cancel();
        tasks.close();
        let stopped = async {
            self.owner.tasks.wait().await;
            tasks.wait().await;
        };
        if timeout(identity.limits.write + STOP_WAIT, stopped).await.is_err() {
            tracing::error!(node = %self.owner.id, "a task of the node does not end");
        }
    }

    fn retire(&self) {
        if let Transport::Direct(directory) = &self.transport {
            directory.leave(self.owner.id);
        }
        self.owner.queues.close();
    }

    /// The owner by this node's view; waits for the first view.
    async fn owner_of(&self, key: &str, deadline_ns: u64) -> Result<NodeId, SubmitError> {
        let membership = &self.owner.membership;
        if let Some(owner) = membership.view().owner(key) {
            return Ok(owner);
        }
        let mut changes = membership.subscribe();
        loop {
            if let Some(owner) = membership.view().owner(key) {
                return Ok(owner);
            }
            tokio::select! {
                biased;
                () = self.around.closing.cancelled() => return Err(SubmitError::Shutdown),
                _ = changes.changed() => {}
                () = reached(&*self.around.now, deadline_ns) => return Err(SubmitError::TimedOut),
            }
        }
    }

    async fn ask(&self, node: NodeId, errand: Errand) -> Result<Result<Bytes, Refusal>, SubmitError> {
        if node == self.owner.id {
            return Ok(self.owner.submit(errand).await);
        }
        match &self.transport {
            Transport::Direct(directory) => {
                let owner = directory.find(node).ok_or(SubmitError::NodeUnavailable { node })?;
                Ok(owner.submit(errand).await)
            }
            Transport::Tcp => {
                let (peer, epoch) = self.peer(node)?;
                let Errand { key, level, payload, deadline_ns } = errand;
                peer.call(Request { correlation: 0, epoch, level, deadline_ns, key, payload }).await
            }
        }
    }

    /// The way to a node at its present address, and the epoch of the view that names it.
    fn peer(&self, node: NodeId) -> Result<(Arc<Peer>, u64), SubmitError> {
        let view = self.owner.membership.view();
        let address = view.member(node).ok_or(SubmitError::WrongOwner)?.address;
        let start = || Arc::new(Peer::start(node, address, self.around.clone()));
        let peer = match self.peers.lock().unwrap_or_else(PoisonError::into_inner).entry(node) {
            Entry::Vacant(entry) => Arc::clone(entry.insert(start())),
            Entry::Occupied(mut entry) => {
                if entry.get().address != address {
                    // Calls that are open at the old address keep it until they end.
                    entry.insert(start());
                }
                Arc::clone(entry.get())
            }
        };
        Ok((peer, view.epoch()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.retire();
        self.owner.queues.lose();
        self.owner.stop.cancel();
        self.around.closing.cancel();
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.owner.id)
            .field("name", &self.name)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
