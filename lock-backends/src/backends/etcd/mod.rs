//! etcd: all keys of a node hang on the node's one lease, and end with it.
//!
//! | read | for |
//! |---|---|
//! | `requests` | what can be asked, and what comes back; `wire` asks the cluster through the client library |
//! | `node` | the session: its lease, how long it certainly lives, how it ends |
//! | `line` | the queue of a lock as the watch of it shows it |
//! | `withdrawal` | the proof that nothing comes of a request whose answer was lost |
//! | `etcd_…` | the variants |

use crate::session::Server;

mod url;
mod bare;
mod contents;
mod requests;
mod wire;
mod deletion;
mod line;
mod node;
mod withdrawal;
mod session;
mod v3lock;

mod etcd_cas;
mod etcd_queue;
mod etcd_v3lock;
mod etcd_v3lock_checked;

/// The product, and one line for each variant on it.
pub(super) const SERVER: Server = Server {
    name: "etcd",
    url: url::URL,
    variants: &[
        &etcd_cas::VARIANT,
        &etcd_queue::VARIANT,
        &etcd_v3lock::VARIANT,
        &etcd_v3lock_checked::VARIANT,
    ],
    of_a_quorum: &[],
    settings: &[
        ("--unsafe-no-fsync", "whether a grant outlives a loss of power"),
        ("--heartbeat-interval, --election-timeout", "how soon a new leader serves, and the least ttl"),
    ],
    bare: |endpoint| Box::pin(async { Ok(Box::new(bare::Etcd::connect(endpoint).await?) as _) }),
    contents: |endpoint| Box::pin(async { Ok(Box::new(contents::Etcd::connect(endpoint).await?) as _) }),
    members: |endpoint| Box::pin(url::members(endpoint)),
    model: None,
};
