//! The queue of a key: how an attempt finds its place, and passes those before it.

use std::sync::Arc;

use tokio::time::sleep;
use zookeeper_client::{Acls, Client, CreateMode, EventType, OneshotWatcher};

use super::{Failure, Node, RETRY_DELAY, names};
use crate::session::{LockError, Request, Token};

/// A node in a queue.
#[derive(Debug)]
pub(in crate::backends) struct Place {
    pub(in crate::backends) path: String,
    sequence: i64,
    pub(in crate::backends) token: Token,
    /// The nodes before it, nearest last.
    pub(in crate::backends) before: Vec<(i64, String)>,
}

/// How a predecessor was passed.
enum Passed {
    /// Seen to be deleted.
    Deleted,
    /// Gone before it could be watched.
    Absent,
    /// Look at it again.
    Unsure,
}

impl Node {
    /// Joins the queue of the key.
    pub(in crate::backends) async fn enqueue(
        &self,
        name: &Arc<str>,
        request: &Request,
    ) -> Result<Place, LockError> {
        let queue = names::queue_path(name);
        let prefix = names::owner_prefix(&request.owner);
        let path = format!("{queue}/{prefix}");
        let options = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
        loop {
            let (client, sent_ns, limit) = (self.client()?, self.now.now_ns(), self.limit(request));
            // Both are on their way before either is awaited.
            let create = client.create(&path, request.description.as_bytes(), &options);
            let list = client.list_children(&queue);
            let (created, listed) =
                tokio::join!(self.answer(sent_ns, limit, create), self.answer(sent_ns, limit, list));
            let found = match (created, listed) {
                (Ok((stat, sequence)), Ok(children)) => {
                    Some(place(format!("{path}{sequence}"), sequence.into_i64(), stat.czxid, children))
                }
                (Err(Failure::NoNode), _) => {
                    self.make_queue(&client, &queue, request).await?;
                    None
                }
                (Ok(_) | Err(Failure::Unanswered(_)), _) => self
                    .find_by_deadline(&queue, &prefix, request)
                    .await
                    .map_err(|failure| self.doubt(failure))?,
                (Err(failure), _) => return Err(self.failed(failure)),
            };
            if let Some(place) = found {
                self.joined(name, request, place.path.clone());
                return Ok(place);
            }
            if self.remaining(request).is_zero() {
                return Err(LockError::TimedOut);
            }
        }
    }

    /// Makes the parents; whoever else makes them at the same time is welcome.
    async fn make_queue(&self, client: &Client, queue: &str, request: &Request) -> Result<(), LockError> {
        let container = CreateMode::Container.with_acls(Acls::anyone_all());
        let sent_ns = self.now.now_ns();
        self.answer(sent_ns, self.limit(request), client.mkdir(queue, &container))
            .await
            .map_err(|failure| self.failed(failure))
    }

    /// As [`Self::find`], again and again until the deadline.
    async fn find_by_deadline(
        &self,
        queue: &str,
        prefix: &str,
        request: &Request,
    ) -> Result<Option<Place>, Failure> {
        loop {
            match self.find(queue, prefix).await {
                Err(Failure::Unanswered(_)) if !self.remaining(request).is_zero() => sleep(RETRY_DELAY).await,
                found => return found,
            }
        }
    }

    /// Finds the node of an attempt whose answer was lost. `None`: it does not exist and will not.
    pub(super) async fn find(&self, queue: &str, prefix: &str) -> Result<Option<Place>, Failure> {
        let limit = self.ttl / 2;
        let client = self.client().map_err(|_| Failure::SessionEnded)?;
        let sent_ns = self.now.now_ns();
        let (sync, list) = (client.sync(queue), client.list_children(queue));
        let (synced, listed) =
            tokio::join!(self.answer(sent_ns, limit, sync), self.answer(sent_ns, limit, list));
        let children = match (synced, listed) {
            (Err(Failure::NoNode) | Ok(()), Err(Failure::NoNode)) => return Ok(None),
            (Err(failure), _) | (_, Err(failure)) => return Err(failure),
            (Ok(()), Ok(children)) => children,
        };
        let Some(mine) = children.iter().find(|child| child.starts_with(prefix)).cloned() else {
            return Ok(None);
        };
        let path = format!("{queue}/{mine}");
        let sequence =
            names::sequence(&mine).ok_or_else(|| Failure::Refused(format!("odd node name {mine}")))?;
        let stat = self.answer(self.now.now_ns(), limit, client.check_stat(&path)).await?;
        Ok(stat.map(|stat| place(path, sequence, stat.czxid, children)))
    }

