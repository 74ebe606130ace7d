//! How a node reaches the others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use super::directory::{Directory, Drained, Transport};
use super::task::SubmitError;
use super::wire::{Frame, Peer, Refusal, Surroundings};
use crate::poison::lock;
use crate::ring::{Member, NodeId, Ring};
use crate::sync::Mutex;

/// The connections that a node has opened, or the directory that it goes by instead.
pub(super) struct Ways {
    transport: Transport,
    peers: Mutex<HashMap<NodeId, Arc<Peer>>>,
    around: Surroundings,
}

impl Ways {
    pub(super) fn new(transport: Transport, around: Surroundings) -> Self {
        Self { transport, peers: Mutex::default(), around }
    }

    pub(super) fn directory(&self) -> Option<&Directory> {
        match &self.transport {
            Transport::Direct(directory) => Some(directory),
            Transport::Tcp => None,
        }
    }

    pub(super) fn grace(&self) -> Duration {
        self.around.identity.limits.grace
    }

    /// The way to a node at its present address.
    pub(super) fn peer(&self, member: &Member) -> Arc<Peer> {
        let start = || Arc::new(Peer::start(member.id, member.address, self.around.clone()));
        match lock(&self.peers).entry(member.id) {
            Entry::Vacant(entry) => Arc::clone(entry.insert(start())),
            Entry::Occupied(mut entry) => {
                if entry.get().address != member.address {
                    // Calls that are open at the old address keep it until they end.
                    entry.insert(start());
                }
                Arc::clone(entry.get())
            }
        }
    }

    /// Lets go of the nodes that are not members of this view. Calls that are open there keep their way until they end; who
    /// still has to ask one of them something opens another.
    pub(super) fn forget_departed(&self, view: &Ring) {
        lock(&self.peers).retain(|id, _| view.member(*id).is_some());
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> Vec<NodeId> {
        let mut known: Vec<_> = lock(&self.peers).keys().copied().collect();
        known.sort_unstable();
        known
    }

    /// Asks an old owner whether `key` is drained there.
    pub(super) async fn is_drained(
        &self,
        member: &Member,
        epoch: u64,
        key: &str,
    ) -> Result<Drained, SubmitError> {
        if let Some(directory) = self.directory() {
            return Ok(directory.find(member.id)?.drained(epoch, key).await);
        }
        let ask = |correlation| Frame::Drain { correlation, epoch, key: key.to_owned() };
        let answer = self.peer(member).call(u64::MAX, ask).await?;
        Ok(match answer {
            Ok(code) if code[..] == [1] => Drained::Key,
            Ok(code) if code[..] == [2] => Drained::All,
            Ok(_) => Drained::Busy,
            Err(Refusal::Shutdown) => Drained::All,
            Err(_) => Drained::Busy,
        })
    }
}
