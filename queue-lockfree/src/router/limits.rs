//! What all connections of a node are bound by, and the secret that opens them.

use std::fmt;
use std::time::Duration;

/// What both ends of a connection must know. It keeps out strangers and nodes of another run; it is sent in the
/// clear, so it is no protection from who can read the network.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub(super) [u8; 32]);

impl Secret {
    /// A secret of the run's own random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Takes the same time wherever the first difference is.
    pub(super) fn matches(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Bounds on connections and on waits for other nodes.
#[derive(Clone, Copy, Debug)]
pub struct RouterLimits {
    /// Longest frame, in bytes; a task, or an answer, must fit with its key.
    pub frame_bytes: usize,
    /// Bytes of keys and payloads, with some for each task, of what this node has accepted and not ended, wherever it was
    /// submitted; more is refused as [`QueueFull`](crate::SubmitError::QueueFull).
    pub task_bytes: usize,
    /// Requests that may be open at one other node; more are refused as [`QueueFull`](crate::SubmitError::QueueFull).
    pub calls: usize,
    /// Frames that wait to be written to one connection; who has another one waits.
    pub outbox: usize,
    /// Bytes of the large ones among them, until they are written; who has another one waits.
    pub outbox_bytes: usize,
    /// Connections that a node accepts.
    pub connections: usize,
    /// For connecting and shaking hands.
    pub connect: Duration,
    /// For writing one batch of frames.
    pub write: Duration,
    /// How long after the deadline an owner may be silent before it is asked, and then before it is given up.
    pub grace: Duration,
    /// How long started tasks may go on after [`shutdown`](crate::Node::shutdown).
    pub shutdown: Duration,
}

impl Default for RouterLimits {
    fn default() -> Self {
        Self {
            frame_bytes: 1 << 20,
            task_bytes: 256 << 20,
            calls: 100_000,
            outbox: 4096,
            outbox_bytes: 16 << 20,
            connections: 1024,
            connect: Duration::from_secs(2),
            write: Duration::from_secs(5),
            grace: Duration::from_secs(1),
            shutdown: Duration::from_secs(5),
        }
    }
}
