//! A node's one session: what it holds or asks for, and how that is renewed, given back and withdrawn.
//!
//! Every write of an entry names the revision that it replaces, which is never 0: where nothing stands under the key, a mark
//! of a deleted entry is written first. A revision never comes again, so a write whose answer was lost is void
//! once anything else stands there: that is the proof of a withdrawal, however late the write arrives.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::marks::Marks;
use super::requests::{Entry, Last, Put, Requests, Unanswered, What};
use crate::backends::common::lock;
use crate::session::{
    Grant, LockError, Now, OwnerId, ReleaseRet, Request, SessionOptions, Token, Validity, valid_until,
};

/// A node's session.
pub(super) struct Node {
    pub(super) requests: Arc<dyn Requests>,
    pub(super) ttl: Duration,
    pub(super) now: Arc<dyn Now>,
    pub(super) lost: CancellationToken,
    marks: Marks,
    /// Written before a request for an entry is sent; removed when it is certain that nothing of the attempt stands.
    holds: Mutex<HashMap<(OwnerId, Arc<str>), Hold>>,
}

/// An entry that stands, or may.
#[derive(Debug, Clone)]
struct Hold {
    description: Arc<str>,
    /// What the entry replaces.
    replaces: u64,
    /// Of the last write that was acknowledged; `None` until there is one.
    revision: Option<u64>,
}

/// How a try begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// With the mark that is remembered, or as if the key were new.
    Guess,
    /// With a read.
    Look,
    /// With this revision, which somebody has told to be that of a mark.
    Replace(u64),
}

/// What one try brought.
pub(super) enum Attempt {
    Granted(Grant),
    /// Held by somebody else, under this revision.
    Refused(u64),
}

/// What stands under a key.
enum Found {
    /// Nobody's; replace this.
    Free(u64),
    Held(Last),
}

impl Node {
    pub(super) fn new(
        requests: Arc<dyn Requests>,
        ttl: Duration,
        options: SessionOptions,
        lost: CancellationToken,
    ) -> Self {
        Self { requests, ttl, now: options.now, lost, marks: Marks::new(ttl), holds: Mutex::default() }
    }

    /// How long a request may take that nobody waits for.
    pub(super) fn patience(&self) -> Duration {
        self.ttl / 4
    }

    pub(super) fn alive(&self) -> Result<(), LockError> {
        if self.lost.is_cancelled() { Err(LockError::SessionLost("closed".to_owned())) } else { Ok(()) }
    }

    /// Tries once. [`LockError::Unknown`]: an answer was lost, and the attempt has to be withdrawn.
    pub(super) async fn attempt(
        &self,
        key: &Arc<str>,
        request: &Request,
        mut way: Way,
        limit: Duration,
    ) -> Result<Attempt, LockError> {
        let (owner, description) = (&request.owner, &request.description);
        let entry = Entry::held(owner, description);
        loop {
            self.alive()?;
            let replaces = match way {
                Way::Replace(revision) => revision,
                Way::Guess => match self.guess(key, owner, limit).await.map_err(Unanswered::harmless)? {
                    Some(revision) => revision,
                    None => {
                        way = Way::Look;
                        continue;
                    }
                },
                Way::Look => match self.find(key, owner, limit).await.map_err(Unanswered::harmless)? {
                    Found::Free(revision) => revision,
                    Found::Held(last) => return Ok(Attempt::Refused(last.revision)),
                },
            };
            let hold = Hold { description: description.clone(), replaces, revision: None };
            lock(&self.holds).insert((owner.clone(), key.clone()), hold);
            let sent_ns = self.now.now_ns();
            match self.requests.put(key, &entry, replaces, limit).await.map_err(Unanswered::in_doubt)? {
                Put::Written(revision) => {
                    self.written(owner, key, revision);
                    return Ok(Attempt::Granted(Grant {
                        keys: vec![key.clone()],
                        owner: owner.clone(),
                        token: Some(Token { generation: 0, sequence: revision }),
                        validity: valid_until(sent_ns, self.ttl),
                    }));
                }
                Put::Refused => {
                    self.settled(owner, key);
                    way = Way::Look;
                }
            }
        }
    }

    /// The mark to replace; `None`: something stands under the key that is not known here.
    async fn guess(
        &self,
        key: &Arc<str>,
        owner: &OwnerId,
        limit: Duration,
    ) -> Result<Option<u64>, Unanswered> {
        match self.marks.take(key, self.now.now_ns()) {
            Some(revision) => Ok(Some(revision)),
            None => self.mark(key, owner, limit).await,
        }
    }

    /// Writes a mark where nothing stands.
    async fn mark(&self, key: &str, owner: &OwnerId, limit: Duration) -> Result<Option<u64>, Unanswered> {
        match self.requests.put(key, &Entry::free(owner), 0, limit).await? {
            Put::Written(revision) => Ok(Some(revision)),
            Put::Refused => Ok(None),
        }
    }

    async fn find(&self, key: &str, owner: &OwnerId, limit: Duration) -> Result<Found, Unanswered> {
        loop {
            match self.requests.last(key, limit).await? {
                Some(last) if last.entry.what == What::Held => return Ok(Found::Held(last)),
                Some(mark) => return Ok(Found::Free(mark.revision)),
                None => {
                    if let Some(revision) = self.mark(key, owner, limit).await? {
                        return Ok(Found::Free(revision));
                    }
                }
            }
        }
    }

