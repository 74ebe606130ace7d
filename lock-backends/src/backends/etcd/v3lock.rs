//! What is the same of the server's own lock RPC, whoever asks for it.

use std::time::Duration;

/// When to look once more for the key of a request that may have been overtaken.
pub(super) const LATE: Duration = Duration::from_millis(200);

/// What a lock of that name is called there: with the name's length, so that no queue is inside another. The key of whoever waits or
/// holds is the hexadecimal number of its lease, below that.
pub(super) fn queue(name: &str) -> String {
    format!("lockbench/v3lock/{}:{name}", name.len())
}
