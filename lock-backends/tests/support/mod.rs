//! What every contract needs: the variant's server, nodes on it, requests, and a link that can fail.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part; a test fails by panicking")]

mod link;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use harness::servers::{Server, ServerError, ServerKind, ServerOptions};
use lock_backends::{
    ClientOptions, Endpoint, LockBackend, LockClient, LockError, Now, OwnerId, Request, SessionOptions,
    SinceStart, Variant,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) use link::{Liar, Link};

/// Short enough to wait for its end, not below what etcd grants.
pub(crate) const TTL: Duration = Duration::from_secs(2);

/// Longer than any test waits, so that what is left behind shows.
const LASTING: Duration = Duration::from_secs(600);

/// Long enough for a loaded machine: reaching it is a failure, not a measurement.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A test for each server of the registry, which calls this function with its name: each is seen, named and run on its own.
#[allow(unused_macros, reason = "each test file uses its part")]
macro_rules! of_each_server {
    ($run:path) => {
        $crate::support::of_each_server! { $run; redis postgres etcd zookeeper mariadb nats }
    };
    ($run:path; $($name:ident)*) => {
        $(#[test]
        fn $name() {
            $run(stringify!($name));
        })*

        #[test]
        fn every_server_is_run() {
            let run = [$(stringify!($name)),*];
            let missing = lock_backends::backends::SERVERS.iter().find(|server| !run.contains(&server.name));
            assert!(missing.is_none(), "a line of its own: {missing:?}");
        }
    };
}
#[allow(unused_imports, reason = "each test file uses its part")]
pub(crate) use of_each_server;

/// One variant on its running server.
pub(crate) struct Bench {
    pub(crate) variant: &'static Variant,
    endpoint: Endpoint,
    backend: Box<dyn LockBackend>,
    ttl: Duration,
    now: Arc<dyn Now>,
}

impl Bench {
    pub(crate) fn new(variant: &'static Variant, endpoint: &str) -> Self {
        Self::with_ttl(variant, endpoint, TTL)
    }

    pub(crate) fn with_ttl(variant: &'static Variant, endpoint: &str, ttl: Duration) -> Self {
        let endpoint = Endpoint(endpoint.to_owned());
        let backend = (variant.open)(&endpoint).unwrap();
        Self { variant, endpoint, backend, ttl, now: Arc::new(SinceStart::default()) }
    }

    /// The same server, with leases that outlive every test: a key that was left behind does not become free by itself.
    pub(crate) fn with_lasting_leases(&self) -> Self {
        Self::with_ttl(self.variant, &self.endpoint.0, LASTING)
    }

    /// A node of its own: client and session.
    pub(crate) async fn node(&self) -> LockClient {
        self.node_with(ClientOptions::default()).await
    }

    pub(crate) async fn node_with(&self, options: ClientOptions) -> LockClient {
        self.connect(options).await.unwrap()
    }

    /// As [`Self::node`], where it may fail.
    pub(crate) async fn try_node(&self) -> Result<LockClient, LockError> {
        self.connect(ClientOptions::default()).await
    }

    async fn connect(&self, options: ClientOptions) -> Result<LockClient, LockError> {
        let capabilities = self.variant.capabilities;
        LockClient::connect_on(&*self.backend, capabilities, self.session(), options).await
    }

    /// A node whose way to the server can fail.
    pub(crate) async fn node_behind_a_link(&self) -> (LockClient, Link) {
        self.node_behind_a_link_with(ClientOptions::default()).await
    }

    pub(crate) async fn node_behind_a_link_with(&self, options: ClientOptions) -> (LockClient, Link) {
        let (link, endpoint) = Link::to(&self.endpoint.0).await;
        let client = LockClient::connect(self.variant, &Endpoint(endpoint), self.session(), options).await;
        (client.unwrap(), link)
    }

    /// A node to which the server, or whoever is in its place, tells what it likes.
    pub(crate) async fn node_of_a_liar(&self, liar: Liar) -> (Result<LockClient, LockError>, Link) {
        let (link, endpoint) = Link::lying(&self.endpoint.0, liar).await;
        let options = ClientOptions::default();
        (LockClient::connect(self.variant, &Endpoint(endpoint), self.session(), options).await, link)
    }

    /// A deadline so far from now.
    pub(crate) fn deadline_ns(&self, wait: Duration) -> u64 {
        self.now.now_ns() + u64::try_from(wait.as_nanos()).unwrap()
    }

    /// Asks for a key, by a new owner, with all patience.
    pub(crate) fn ask(&self, key: &str) -> Request {
        Request::exclusive(key, OwnerId(unique("attempt").into()), self.deadline_ns(PATIENCE))
    }

    pub(crate) fn ask_within(&self, key: &str, wait: Duration) -> Request {
        Request { deadline_ns: self.deadline_ns(wait), ..self.ask(key) }
    }

    fn session(&self) -> SessionOptions {
        SessionOptions { node: unique("node"), ttl: self.ttl, now: Arc::clone(&self.now) }
    }
}

/// A name that nobody else has, also in another run against the same server.
pub(crate) fn unique(what: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("{what}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The server of that name, or `None` with the reason printed. Under CI a missing server is a failure.
pub(crate) async fn start(name: &str) -> Option<Server> {
    let kind: ServerKind = name.parse().unwrap();
    match Server::start(kind, &ServerOptions { detect: TTL, ..ServerOptions::default() }).await {
        Ok(server) => Some(server),
        Err(missing @ ServerError::Missing { .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {missing}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Says one command to a Redis server over a connection of its own and returns the answer.
pub(crate) async fn say(server: &Server, command: &str) -> String {
    let (password, address) = server.endpoint().strip_prefix("redis://:").unwrap().split_once('@').unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(format!("AUTH {password}\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 16_384];
    connection.read_exact(&mut answer[.."+OK\r\n".len()]).await.unwrap();
    connection.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
    let n = connection.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..n]).into_owned()
}

/// Polls until it holds; the time bound is a failure, not a measurement.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

/// Within the patience of a test, which is a failure and not a measurement.
pub(crate) async fn free_again(bench: &Bench, node: &LockClient, key: &str) {
    let guard = node.acquire_request(bench.ask(key)).await;
    guard.unwrap_or_else(|error| panic!("{key} is still held: {error}")).release().await.unwrap();
}

/// Every attempt and hold of the node has ended, and the counts add up.
pub(crate) fn balanced(client: &LockClient) -> bool {
    let c = client.counts();
    c.attempts == c.grants + c.refused + c.timed_out + c.withdrawn + c.failed + c.unknown
        && c.grants == c.released + c.already_lost + c.release_unknown
}

/// The lease of whoever is only let in or not. A server in Java that has just started needs a second for its first handshakes, and
/// more on a machine with much to do.
pub(crate) const LET_IN_TTL: Duration = Duration::from_secs(12);

/// Takes a lock, is refused it by another session, and gives it back.
pub(crate) async fn take(variant: &'static Variant, url: &str) -> Result<(), LockError> {
    let node = let_in(variant, url).await?;
    let other = let_in(variant, url).await?;
    let key = unique("key");
    let guard = node.acquire(&key, PATIENCE).await?;
    assert!(other.try_acquire(&key).await?.is_none(), "{}: two hold one lock", variant.name);
    guard.release().await?;
    other.close().await;
    node.close().await;
    Ok(())
}

/// A session of its own there.
pub(crate) async fn let_in(variant: &'static Variant, url: &str) -> Result<LockClient, LockError> {
    let session = SessionOptions::new(&unique("node"), LET_IN_TTL);
    LockClient::connect(variant, &Endpoint::from(url), session, ClientOptions::default()).await
}
