//! Distributed locks on Redis, PostgreSQL, etcd, ZooKeeper, MariaDB and NATS behind one client and one guard.
//!
//! ```
//! use std::time::Duration;
//! use lock_backends::{ClientOptions, LockClient, SessionOptions};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let variant = lock_backends::variant("local-mutex")?; // or "redis-fenced", "etcd-queue" …
//! let url = "memory:".into(); // or "redis://127.0.0.1", "etcd://a:2379,b:2379" …
//! let session = SessionOptions::new("node-1", Duration::from_secs(2));
//! let client = LockClient::connect(variant, &url, session, ClientOptions::default()).await?;
//!
//! let guard = client.acquire("vm-7", Duration::from_secs(5)).await?;
//! println!("holding vm-7 with token {:?}", guard.token());
//! guard.release().await?; // an error if it was lost meanwhile
//! client.close().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
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
//! Time: a wait is asked for as a [`Duration`](std::time::Duration); below that, deadlines and validities are stamps in ns
//! of the node's clock, [`Now`]; timers are tokio's.

pub mod session;

pub mod client;

pub mod backends;

pub use backends::{NoVariant, server, server_of, variant};
pub use client::{ClientOptions, Counts, Guard, LockClient};
pub use session::{
    AtKill, Bare, BoxFuture, Capabilities, Carried, Contents, Endpoint, Grant, Held, Least, LocalFifo,
    LockBackend, LockError, LockSession, Member, Mode, Modelled, Now, Operations, OwnerId, Passage, Purpose,
    ReleaseRet, Renewal, Request, SafetyClass, Server, ServerTime, SessionOptions, SinceStart, Survives,
    TlsFiles, Token, Validity, Variant, slot_key, split_slot,
};
