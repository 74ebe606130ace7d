//! The queue of a key: how an attempt finds its place, passes those before it, and leaves.
//!
//! **A lost answer.** The owner's id, unique per attempt, is part of the node's name. After a connection loss
//! the queue is synced and listed in the same session, which the old connection can no longer change: the
//! node is found and used, or proven absent. A waiter that gives up deletes its node; when that stays
//! unanswered the outcome is *unknown*.

use std::sync::Arc;

use futures_util::future::{join_all, select_all};

use super::names;
use super::node::{Node, token_of};
use super::requests::{Created, Event, Failure, Watch};
use crate::session::{LockError, OwnerId, ReleaseRet, Request, Token};

/// A node in a queue.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: String,
    sequence: i64,
    pub(super) token: Token,
    /// The nodes before it, nearest last.
    pub(super) before: Vec<(i64, String)>,
}

/// Which of the nodes before its own a waiter watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watching {
    /// The nearest, and the one before it: when that one is gone, the nearest is likely to be the holder, and a list that shows so
    /// in time makes its deletion the grant.
    Nearest,
    /// The first, as everybody else does: each release wakes all, who list the queue again.
    Holder,
}

/// A node before the place, under watch.
struct Watched {
    sequence: i64,
    event: Watch,
}

impl Node {
    /// Joins the queue of the key.
    pub(super) async fn enqueue(&self, name: &Arc<str>, request: &Request) -> Result<Place, LockError> {
        let queue = names::queue_path(name);
        let prefix = names::owner_prefix(&request.owner);
        let path = format!("{queue}/{prefix}");
        loop {
            let (requests, sent_ns, limit) = (self.requests()?, self.now_ns(), self.limit(request));
            // Both are on their way before either is awaited.
            let create = requests.create(&path, request.description.as_bytes());
            let list = requests.children(&queue);
            let (created, listed) =
                tokio::join!(self.answer(sent_ns, limit, create), self.answer(sent_ns, limit, list));
            let found = match (created, listed) {
                (Ok(created), Ok(children)) => Some(place(created, children)),
                (Err(Failure::NoNode), _) => {
                    // Whoever else makes the parents at the same time is welcome.
                    let (sent_ns, limit) = (self.now_ns(), self.limit(request));
                    self.answer(sent_ns, limit, requests.mkdir(&queue))
                        .await
                        .map_err(|failure| self.failed(failure))?;
                    None
                }
                (Ok(_) | Err(Failure::Unanswered(_)), _) => self
                    .until_answered(request, || self.find(&queue, &prefix))
                    .await
                    .map_err(|failure| self.doubt(failure))?,
                (Err(failure), _) => return Err(self.failed(failure)),
            };
            if let Some(place) = found {
                self.joined(name, &request.owner, place.path.clone());
                return Ok(place);
            }
            if self.remaining(request).is_zero() {
                return Err(LockError::TimedOut);
            }
        }
    }

    /// Finds the node of an attempt whose answer was lost. `None`: it does not exist and will not.
    async fn find(&self, queue: &str, prefix: &str) -> Result<Option<Place>, Failure> {
        let limit = self.patience();
        let requests = self.requests().map_err(|_| Failure::SessionEnded)?;
        let sent_ns = self.now_ns();
        let (sync, list) = (requests.sync(queue), requests.children(queue));
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
        let czxid = self.answer(self.now_ns(), limit, requests.exists(&path)).await?;
        Ok(czxid.map(|czxid| place(Created { path, sequence, czxid }, children)))
    }

    /// Deletes the node of an attempt that gives up; done only when the server says so.
    pub(super) async fn withdraw(&self, name: &Arc<str>, owner: &OwnerId) -> Result<ReleaseRet, LockError> {
        let Some(path) = self.path_of(name, owner) else { return Ok(ReleaseRet::AlreadyLost) };
        let requests = self.requests()?;
        let deleted = match self.answer(self.now_ns(), self.patience(), requests.delete(&path)).await {
            Ok(()) => ReleaseRet::Released,
            Err(Failure::NoNode) => ReleaseRet::AlreadyLost,
            Err(failure) => return Err(self.doubt(failure)),
        };
        self.left(name, owner);
        Ok(deleted)
    }

    /// As [`Self::withdraw`], of an attempt that may have a node without our knowing it: if the queue shows one.
    pub(super) async fn withdraw_unseen(
        &self,
        name: &Arc<str>,
        owner: &OwnerId,
    ) -> Result<ReleaseRet, LockError> {
        if self.path_of(name, owner).is_none() {
            let found = self.find(&names::queue_path(name), &names::owner_prefix(owner)).await;
            if let Some(place) = found.map_err(|failure| self.doubt(failure))? {
                self.joined(name, owner, place.path);
            }
        }
        self.withdraw(name, owner).await
    }

