//! Distributed locks on Redis, PostgreSQL, etcd and ZooKeeper behind one client and one guard.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use lock_backends::{ClientOptions, Endpoint, LockClient, OwnerId, ReleaseRet, Request, SessionOptions, SinceStart};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let variant = lock_backends::variant("local-mutex").expect("always registered");
//! let options = SessionOptions {
//!     node: "node-1".into(),
//!     ttl: Duration::from_secs(2),
//!     now: Arc::new(SinceStart::default()),
//! };
//! let endpoint = Endpoint(String::new()); // other variants: "redis://127.0.0.1:6379" and the like
//! let client = LockClient::connect(variant, &endpoint, options, ClientOptions::default()).await?;
//!
//! let guard = client.acquire(Request::exclusive("vm-7", OwnerId("node-1:1".into()), u64::MAX)).await?;
//! println!("holding vm-7 with token {:?}", guard.token());
//! assert_eq!(guard.release().await?, ReleaseRet::Released);
//! client.close().await;
//! # Ok::<(), lock_backends::LockError>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | read | for |
//! |---|---|
//! | [`LockClient`], [`Guard`] | using a lock: waiting, tokens, leases, losing it, giving it back |
//! | [`session`] | the contract of a backend: protocol only |
//! | [`backends`] | the registry: a folder per server, a file per variant, one line each |
//!
//! To add a variant, implement [`LockBackend`] and [`LockSession`] in a file of [`backends`], describe it in
//! a [`Variant`] and add its line to its server's [`Server::variants`]; the conformance suite, command line and reports
//! follow.
//!
//! Time: deadlines and validities are stamps in ns of the node's clock, [`Now`]; timers are tokio's.

pub mod session;

pub mod client;

pub mod backends;

pub use backends::{server, server_of, variant};
pub use client::{ClientOptions, Counts, Guard, LockClient};
pub use session::{
    Bare, BoxFuture, Capabilities, Endpoint, Grant, Least, LocalFifo, LockBackend, LockError, LockSession,
    Mode, Now, OwnerId, ReleaseRet, Renewal, Request, SafetyClass, Server, SessionOptions, SinceStart,
    Survives, Token, Validity, Variant, slot_key, split_slot,
};
