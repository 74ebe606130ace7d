//! What a channel of faults has to say: how something is broken, and made whole again.

use std::fmt;

use super::surroundings::Surroundings;
use crate::engine::BoxFuture;
use crate::model::{Fault, NodeId, Section};

/// A way to break something, and to make it whole again.
///
/// To implement it: [`name`](Self::name), [`answers_for`](Self::answers_for), [`strike`](Self::strike) and
/// [`take_back`](Self::take_back). The injector calls, one fault at a time:
///
/// ```text
/// strike ─▶ complete ─▶ (the fault lasts) ─▶ take_back
///   │  ▲
///   ▼  │  aimed at a holder, and missed
///  let_go
/// ```
///
/// An error ends the fault where it stands, except that `take_back` follows every `complete` that succeeded. Nothing is dropped before
/// its end; what waits on purpose looks at [`Surroundings::over`] itself.
pub(super) trait Channel: Sync {
    /// The name of its file.
    fn name(&self) -> &'static str;

    /// Whether this fault is done over this channel. For each fault exactly one channel says so.
    fn answers_for(&self, fault: &Fault) -> bool;

    /// Breaks what the fault says, in a way that can be undone; the sections that were inside and are hit.
    ///
    /// # Errors
    /// When there is no such thing, or it does not break.
    fn strike<'a>(&self, blow: Blow<'a>) -> Done<'a, Vec<Section>>;

    /// Whether a strike that was aimed at a holder missed: as a rule, if nobody is inside any more once it is done.
    fn missed(&self, hit: &[Section]) -> bool {
        hit.is_empty()
    }

    /// Undoes a strike that missed, to aim again.
    ///
    /// # Errors
    /// When that fails.
    fn let_go<'a>(&self, blow: Blow<'a>) -> Done<'a> {
        self.take_back(blow)
    }

    /// After a strike that did not miss: does what cannot be undone by letting go. Most faults have no such part.
    ///
    /// # Errors
    /// When that fails.
    fn complete<'a>(&self, _blow: Blow<'a>) -> Done<'a> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Makes all whole again, and returns when it is.
    ///
    /// # Errors
    /// When that fails.
    fn take_back<'a>(&self, blow: Blow<'a>) -> Done<'a>;

    /// Until when the fault lasted, of the stamps before and after it was taken back: what is broken is so until it is
    /// whole again.
    fn until_ns(&self, _before_ns: u64, after_ns: u64) -> u64 {
        after_ns
    }
}

/// What a channel answers: done, or the reason why not.
pub(super) type Done<'a, T = ()> = BoxFuture<'a, Result<T, String>>;

/// A fault that has found its victim.
#[derive(Clone, Copy)]
pub(super) struct Blow<'a> {
    pub(super) around: &'a Surroundings<'a>,
    pub(super) fault: Fault,
    pub(super) victim: Victim,
}

/// Whom a fault has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Victim {
    Node(NodeId),
    /// With all its members.
    Server,
    /// The member of the server at this place.
    Member(usize),
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {}", node.0),
            Self::Server => f.write_str("server"),
            Self::Member(place) => write!(f, "member {}", place + 1),
        }
    }
}

impl Victim {
    /// The node, where it is one.
    pub(super) fn node(self) -> Option<NodeId> {
        match self {
            Self::Node(node) => Some(node),
            Self::Server | Self::Member(_) => None,
        }
    }
}
