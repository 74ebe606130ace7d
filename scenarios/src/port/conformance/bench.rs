//! Programs as a clause has them: started, asked, and gone when the clause is over.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use lock_backends::{
    Endpoint, Grant, LockBackend as _, LockError, LockSession, Mode, Now, OwnerId, ReleaseRet, Request,
    SessionOptions, SinceStart, Validity,
};
use tokio::time::timeout;

use crate::port::client::Client;
use crate::port::conversation::Conversation;
use crate::port::message::Promises;
use crate::port::session::Port;

/// How much later than it must an answer may come.
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// What a clause needs to try a program.
#[derive(Debug)]
pub struct Bench {
    client: Client,
    endpoint: Endpoint,
    /// The time to live that programs are told.
    pub(super) ttl: Duration,
    log: PathBuf,
    now: Arc<dyn Now>,
    serial: AtomicU64,
    begun: Mutex<Vec<Arc<Conversation>>>,
    /// What its programs say that they are made of.
    library: OnceLock<String>,
}

/// A program that runs, as that of a node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) conversation: Arc<Conversation>,
    session: Arc<dyn LockSession>,
    now: Arc<dyn Now>,
    name: String,
}

impl Bench {
    /// For a program whose server is at this address.
    #[must_use]
    pub fn new(client: Client, endpoint: Endpoint, ttl: Duration, log: PathBuf) -> Self {
        let now = Arc::new(SinceStart::default());
        Self {
            client,
            endpoint,
            ttl,
            log,
            now,
            serial: AtomicU64::new(0),
            begun: Mutex::default(),
            library: OnceLock::new(),
        }
    }

    /// What its programs are made of, as they have said.
    pub fn library(&self) -> Option<&str> {
        self.library.get().map(String::as_str)
    }

    pub(super) fn promises(&self) -> Promises {
        self.client.file.promises
    }

    /// A key that nobody had before.
    pub(super) fn key(&self) -> String {
        format!("port-test-{:x}-{}", std::process::id(), self.serial.fetch_add(1, Ordering::Relaxed))
    }

    /// Starts a program.
    pub(super) async fn node(&self) -> Result<Node, String> {
        let name = format!("node-{}", self.key());
        let port =
            Port::new(self.client.clone(), self.endpoint.clone(), Some(self.log.clone())).listened_to();
        let options = SessionOptions { node: name.clone(), ttl: self.ttl, now: Arc::clone(&self.now) };
        let session = port.connect(options).await.map_err(|error| error.to_string())?;
        let conversation = port.conversation().await.ok_or("it has not begun")?;
        if let Some(library) = &conversation.library {
            self.library.get_or_init(|| library.clone());
        }
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&conversation));
        Ok(Node { conversation, session, now: Arc::clone(&self.now), name })
    }

    /// Starts so many.
    pub(super) async fn nodes<const N: usize>(&self) -> Result<[Node; N], String> {
        let mut nodes = Vec::new();
        for _ in 0..N {
            nodes.push(self.node().await?);
        }
        nodes.try_into().map_err(|_| "not so many".to_owned())
    }

    /// Ends all programs of a clause; what each has said.
    pub(super) async fn end(&self) -> Vec<Vec<String>> {
        let begun = std::mem::take(&mut *self.begun.lock().unwrap_or_else(PoisonError::into_inner));
        let mut said = Vec::new();
        for conversation in begun {
            said.push(conversation.said());
            // One that stands still would not hear of it.
            conversation.pause(false).await;
            conversation.close().await;
        }
        said
    }

    /// The end of what the programs wrote to their standard error.
    pub(super) fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Node {
    /// A request for a key.
    pub(super) fn request(&self, key: &str, within: Duration) -> Request {
        let within_ns = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
        Request::exclusive(key, OwnerId::unique(&self.name), self.now.now_ns().saturating_add(within_ns))
    }

    /// Asks for a key; `None`: it timed out.
    pub(super) async fn acquire(&self, key: &str, within: Duration) -> Result<Option<Grant>, String> {
        self.ask(&self.request(key, within)).await
    }

    /// Asks; `None`: it timed out.
    pub(super) async fn ask(&self, request: &Request) -> Result<Option<Grant>, String> {
        let within = request.remaining(&*self.now);
        let asking = async {
            match within.is_zero() {
                true => self.session.try_acquire(request).await,
                false => match self.session.acquire(request).await {
                    Err(LockError::TimedOut) => Ok(None),
                    granted => granted.map(Some),
                },
            }
        };
        let late =
            || format!("no answer to an acquire of {:?} within {:?} + {GRACE:?}", request.keys, within);
        timeout(within + GRACE, asking).await.map_err(|_| late())?.map_err(|error| error.to_string())
    }

    /// Asks for a key that is free.
    pub(super) async fn must_acquire(&self, key: &str) -> Result<Grant, String> {
        let granted = self.acquire(key, GRACE).await?;
        granted.ok_or_else(|| format!("timed-out for the key {key}, which nobody holds"))
    }

    /// Asks for a key that is held, without waiting.
    pub(super) async fn must_not_acquire(&self, key: &str) -> Result<(), String> {
        match self.acquire(key, Duration::ZERO).await? {
            None => Ok(()),
            Some(_) => Err(format!("granted for the key {key}, which somebody else holds")),
        }
    }

    /// Gives back.
    pub(super) async fn release(&self, grant: &Grant) -> Result<ReleaseRet, String> {
        let released = timeout(GRACE, self.session.release(grant)).await;
        released
            .map_err(|_| format!("no answer to the release of {:?} within {GRACE:?}", grant.keys))?
            .map_err(|error| error.to_string())
    }

    /// Gives back what is held.
    pub(super) async fn must_release(&self, grant: &Grant) -> Result<(), String> {
        match self.release(grant).await? {
            ReleaseRet::Released => Ok(()),
            ReleaseRet::AlreadyLost => Err(format!("already-lost for {:?}, which was held", grant.keys)),
        }
    }

    /// Whether the program says that a grant stands.
    pub(super) async fn stands(&self, grant: Grant) -> bool {
        let renewed = self.session.renew(&[Arc::new(grant)]).await;
        renewed.is_ok_and(|renewal| renewal.grants != [Validity::Lost])
    }

    pub(super) fn requests(&self) -> u64 {
        self.session.operations().total()
    }
}

/// A request for a key in shared mode.
pub(super) fn shared(request: Request) -> Request {
    Request { mode: Mode::Shared, ..request }
}
