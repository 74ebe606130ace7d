//! A node: where tasks are submitted, and where those of its keys run.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::directory::Errand;
use super::inbound;
use super::options::NodeOptions;
use super::owner::Owner;
use super::room::Room;
use super::takeover::Ownership;
use super::task::{Handler, SubmitError};
use super::ways::Ways;
use super::wire::{FRAME_OVERHEAD, Frame, Identity, Refusal, Request, Surroundings};
use crate::membership::Membership;
use crate::now::reached;
use crate::queue::{QueueSnapshot, WorkQueues};
use crate::ring::{Member, NodeId};

/// How long tasks that were told to stop may take to do so, before shutdown goes on without them.
const STOP_WAIT: Duration = Duration::from_secs(1);

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
/// Several owners of one node share it in an [`Arc`]. Dropping a node without [`Node::shutdown`] stops its tasks where they are. A handler that submits to its node
/// should hold it weakly, or both live for ever.
#[must_use = "a dropped node stops"]
pub struct Node {
    owner: Arc<Owner>,
    name: String,
    address: SocketAddr,
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
        let NodeOptions {
            id,
            name,
            listen,
            membership,
            transport,
            takeover,
            secret,
            now,
            queue_limits,
            limits,
        } = options;
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let runtime = Handle::current();
        let around = Surroundings {
            identity: Identity { id, secret, limits },
            now: Arc::clone(&now),
            tasks: TaskTracker::new(),
            runtime: runtime.clone(),
            closing: CancellationToken::new(),
        };
        let ways = Ways::new(transport, around.clone());
        let queues = WorkQueues::new(queue_limits, now);
        let owner = Arc::new(Owner {
            id,
            ownership: Ownership::new(id, membership, takeover, ways, queues),
            handler,
            frame_bytes: limits.frame_bytes,
            room: Room::new(limits.task_bytes),
            tasks: TaskTracker::new(),
            runtime,
            stop: CancellationToken::new(),
        });
        if let Some(directory) = owner.ownership.ways.directory() {
            directory.enter(id, &owner);
        }
        let listening = inbound::listen(listener, Arc::clone(&owner), around.clone());
        around.tasks.spawn_on(listening, &around.runtime);
        let (following, closing) = (Arc::clone(&owner), around.closing.clone());
        let following = async move {
            closing.run_until_cancelled(following.ownership.follow()).await;
        };
        around.tasks.spawn_on(following, &around.runtime);
        Ok(Self { owner, name, address, around })
    }

    /// Runs a task at the owner of `key`, at most `level` at a time (0 = unlimited), and returns the handler's answer.
    ///
    /// Tasks of one key start in the order in which one submitter has first polled these futures. `deadline_ns`, on
    /// the nodes' clock ([`Now::deadline_in`](crate::Now::deadline_in) makes one), bounds the wait; a started task is waited for as long as its owner says that it runs.
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
        let errand =
            |epoch| Errand { key: key.to_owned(), level, payload: payload.clone(), deadline_ns, epoch };
        let chosen_by = self.owner.ownership.membership.view().epoch();
        let (owner, answer) = match self.ask(first, errand(chosen_by)).await? {
            Err(Refusal::WrongOwner { owner: Some(second), epoch }) if second != first => {
                (second, self.ask(second, errand(chosen_by.max(epoch))).await?)
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
        &self.owner.ownership.membership
    }

    /// What runs and waits in this node's queues.
    pub fn snapshot(&self) -> Vec<QueueSnapshot> {
        self.owner.ownership.queues.snapshot()
    }

    /// Stops the node: refuses new tasks, gives up those that wait, lets started ones end within
    /// [`RouterLimits::shutdown`](crate::RouterLimits::shutdown), then stops them, and closes the listener and all connections. Ends within a bound
    /// even if a handler never yields; further calls do no harm.
    pub async fn shutdown(&self) {
        self.retire();
        let Surroundings { tasks, closing, identity, .. } = &self.around;
        self.owner.tasks.close();
        let drained = timeout(identity.limits.shutdown, self.owner.tasks.wait()).await.is_ok();
        if !drained {
            tracing::warn!(node = %self.owner.id, tasks = self.owner.tasks.len(), "started tasks are stopped halfway");
        }
        self.owner.ownership.queues.lose();
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

    #[cfg(test)]
    pub(super) fn is_settled(&self, epoch: u64) -> bool {
        self.owner.ownership.is_settled(epoch)
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> Vec<NodeId> {
        self.owner.ownership.ways.known()
    }

    fn retire(&self) {
        if let Some(directory) = self.owner.ownership.ways.directory() {
            directory.leave(self.owner.id);
        }
        self.owner.ownership.queues.close();
    }

    /// The owner by this node's view; waits for the first view.
    async fn owner_of(&self, key: &str, deadline_ns: u64) -> Result<NodeId, SubmitError> {
        if let Some(owner) = self.owner.ownership.membership.view().owner(key) {
            return Ok(owner);
        }
        // Large, and rare.
        Box::pin(self.first_owner_of(key, deadline_ns)).await
    }

    async fn first_owner_of(&self, key: &str, deadline_ns: u64) -> Result<NodeId, SubmitError> {
        let membership = &self.owner.ownership.membership;
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
        let ways = &self.owner.ownership.ways;
        if let Some(directory) = ways.directory() {
            return Ok(directory.find(node)?.run(errand).await);
        }
        let peer = {
            let view = self.owner.ownership.membership.view();
            ways.peer(view.member(node).ok_or(SubmitError::WrongOwner)?)
        };
        let Errand { key, level, payload, deadline_ns, epoch } = errand;
        let request =
            |correlation| Frame::Request(Request { correlation, epoch, level, deadline_ns, key, payload });
        peer.call(deadline_ns, request).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.retire();
        self.owner.ownership.queues.lose();
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
