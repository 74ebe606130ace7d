//! The contract that a backend implements: protocol only. Local FIFO, lease clock, lost signal, deadlines,
//! cancel safety and counting are written once above it, in [`crate::client`].

mod clock;
mod owner;
mod slot;
mod grant;
mod request;
mod error;
mod endpoint;
mod operations;
mod backend;
mod variant;
mod contents;
mod passage;
mod server;

pub use self::backend::{BoxFuture, LockBackend, LockSession, SessionOptions};
pub use self::clock::{Now, SinceStart, sleep_until};
pub use self::contents::{Contents, ContentsRet, Held};
pub use self::endpoint::{Certificates, Endpoint, TlsFiles, decoded};
pub use self::error::{LockError, remedy, told, unavailable};
pub use self::grant::{Grant, ReleaseRet, Renewal, Token, Validity, valid_until};
pub use self::operations::{Operations, Purpose};
pub use self::owner::OwnerId;
pub use self::passage::{AtKill, Carried, Modelled, Passage};
pub use self::request::{Mode, Request};
pub use self::server::{Bare, BareRet, Member, MembersRet, Server, ServerTime};
pub use self::slot::{slot_key, split_slot};
pub use self::variant::{Capabilities, Least, LocalFifo, SafetyClass, Survives, Variant};