    /// Waits until nobody is before the place.
    pub(in crate::backends) async fn wait_turn(
        &self,
        name: &str,
        mut place: Place,
        request: &Request,
    ) -> Result<(), LockError> {
        while let Some((sequence, predecessor)) = place.before.pop() {
            let alone = place.before.is_empty();
            match self.outlast(name, &predecessor, request).await? {
                Passed::Deleted if alone => {}
                Passed::Deleted => self.look_again(name, &mut place, request).await?,
                // It was gone already: so may be others before it, one read each to find out.
                Passed::Absent => {}
                Passed::Unsure => place.before.push((sequence, predecessor)),
            }
        }
        Ok(())
    }

    /// Waits until a predecessor is gone.
    async fn outlast(&self, name: &str, predecessor: &str, request: &Request) -> Result<Passed, LockError> {
        let (client, sent_ns) = (self.client()?, self.now.now_ns());
        let path = format!("{}/{predecessor}", names::queue_path(name));
        let watching = self.answer(sent_ns, self.limit(request), client.get_and_watch_data(&path)).await;
        match watching.map(|(_, _, watcher)| watcher) {
            Ok(watcher) => self.until_deleted(watcher, request).await,
            Err(Failure::NoNode) => Ok(Passed::Absent),
            Err(Failure::Unanswered(_)) if self.remaining(request).is_zero() => Err(LockError::TimedOut),
            Err(Failure::Unanswered(_)) => {
                sleep(RETRY_DELAY.min(self.remaining(request))).await;
                Ok(Passed::Unsure)
            }
            Err(failure) => Err(self.failed(failure)),
        }
    }

    async fn until_deleted(&self, watcher: OneshotWatcher, request: &Request) -> Result<Passed, LockError> {
        tokio::select! {
            biased;
            () = self.lost.cancelled() => Err(self.gone()),
            event = watcher.changed() => match event.event_type {
                EventType::NodeDeleted => Ok(Passed::Deleted),
                EventType::Session if event.session_state.is_terminated() => Err(self.gone()),
                _ => Ok(Passed::Unsure),
            },
            () = request.over(&*self.now) => Err(LockError::TimedOut),
        }
    }

    /// Lists the queue again, to skip those that left it meanwhile.
    async fn look_again(&self, name: &str, place: &mut Place, request: &Request) -> Result<(), LockError> {
        let (client, sent_ns, queue) = (self.client()?, self.now.now_ns(), names::queue_path(name));
        match self.answer(sent_ns, self.limit(request), client.list_children(&queue)).await {
            Ok(children) => place.before = before(children, place.sequence),
            // The earlier list serves as well, only slower.
            Err(Failure::Unanswered(_)) => {}
            Err(failure) => return Err(self.failed(failure)),
        }
        Ok(())
    }
}

fn place(path: String, sequence: i64, czxid: i64, children: Vec<String>) -> Place {
    let token = Token { generation: 0, sequence: czxid.unsigned_abs() };
    Place { path, sequence, token, before: before(children, sequence) }
}

/// The nodes before `sequence`, nearest last.
fn before(children: Vec<String>, sequence: i64) -> Vec<(i64, String)> {
    let numbered = children.into_iter().filter_map(|child| Some((names::sequence(&child)?, child)));
    let mut before: Vec<_> = numbered.filter(|(other, _)| *other < sequence).collect();
    before.sort_unstable();
    before
}
