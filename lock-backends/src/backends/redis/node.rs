//! What the sessions of all variants on Redis share: the node's connection, renewals, and how answers become grants.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::batches::Batches;
use super::requests::{Announce, AskRet, Hears, Redis, Requests, Tokens, Wanted};
use crate::backends::common::Tasks;
use crate::session::{
    Grant, LockError, Now, Operations, ReleaseRet, Renewal, Request, SessionOptions, Survives, Validity,
    slot_key, valid_until,
};

/// What a grant of every variant here survives.
pub(super) const SURVIVES: Survives = Survives {
    node_crash: "free after the ttl",
    server_kill: "kept, with appendfsync always",
    power_loss: "kept, with appendfsync always",
};

/// Keys renewed by one script.
const RENEW_CHUNK: usize = 100;

/// A node's side of its connection.
pub(super) struct Node {
    server: Arc<dyn Requests>,
    pub(super) ttl: Duration,
    pub(super) now: Arc<dyn Now>,
    /// Fired by the session's end.
    pub(super) lost: CancellationToken,
    pub(super) operations: Arc<Operations>,
}

/// Answer to a request for a lock, as a session takes it.
pub(super) enum Asked {
    Granted(Grant),
    /// Held by others, the first of whose leases ends in so long.
    Held(Duration),
}

impl Asked {
    pub(super) fn granted(self) -> Option<Grant> {
        match self {
            Self::Granted(grant) => Some(grant),
            Self::Held(_) => None,
        }
    }
}

impl Node {
    pub(super) async fn connect(
        server: &dyn Redis,
        options: SessionOptions,
        hears: Arc<dyn Hears>,
    ) -> Result<Self, LockError> {
        let ttl = options.ttl.max(Duration::from_millis(1));
        let server = Arc::from(server.connect(ttl, hears).await?);
        let (lost, operations) = (CancellationToken::new(), Arc::default());
        Ok(Self { server, ttl, now: options.now, lost, operations })
    }

    /// The way of what takes and gives back, which one of the tasks serves until the session ends.
    pub(super) fn batches(&self, tokens: Tokens, announce: Announce, tasks: &Tasks) -> Arc<Batches> {
        let (server, operations) = (Arc::clone(&self.server), Arc::clone(&self.operations));
        let (batches, serving) = Batches::new(server, operations, tokens, announce);
        if let Some(serving) = serving {
            let lost = self.lost.clone();
            tasks.spawn(async move {
                lost.run_until_cancelled(serving).await;
            });
        }
        batches
    }

    /// The connection, for what is not counted.
    pub(super) fn server(&self) -> &dyn Requests {
        &*self.server
    }

    /// The connection for one request, which is counted.
    pub(super) fn send(&self) -> &dyn Requests {
        self.operations.add(1);
        &*self.server
    }

    pub(super) fn alive(&self) -> Result<(), LockError> {
        if self.lost.is_cancelled() { Err(LockError::SessionLost("closed".into())) } else { Ok(()) }
    }

    pub(super) fn admit<'a>(&self, request: &'a Request) -> Result<&'a Arc<str>, LockError> {
        self.alive()?;
        match &*request.keys {
            [key] => Ok(key),
            _ => Err(LockError::Unsupported("one key at a time")),
        }
    }

    pub(super) fn wanted<'a>(&self, key: &'a str, request: &'a Request) -> Wanted<'a> {
        let Request { level, owner, description, .. } = request;
        Wanted { key, level: *level, owner, description, ttl: self.ttl }
    }

    /// What the answer to a request sent at `sent_ns` means for its attempt.
    pub(super) fn asked(&self, request: &Request, sent_ns: u64, answer: AskRet) -> Asked {
        match answer {
            AskRet::Granted(slot, token) => {
                let validity = valid_until(sent_ns, self.ttl);
                Asked::Granted(Grant { token, ..grant(request, slot, validity) })
            }
            AskRet::Held { left, .. } => Asked::Held(left),
        }
    }

    /// Renews, and hands the moment before each request and the server's time in the answer to `clock`.
    pub(super) async fn renew(
        &self,
        grants: &[Arc<Grant>],
        clock: impl Fn(u64, u64),
    ) -> Result<Renewal, LockError> {
        let mut renewed: Vec<Validity> = grants.iter().map(|grant| grant.validity).collect();
        let chunks = self.chunks(grants);
        let asked = chunks.iter().map(|chunk| {
            let chunk: Vec<_> = chunk.iter().map(|place| Arc::clone(&grants[*place])).collect();
            let clock = &clock;
            async move { self.renew_chunk(&chunk, clock).await }
        });
        let mut failed = None;
        let mut answered = grants.is_empty();
        for (chunk, answer) in chunks.iter().zip(join_all(asked).await) {
            match answer {
                Ok(validities) => {
                    chunk.iter().zip(validities).for_each(|(place, validity)| renewed[*place] = validity);
                    answered = true;
                }
                // Their last acknowledged validity stands.
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if !answered => Err(error),
            _ => Ok(Renewal { session: Validity::NoLease, grants: renewed }),
        }
    }

    /// The places of those that one request renews, each.
    fn chunks(&self, grants: &[Arc<Grant>]) -> Vec<Vec<usize>> {
        let together =
            |place: &usize| self.server.together(grants[*place].keys.first().map_or("", |key| key));
        let mut places: Vec<usize> = (0..grants.len()).collect();
        places.sort_by_key(together);
        let alike = places.chunk_by(|one, other| together(one) == together(other));
        alike.flat_map(|alike| alike.chunks(RENEW_CHUNK)).map(<[usize]>::to_vec).collect()
    }

    pub(super) async fn renew_chunk(
        &self,
        chunk: &[Arc<Grant>],
        clock: impl Fn(u64, u64),
    ) -> Result<Vec<Validity>, LockError> {
        let sent_ns = self.now.now_ns();
        let answer = self.send().renew(chunk, self.ttl).await?;
        clock(sent_ns, answer.server_us);
        let renewed = valid_until(sent_ns, self.ttl);
        Ok(answer.held.into_iter().map(|held| if held { renewed } else { Validity::Lost }).collect())
    }

    pub(super) async fn holder(&self, key: &str) -> Result<Option<String>, LockError> {
        self.send().holder(key).await.map_err(|error| match error {
            LockError::Unknown(why) | LockError::Protocol(why) => LockError::Unavailable(why),
            error => error,
        })
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// The grant of a slot, without a token.
pub(super) fn grant(request: &Request, slot: u32, validity: Validity) -> Grant {
    let keys = match &*request.keys {
        [key] if request.level > 1 => vec![slot_key(key, slot).into()],
        keys => keys.to_vec(),
    };
    Grant { keys, owner: request.owner.clone(), token: None, validity }
}

/// What it means for a release whether the key was held.
pub(super) fn released(was_held: bool) -> ReleaseRet {
    if was_held { ReleaseRet::Released } else { ReleaseRet::AlreadyLost }
}
