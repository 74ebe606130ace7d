//! The real lock servers: found, started as private children, asked what they are, and stopped without a trace.
//!
//! This is the one place in the crate that names products, and in it each stands in a file of its own behind one trait, with a
//! line in one registry; nothing else asks which one it is. A private server listens on 127.0.0.1 on a free port
//! and keeps its data in a temporary folder; it dies with this process, also on `kill -9`. A server that runs
//! elsewhere is attached to by its URL and never stopped.
//!
//! ```no_run
//! # async fn example() -> Result<(), harness::servers::ServerError> {
//! use harness::servers::{Server, ServerKind, ServerOptions};
//!
//! let redis = Server::start(ServerKind::named("redis"), &ServerOptions::default()).await?;
//! assert!(redis.endpoint().starts_with("redis://"));
//! assert_eq!(redis.settings()["appendfsync"], "always");
//! redis.stop().await
//! # }
//! ```

// From the ground up: what a server is asked for and may answer, what a product has to say, the products, the servers.
mod parameters;
mod tls;
mod authority;
mod url;
mod endpoint;
mod error;
mod options;
mod secured;
mod wire;
mod about;
mod folder;
mod own_clock;
mod command;
mod product;
mod template;
mod products;
mod kind;
mod find;
mod leftovers;
mod member;
mod leader;
mod launch;
mod server;

pub use authority::{Authority, CertificateFiles, Valid};
pub use endpoint::Endpoint;
pub use error::{ServerError, UnknownWord};
pub use find::{Finding, find, find_with};
pub use folder::{default_root, free_bytes};
pub use kind::ServerKind;
pub use leftovers::{abandon, sweep_leftovers};
pub use member::Member;
pub use options::{ClockOf, Durability, ServerOptions, Topology};
pub(crate) use secured::{certificates, config as client_config};
pub use server::Server;
pub use tls::{Tls, TlsFiles};
pub use url::redact;
