//! A node's one session: its lease, how long that certainly lives, and how it ends.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::deletion::{Watch, deletion};
use super::requests::{Answer, Content, Failure, KeyValue, Keys, Lease, Op, Read, Requests, Txn};
use crate::backends::common::{CONNECT_TIMEOUT, LeaseEnd, Tasks, answer_within};
use crate::session::{Grant, LockError, Now, OwnerId, Request, SessionOptions, Token, Validity, valid_until};

/// Pause before asking again on a connection that just failed.
pub(super) const RETRY_DELAY: Duration = Duration::from_millis(50);

/// A node's session: one lease, and a key on it that shows whether it lives.
pub(super) struct Node {
    pub(super) requests: Arc<dyn Requests>,
    pub(super) lease: Lease,
    /// A key of this session's own, on its lease. Its deletion says that the lease ended.
    pub(super) fence_key: String,
    /// Revision of the fence; acquires and withdrawals compare it, withdrawals raise it.
    pub(super) fence: AtomicI64,
    /// The turn to withdraw.
    pub(super) withdrawing: tokio::sync::Mutex<()>,
    /// The lease is alive until then at least, on the node's clock. Raised by acknowledged renewals alone.
    valid_until: LeaseEnd,
    pub(super) lost: CancellationToken,
    now: Arc<dyn Now>,
    tasks: Tasks,
}

impl Node {
    /// Has a lease of about `asked_s` seconds granted and puts the session's own key on it. `lost` is fired when the
    /// session is; `tasks` end then. Bounded by the caller: where there are several members they are asked again and
    /// again, since an election may be on.
    pub(super) async fn open(
        requests: Arc<dyn Requests>,
        asked_s: i64,
        options: SessionOptions,
        lost: CancellationToken,
        tasks: Tasks,
    ) -> Result<Self, LockError> {
        let limit = CONNECT_TIMEOUT / requests.members();
        let Opened { sent_ns, lease, fence_key, fence } = loop {
            match Opened::on(&*requests, asked_s, &options, limit).await {
                Ok(opened) => break opened,
                Err(failure) if requests.members() == 1 => {
                    return Err(LockError::Unavailable(failure.to_string()));
                }
                Err(_) => sleep(RETRY_DELAY).await,
            }
        };
        tasks.spawn(watch_fence(requests.clone(), fence_key.clone(), fence, lease.ttl / 2, lost.clone()));
        Ok(Self {
            requests,
            lease,
            fence_key,
            fence: AtomicI64::new(fence),
            withdrawing: tokio::sync::Mutex::default(),
            valid_until: LeaseEnd::new(valid_until(sent_ns, lease.ttl)),
            lost,
            now: options.now,
            tasks,
        })
    }

    /// How long a request may take that nobody waits for.
    pub(super) fn patience(&self) -> Duration {
        self.lease.ttl / 2
    }

    /// How long a request may take for a caller.
    pub(super) fn limit(&self, request: &Request) -> Duration {
        answer_within(request, &*self.now, self.patience())
    }

    pub(super) fn remaining(&self, request: &Request) -> Duration {
        request.remaining(&*self.now)
    }

    pub(super) async fn wait_over(&self, request: &Request) {
        request.over(&*self.now).await;
    }

    /// Completes when the session is lost.
    pub(super) async fn ended(&self) {
        self.lost.cancelled().await;
    }

    /// Ends the session for good.
    pub(super) fn gone(&self) -> LockError {
        self.lost.cancel();
        LockError::SessionLost("the lease ended".to_owned())
    }

    /// The session ends with its lease, and does not come back: nothing renews it any more.
    pub(super) fn ensure_alive(&self) -> Result<(), LockError> {
        let expired = self.valid_until.has_passed(&*self.now);
        if expired || self.lost.is_cancelled() { Err(self.gone()) } else { Ok(()) }
    }

    /// Lets a request whose caller left run on until it ends, or the session does.
    pub(super) fn go_on(&self, request: impl Future<Output: Send> + Send + 'static) {
        let lost = self.lost.clone();
        self.tasks.spawn(async move { drop(lost.run_until_cancelled(request).await) });
    }

    /// Waits for a deletion of the key after that revision, on `watch` if there is one. False: the watch ended, and the
    /// key has to be looked at again.
    pub(super) async fn until_deleted(
        &self,
        key: &str,
        revision: i64,
        watch: &mut Option<Watch>,
        request: &Request,
    ) -> Result<bool, LockError> {
        tokio::select! {
            biased;
            () = self.ended() => Err(self.gone()),
            deleted = deletion(&*self.requests, key, revision, watch, self.patience()) => Ok(deleted),
            () = self.wait_over(request) => Err(LockError::TimedOut),
        }
    }