    fn written(&self, owner: &OwnerId, key: &Arc<str>, revision: u64) {
        if let Some(hold) = lock(&self.holds).get_mut(&(owner.clone(), key.clone())) {
            hold.revision = Some(revision);
        }
    }

    fn hold(&self, owner: &OwnerId, key: &Arc<str>) -> Option<Hold> {
        lock(&self.holds).get(&(owner.clone(), key.clone())).cloned()
    }

    /// Nothing of the attempt stands under the key, nor ever will.
    fn settled(&self, owner: &OwnerId, key: &Arc<str>) {
        lock(&self.holds).remove(&(owner.clone(), key.clone()));
    }

    /// Writes the entry of a grant again, which gives it its whole ttl.
    pub(super) async fn renew(&self, grant: &Grant) -> Result<Validity, Unanswered> {
        let (owner, limit) = (&grant.owner, self.patience());
        let Some(key) = grant.keys.first() else { return Ok(Validity::Lost) };
        loop {
            let Some(Hold { description, revision: Some(revision), .. }) = self.hold(owner, key) else {
                return Ok(Validity::Lost);
            };
            let entry = Entry::held(owner, &description);
            let sent_ns = self.now.now_ns();
            match self.requests.put(key, &entry, revision, limit).await? {
                Put::Written(revision) => {
                    self.written(owner, key, revision);
                    return Ok(valid_until(sent_ns, self.ttl));
                }
                Put::Refused => match self.requests.last(key, limit).await? {
                    // An earlier renewal, whose answer was lost.
                    Some(last) if last.entry == entry => self.written(owner, key, last.revision),
                    _ => {
                        self.settled(owner, key);
                        return Ok(Validity::Lost);
                    }
                },
            }
        }
    }

    /// Gives back what the attempt holds under the key, or withdraws what it may come to hold.
    pub(super) async fn release(&self, owner: &OwnerId, key: &Arc<str>) -> Result<ReleaseRet, LockError> {
        // Nothing was sent for it, or that is settled.
        let Some(hold) = self.hold(owner, key) else { return Ok(ReleaseRet::AlreadyLost) };
        let released = match hold.revision {
            Some(revision) => self.free(key, owner, revision).await?,
            None => self.withdraw(key, owner, hold.replaces).await?,
        };
        self.settled(owner, key);
        Ok(released)
    }

    /// Of an entry that was acknowledged.
    async fn free(
        &self,
        key: &Arc<str>,
        owner: &OwnerId,
        mut revision: u64,
    ) -> Result<ReleaseRet, LockError> {
        let limit = self.patience();
        loop {
            let freed = self.requests.put(key, &Entry::free(owner), revision, limit).await;
            if let Put::Written(mark) = freed.map_err(Unanswered::in_doubt)? {
                self.marks.remember(key, mark, self.now.now_ns());
                return Ok(ReleaseRet::Released);
            }
            match self.requests.last(key, limit).await.map_err(Unanswered::in_doubt)? {
                Some(last) if last.entry.owner != *owner => return Ok(ReleaseRet::AlreadyLost),
                // A renewal, whose answer was lost.
                Some(last) if last.entry.what == What::Held => revision = last.revision,
                // An earlier release.
                Some(_) => return Ok(ReleaseRet::Released),
                None => return Ok(ReleaseRet::AlreadyLost),
            }
        }
    }

    /// Of an entry whose answer was lost: sees to it that something else stands there than what it replaces.
    async fn withdraw(
        &self,
        key: &Arc<str>,
        owner: &OwnerId,
        replaces: u64,
    ) -> Result<ReleaseRet, LockError> {
        let limit = self.patience();
        loop {
            let last = self.requests.last(key, limit).await.map_err(Unanswered::in_doubt)?;
            let mine =
                last.as_ref().is_some_and(|last| last.entry.what == What::Held && last.entry.owner == *owner);
            let revision = last.map_or(0, |last| last.revision);
            if revision > replaces && !mine {
                return Ok(ReleaseRet::AlreadyLost);
            }
            // Also where nothing stands: only a write proves that this was so.
            let freed = self.requests.put(key, &Entry::free(owner), revision, limit).await;
            if let Put::Written(mark) = freed.map_err(Unanswered::in_doubt)? {
                self.marks.remember(key, mark, self.now.now_ns());
                return Ok(if mine { ReleaseRet::Released } else { ReleaseRet::AlreadyLost });
            }
        }
    }

    /// Attempts and keys of all that stands, or may.
    pub(super) fn unsettled(&self) -> Vec<(OwnerId, Arc<str>)> {
        lock(&self.holds).keys().cloned().collect()
    }

    /// What the holder does, or else who it is.
    pub(super) async fn holder(&self, key: &str) -> Result<Option<String>, LockError> {
        let last = self.requests.last(key, self.patience()).await.map_err(Unanswered::harmless)?;
        Ok(last.map(|last| last.entry).filter(|entry| entry.what == What::Held).map(|entry| {
            if entry.description.is_empty() {
                entry.owner.0.to_string()
            } else {
                entry.description.to_string()
            }
        }))
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}
