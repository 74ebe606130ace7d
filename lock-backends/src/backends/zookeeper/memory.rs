//! A ZooKeeper in memory and in virtual time: a tree of nodes, sessions that expire, watches, and links that can be cut.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::requests::{Created, Event, Failure, Found, Opened, Reply, Requests, Watch};
use crate::backends::common::{Tasks, lock};

/// How long a request is on its way.
const LATENCY: Duration = Duration::from_millis(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    /// Requests wait until it is up again, and the server hears nothing of the session.
    Cut,
}

#[derive(Default)]
pub(super) struct Server {
    tree: Mutex<Tree>,
    sessions: Tasks,
}

#[derive(Default)]
struct Tree {
    /// The last transaction.
    zxid: i64,
    nodes: BTreeMap<String, Znode>,
}

#[derive(Default)]
struct Znode {
    czxid: i64,
    data: Vec<u8>,
    /// Session whose end deletes it.
    owner: Option<i64>,
    /// Nodes created under it so far.
    created: i64,
    watchers: Vec<oneshot::Sender<Event>>,
}

impl Tree {
    fn put(&mut self, path: &str, data: &[u8], owner: Option<i64>) -> i64 {
        self.zxid += 1;
        let node = Znode { czxid: self.zxid, data: data.to_vec(), owner, ..Znode::default() };
        self.nodes.insert(path.to_owned(), node);
        self.zxid
    }

    fn delete(&mut self, path: &str) -> Result<(), Failure> {
        self.zxid += 1;
        let node = self.nodes.remove(path).ok_or(Failure::NoNode)?;
        for watcher in node.watchers {
            // Whoever left does not hear it.
            watcher.send(Event::Deleted).ok();
        }
        Ok(())
    }

    fn end_session(&mut self, id: i64) {
        let own = self.nodes.iter().filter(|(_, node)| node.owner == Some(id));
        let own: Vec<String> = own.map(|(path, _)| path.clone()).collect();
        own.iter().for_each(|path| self.delete(path).expect("it was found"));
    }
}

type Apply = Box<dyn FnOnce(&mut Tree) + Send>;

/// A session; its requests are applied one after the other by a task of the server's.
struct Session {
    id: i64,
    inbox: mpsc::Sender<(Instant, Apply)>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Server {
    /// As somebody does who thinks that their holders are gone.
    pub(super) fn delete_all_of_sessions(&self) {
        let mut tree = lock(&self.tree);
        let owned = tree.nodes.iter().filter(|(_, node)| node.owner.is_some());
        let owned: Vec<String> = owned.map(|(path, _)| path.clone()).collect();
        owned.iter().for_each(|path| tree.delete(path).expect("it was found"));
    }

    /// Opens a session, which lives while its link is not cut for a whole timeout.
    pub(super) fn session(self: &Arc<Self>, session_timeout: Duration) -> (Opened, watch::Sender<Link>) {
        let (inbox, mut pending) = mpsc::channel::<(Instant, Apply)>(1024);
        let (link, mut heard) = watch::channel(Link::Up);
        let (over, mut told) = watch::channel(false);
        let id = {
            let mut tree = lock(&self.tree);
            tree.zxid += 1;
            tree.zxid
        };
        let (server, mut crossing) = (Arc::clone(self), heard.clone());
        self.sessions.spawn(async move {
            let serving = async {
                while let Some((arrives, apply)) = pending.recv().await {
                    sleep_until(arrives).await;
                    crossing.wait_for(|link| *link == Link::Up).await.ok();
                    apply(&mut lock(&server.tree));
                }
            };
            let silent = async {
                loop {
                    // Whoever drops the link leaves it as it is.
                    if heard.wait_for(|link| *link == Link::Cut).await.is_err() {
                        return std::future::pending().await;
                    }
                    if timeout(session_timeout, heard.wait_for(|link| *link == Link::Up)).await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                biased;
                () = serving => {}
                () = silent => {}
            }
            lock(&server.tree).end_session(id);
            over.send_replace(true);
        });
        let mut reachable = link.subscribe();
        let ended = Box::pin(async move {
            told.wait_for(|over| *over).await.ok();
            reachable.wait_for(|link| *link == Link::Up).await.ok();
        });
        (Opened { requests: Arc::new(Session { id, inbox }), timeout: session_timeout, ended }, link)
    }
}

impl Session {
    fn ask<T: Send + 'static>(
        &self,
        apply: impl FnOnce(&mut Tree) -> Result<T, Failure> + Send + 'static,
    ) -> Reply<'static, T> {
        let (reply, answer) = oneshot::channel();
        let apply = Box::new(move |tree: &mut Tree| drop(reply.send(apply(tree))));
        let sent = self.inbox.try_send((Instant::now() + LATENCY, apply));
        Box::pin(async move {
            sent.map_err(|_| Failure::SessionEnded)?;
            answer.await.unwrap_or(Err(Failure::SessionEnded))
        })
    }
}