    /// Waits so long, unless there is nothing to wait for any more.
    pub(super) async fn pause(&self, pause: Duration, request: &Request) -> Result<(), LockError> {
        tokio::select! {
            biased;
            () = self.ended() => Err(self.gone()),
            () = self.wait_over(request) => Err(LockError::TimedOut),
            () = sleep(pause) => Ok(()),
        }
    }

    /// Sends a transaction about a lock, perhaps together with others.
    pub(super) async fn txn(&self, name: &str, txn: Txn, limit: Duration) -> Result<Answer, Failure> {
        self.requests.txn_about(name, txn, limit).await
    }

    /// Which of the keys exist.
    pub(super) async fn exist(&self, keys: &[String]) -> Result<Vec<bool>, LockError> {
        let read = |key: &String| Op::Read(Read { keys: Keys::One(key.clone()), content: Content::NoValue });
        let reads = Txn { then: keys.iter().map(read).collect(), ..Txn::default() };
        match self.requests.txn(reads, self.lease.ttl / 4).await {
            Ok(answer) => (0..keys.len()).map(|place| Ok(!answer.keys(place)?.is_empty())).collect(),
            Err(failure) => Err(LockError::Unavailable(failure.to_string())),
        }
    }

    /// The first key found.
    pub(super) async fn first_key(&self, read: Read) -> Result<Option<KeyValue>, LockError> {
        match self.requests.read(read, self.patience()).await {
            Ok(keys) => Ok(keys.into_iter().next()),
            Err(failure) => Err(LockError::Unavailable(failure.to_string())),
        }
    }

    /// The value of the first key found.
    pub(super) async fn first_value(&self, read: Read) -> Result<Option<String>, LockError> {
        let first = self.first_key(read).await?;
        Ok(first.map(|key| String::from_utf8_lossy(&key.value).into_owned()))
    }

    pub(super) fn grant(&self, name: &Arc<str>, owner: &OwnerId, revision: i64) -> Result<Grant, LockError> {
        self.ensure_alive()?;
        Ok(Grant {
            keys: vec![name.clone()],
            owner: owner.clone(),
            token: Some(Token { generation: 0, sequence: revision.unsigned_abs() }),
            validity: self.valid_until.validity(),
        })
    }

    /// Renews the lease.
    pub(super) async fn renew(&self) -> Result<Validity, LockError> {
        self.ensure_alive()?;
        let sent_ns = self.now.now_ns();
        match self.requests.keep_alive(self.lease, self.lease.ttl / 4).await {
            Ok(ttl) => {
                self.valid_until.raise(valid_until(sent_ns, ttl.min(self.lease.ttl)));
                Ok(self.valid_until.validity())
            }
            Err(Failure::LeaseGone) => Err(self.gone()),
            Err(Failure::Unanswered(why)) => self.ensure_alive().and(Err(LockError::Unavailable(why))),
        }
    }

    /// Ends the session, and its lease where the server answers.
    pub(super) async fn close(&self) {
        self.lost.cancel();
        if self.requests.revoke(self.lease, self.patience()).await.is_err() {
            tracing::debug!(lease = self.lease.id, "lease not revoked; it expires");
        }
        self.tasks.ended().await;
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("lease", &self.lease.id).finish_non_exhaustive()
    }
}

/// What a session begins with.
struct Opened {
    /// Stamp of the request that granted the lease.
    sent_ns: u64,
    lease: Lease,
    fence_key: String,
    /// Revision of that key.
    fence: i64,
}

impl Opened {
    async fn on(
        requests: &dyn Requests,
        asked_s: i64,
        options: &SessionOptions,
        limit: Duration,
    ) -> Result<Self, Failure> {
        let sent_ns = options.now.now_ns();
        let lease = requests.grant_lease(asked_s, limit).await?;
        let fence_key = format!("lockbench/session/{:x}", lease.id.cast_unsigned());
        let put = Op::Put { key: fence_key.clone(), value: options.node.clone().into_bytes(), lease };
        let spent = Duration::from_nanos(options.now.now_ns().saturating_sub(sent_ns));
        let written = Txn { then: vec![put], ..Txn::default() };
        let fence = requests.txn(written, limit.saturating_sub(spent)).await?.revision;
        Ok(Self { sent_ns, lease, fence_key, fence })
    }
}

/// Fires `lost` when the session's own key is deleted.
async fn watch_fence(
    requests: Arc<dyn Requests>,
    key: String,
    revision: i64,
    limit: Duration,
    lost: CancellationToken,
) {
    let deleted = async {
        while !deletion(&*requests, &key, revision, &mut None, limit).await {
            sleep(RETRY_DELAY).await;
        }
    };
    if lost.run_until_cancelled(deleted).await.is_some() {
        lost.cancel();
    }
}
