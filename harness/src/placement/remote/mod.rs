//! Nodes on other machines: hosts dial the driver, and start, stop and end the processes of its nodes.
//!
//! ```text
//!                 orders, time                       starts, stops, ends
//!  driver ◀══════════ TLS ══════════▶ host A ─────────────────────────────▶ node 0
//!         ◀══════════ TLS ═══════════ relay ◀───── control, agent ───────── node 0
//! ```
//!
//! A node there is the same process, and says the same, as one beside the driver; what it says is carried over TLS by its host, which
//! alone has the keys. It stamps what it does by the driver's clock, as far as that is known: [`record::HostFacts`] tells how far.
//! Whoever has no certificate of the authority of both, or is another lockbench, is refused.
//!
//! [`record::HostFacts`]: crate::record::HostFacts

mod words;
mod offset;
mod keys;
mod dial;
mod relay;
mod host;
mod line;
mod lodging;
mod hosts;
#[cfg(test)]
mod tests;

pub use host::{JoinError, Joining, join};
pub use hosts::{Hosts, HostsError};
pub use keys::{KEYS, KeysError, make_keys};

pub(crate) use hosts::Incoming;
pub(crate) use lodging::{Guest, Lodging};
