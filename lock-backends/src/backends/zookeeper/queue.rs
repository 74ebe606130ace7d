//! The queue of a key: how an attempt finds its place, and passes those before it.

use std::sync::Arc;

use futures_util::future::{join_all, select_all};
use tokio::time::sleep;
use zookeeper_client::{Acls, Client, CreateMode, EventType, WatchedEvent};

use super::{Failure, Node, RETRY_DELAY, names};
use crate::session::{BoxFuture, LockError, Request, Token};

/// A node in a queue.
#[derive(Debug)]
pub(in crate::backends) struct Place {
    pub(in crate::backends) path: String,
    sequence: i64,
    pub(in crate::backends) token: Token,
    /// The nodes before it, nearest last.
    pub(in crate::backends) before: Vec<(i64, String)>,
}

/// A node before the place, under watch.
struct Watched {
    sequence: i64,
    event: BoxFuture<'static, WatchedEvent>,
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

    /// Waits until nobody is before the place. Watches the nearest node and the one before it: when that one is gone, the
    /// nearest is likely to be the holder, and a list that shows so in time makes its deletion the grant.
    pub(in crate::backends) async fn wait_turn(
        &self,
        name: &str,
        mut place: Place,
        request: &Request,
    ) -> Result<(), LockError> {
        let mut watched: Vec<Watched> = Vec::new();
        while !place.before.is_empty() {
            let nearest = &place.before[place.before.len().saturating_sub(2)..];
            watched.retain(|watched| nearest.iter().any(|(sequence, _)| *sequence == watched.sequence));
            let unwatched = nearest
                .iter()
                .filter(|(sequence, _)| watched.iter().all(|watched| watched.sequence != *sequence));
            // All are on their way before any is awaited.
            for watch in join_all(unwatched.map(|node| self.watch(name, node, request))).await {
                watched.extend(watch?);
            }
            if watched.len() == nearest.len() {
                let event = self.first_event(&mut watched, request).await?;
                if event == EventType::NodeDeleted && place.before.len() == 1 {
                    return Ok(());
                }
            }
            self.look_again(name, &mut place, request).await?;
        }
        Ok(())
    }

    /// Reads and watches a node. `None`: it is gone, or nobody answered.
    async fn watch(
        &self,
        name: &str,
        (sequence, node): &(i64, String),
        request: &Request,
    ) -> Result<Option<Watched>, LockError> {
        let (client, sent_ns) = (self.client()?, self.now.now_ns());
        let path = format!("{}/{node}", names::queue_path(name));
        match self.answer(sent_ns, self.limit(request), client.get_and_watch_data(&path)).await {
            Ok((_, _, watcher)) => {
                Ok(Some(Watched { sequence: *sequence, event: Box::pin(watcher.changed()) }))
            }
            Err(Failure::NoNode) => Ok(None),
            Err(Failure::Unanswered(_)) if self.remaining(request).is_zero() => Err(LockError::TimedOut),
            Err(Failure::Unanswered(_)) => {
                sleep(RETRY_DELAY.min(self.remaining(request))).await;
                Ok(None)
            }
            Err(failure) => Err(self.failed(failure)),
        }
    }

    /// The first event of any of them, which is under watch no longer.
    async fn first_event(
        &self,
        watched: &mut Vec<Watched>,
        request: &Request,
    ) -> Result<EventType, LockError> {
        let (event, of) = tokio::select! {
            biased;
            () = self.lost.cancelled() => return Err(self.gone()),
            (event, of, _) = select_all(watched.iter_mut().map(|watched| &mut watched.event)) => (event, of),
            () = request.over(&*self.now) => return Err(LockError::TimedOut),
        };
        watched.swap_remove(of);
        match event.event_type {
            EventType::Session if event.session_state.is_terminated() => Err(self.gone()),
            kind => Ok(kind),
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