impl Requests for Session {
    fn create<'a>(&'a self, prefix: &'a str, data: &'a [u8]) -> Reply<'a, Created> {
        let (prefix, data, owner) = (prefix.to_owned(), data.to_vec(), self.id);
        self.ask(move |tree| {
            let (parent, _) = prefix.rsplit_once('/').ok_or(Failure::NoNode)?;
            let parent = tree.nodes.get_mut(parent).ok_or(Failure::NoNode)?;
            let sequence = parent.created;
            parent.created += 1;
            let path = format!("{prefix}{sequence:010}");
            let czxid = tree.put(&path, &data, Some(owner));
            Ok(Created { path, sequence, czxid })
        })
    }

    fn put_if_absent<'a>(&'a self, path: &'a str, data: &'a [u8]) -> Reply<'a, i64> {
        let (path, data, owner) = (path.to_owned(), data.to_vec(), self.id);
        self.ask(move |tree| {
            let (parent, _) = path.rsplit_once('/').ok_or(Failure::NoNode)?;
            tree.nodes.get(parent).ok_or(Failure::NoNode)?;
            if tree.nodes.contains_key(&path) {
                return Err(Failure::NodeExists);
            }
            Ok(tree.put(&path, &data, Some(owner)))
        })
    }

    fn mkdir<'a>(&'a self, path: &'a str) -> Reply<'a, ()> {
        let path = path.to_owned();
        self.ask(move |tree| {
            if !tree.nodes.contains_key(&path) {
                tree.put(&path, b"", None);
            }
            Ok(())
        })
    }

    fn children<'a>(&'a self, path: &'a str) -> Reply<'a, Vec<String>> {
        let path = path.to_owned();
        self.ask(move |tree| {
            tree.nodes.get(&path).ok_or(Failure::NoNode)?;
            let under = format!("{path}/");
            Ok(tree.nodes.keys().filter_map(|node| Some(node.strip_prefix(&under)?.to_owned())).collect())
        })
    }

    fn exists<'a>(&'a self, path: &'a str) -> Reply<'a, Option<i64>> {
        let path = path.to_owned();
        self.ask(move |tree| Ok(tree.nodes.get(&path).map(|node| node.czxid)))
    }

    fn read<'a>(&'a self, path: &'a str) -> Reply<'a, Found> {
        let path = path.to_owned();
        self.ask(move |tree| {
            let node = tree.nodes.get(&path).ok_or(Failure::NoNode)?;
            Ok(Found { data: node.data.clone(), czxid: node.czxid })
        })
    }

    fn watch<'a>(&'a self, path: &'a str) -> Reply<'a, Watch> {
        let path = path.to_owned();
        self.ask(move |tree| {
            let (watcher, event) = oneshot::channel();
            tree.nodes.get_mut(&path).ok_or(Failure::NoNode)?.watchers.push(watcher);
            Ok(Box::pin(async { event.await.unwrap_or(Event::SessionEnded) }) as Watch)
        })
    }

    fn delete<'a>(&'a self, path: &'a str) -> Reply<'a, ()> {
        let path = path.to_owned();
        self.ask(move |tree| tree.delete(&path))
    }

    fn sync<'a>(&'a self, _: &'a str) -> Reply<'a, ()> {
        self.ask(|_| Ok(()))
    }

    /// A place in the queue that is left over when it is dropped: whoever asked looks for it.
    fn lock<'a>(&'a self, prefix: &'a str, data: &'a [u8]) -> Reply<'a, String> {
        Box::pin(async move {
            let (queue, _) = prefix.rsplit_once('/').ok_or(Failure::NoNode)?;
            self.mkdir(queue).await?;
            let created = self.create(prefix, data).await?;
            let sequence = |name: &String| name.rsplit_once('-')?.1.parse::<i64>().ok();
            loop {
                let mut before = self.children(queue).await?;
                before.retain(|name| sequence(name).is_some_and(|other| other < created.sequence));
                let Some(nearest) = before.iter().max_by_key(|name| sequence(name)) else {
                    return Ok(created.path);
                };
                match self.watch(&format!("{queue}/{nearest}")).await {
                    Ok(event) => drop(event.await),
                    Err(Failure::NoNode) => {}
                    Err(failure) => return Err(failure),
                }
            }
        })
    }
}
