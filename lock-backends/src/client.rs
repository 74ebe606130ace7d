//! The client of one node: everything about a lock that is not protocol, written once above all backends.

mod options;
mod counts;
mod slots;
mod queue;
mod lease;
mod shared;
mod driven;
mod hold;
mod guard;
mod attempt;
mod lock_client;

#[cfg(test)]
mod memory;
#[cfg(test)]
mod tests;

pub use self::counts::Counts;
pub use self::guard::Guard;
pub use self::lock_client::LockClient;
pub use self::options::ClientOptions;
