//! What lies between a node and a server that is a model in this process.

use std::fmt;
use std::sync::Arc;

use super::backend::{BoxFuture, LockBackend};

/// A node's connection to the model of a server, in virtual time: it delays messages, keeps their order, and breaks.
///
/// To implement it: whoever drops a future of [`Passage::carry`] waits no longer for the answer, and what he sent goes on.
pub trait Passage: Send + Sync + fmt::Debug {
    /// Carries a request to the server, where this is called, and its answer back.
    fn carry(&self, at_server: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, Carried>;

    /// Carries what the server says unasked to the node, where this is called.
    fn push(&self, at_node: Box<dyn FnOnce() + Send>);

    /// What the server's clock shows, in ns.
    fn server_ns(&self) -> u64;

    /// How often the server has been killed so far.
    fn server_starts(&self) -> usize;
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// It was executed, and here is the answer.
    Answered,
    /// The connection goes on, and no answer comes: it may have been executed.
    Unheard,
    /// The connection broke meanwhile: it may have been executed, or be so later.
    Broken,
    /// It was not sent: there is no connection.
    Unsent,
    /// The answer is what the protocol does not allow.
    Nonsense,
}

/// What a server that is killed knows when it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtKill {
    /// All that it had acknowledged.
    Keeps,
    /// Nothing.
    Forgets,
}

/// A server in memory, which variants ask as they ask a real one.
pub trait Modelled: Send + Sync + fmt::Debug {
    /// The variants that run over it, by name.
    fn variants(&self) -> Vec<&'static str>;

    /// Opens the variant of that name for a node that reaches the server so; `None`: it is none of those.
    fn open(&self, variant: &str, passage: Arc<dyn Passage>) -> Option<Box<dyn LockBackend>>;
}