    /// Whether anybody holds or waits for the key.
    pub(super) async fn is_queued_for(&self, name: &str) -> Result<bool, LockError> {
        let (requests, queue) = (self.requests()?, names::queue_path(name));
        match self.answer(self.now_ns(), self.patience(), requests.children(&queue)).await {
            Ok(children) => Ok(!children.is_empty()),
            Err(Failure::NoNode) => Ok(false),
            Err(failure) => Err(self.failed(failure)),
        }
    }

    /// The data of the first node in the queue.
    pub(super) async fn holder(&self, key: &str) -> Result<Option<String>, LockError> {
        let (requests, limit, queue) = (self.requests()?, self.patience(), names::queue_path(key));
        let listed = self.answer(self.now_ns(), limit, requests.children(&queue)).await;
        let children = match listed {
            Ok(children) => children,
            Err(Failure::NoNode) => return Ok(None),
            Err(failure) => return Err(self.failed(failure)),
        };
        let numbered = children.into_iter().filter_map(|child| Some((names::sequence(&child)?, child)));
        let Some((_, first)) = numbered.min() else { return Ok(None) };
        let path = format!("{queue}/{first}");
        match self.answer(self.now_ns(), limit, requests.read(&path)).await {
            Ok(found) => Ok(Some(String::from_utf8_lossy(&found.data).into_owned())),
            Err(Failure::NoNode) => Ok(None),
            Err(failure) => Err(self.failed(failure)),
        }
    }

    /// Waits until nobody is before the place.
    pub(super) async fn wait_turn(
        &self,
        name: &str,
        mut place: Place,
        watching: Watching,
        request: &Request,
    ) -> Result<(), LockError> {
        let mut watched: Vec<Watched> = Vec::new();
        while !place.before.is_empty() {
            let nearest = match watching {
                Watching::Nearest => &place.before[place.before.len().saturating_sub(2)..],
                Watching::Holder => &place.before[..1],
            };
            watched.retain(|watched| nearest.iter().any(|(sequence, _)| *sequence == watched.sequence));
            let unwatched = nearest
                .iter()
                .filter(|(sequence, _)| watched.iter().all(|watched| watched.sequence != *sequence));
            // All are on their way before any is awaited.
            let watches = unwatched.map(|(sequence, node)| async move {
                let path = format!("{}/{node}", names::queue_path(name));
                let watch = self.watch(&path, request).await?;
                Ok::<_, LockError>(watch.map(|event| Watched { sequence: *sequence, event }))
            });
            for watch in join_all(watches).await {
                watched.extend(watch?);
            }
            if watched.len() == nearest.len() {
                let event = self.first_event(&mut watched, request).await?;
                if event == Event::Deleted && place.before.len() == 1 {
                    return Ok(());
                }
            }
            self.look_again(name, &mut place, request).await?;
        }
        Ok(())
    }

    /// The first event of any of them, which is under watch no longer.
    async fn first_event(&self, watched: &mut Vec<Watched>, request: &Request) -> Result<Event, LockError> {
        let (event, of) = tokio::select! {
            biased;
            () = self.ended() => return Err(self.gone()),
            (event, of, _) = select_all(watched.iter_mut().map(|watched| &mut watched.event)) => (event, of),
            () = self.wait_over(request) => return Err(LockError::TimedOut),
        };
        watched.swap_remove(of);
        if event == Event::SessionEnded { Err(self.gone()) } else { Ok(event) }
    }

    /// Lists the queue again, to skip those that left it meanwhile.
    async fn look_again(&self, name: &str, place: &mut Place, request: &Request) -> Result<(), LockError> {
        let (requests, sent_ns, queue) = (self.requests()?, self.now_ns(), names::queue_path(name));
        match self.answer(sent_ns, self.limit(request), requests.children(&queue)).await {
            Ok(children) => place.before = before(children, place.sequence),
            // The earlier list serves as well, only slower.
            Err(Failure::Unanswered(_)) => {}
            Err(failure) => return Err(self.failed(failure)),
        }
        Ok(())
    }
}

fn place(Created { path, sequence, czxid }: Created, children: Vec<String>) -> Place {
    Place { path, sequence, token: token_of(czxid), before: before(children, sequence) }
}

/// The nodes before `sequence`, nearest last.
fn before(children: Vec<String>, sequence: i64) -> Vec<(i64, String)> {
    let numbered = children.into_iter().filter_map(|child| Some((names::sequence(&child)?, child)));
    let mut before: Vec<_> = numbered.filter(|(other, _)| *other < sequence).collect();
    before.sort_unstable();
    before
}
