//! ZooKeeper: a node's session ends with its client, and the nodes that it made with it.
//!
//! | read | for |
//! |---|---|
//! | `requests` | what can be asked, and what comes back; `wire` asks the server through the client library |
//! | `node` | the session: how long it is certainly alive, and how it ends |
//! | `queue` | how an attempt takes its place among the nodes of a key, also after a lost answer |
//! | `zk_…` | the variants |

use crate::session::Server;

mod handshake;
mod url;
mod bare;
mod contents;
mod requests;
mod no_delay;
mod wire;
mod names;
mod node;
mod queue;
mod session;

mod zk_seq;
mod zk_herd;
mod zk_ephemeral;
mod zk_crate;

#[cfg(test)]
mod memory;
#[cfg(test)]
mod tests;

/// The product, and one line for each variant on it.
pub(super) const SERVER: Server = Server {
    name: "zookeeper",
    url: url::URL,
    variants: &[&zk_seq::VARIANT, &zk_herd::VARIANT, &zk_ephemeral::VARIANT, &zk_crate::VARIANT],
    of_a_quorum: &[],
    settings: &[
        ("forceSync", "whether a grant outlives a loss of power"),
        ("tickTime", "the least and the longest session timeout: 2 and 20 ticks"),
    ],
    bare: |endpoint| Box::pin(async { Ok(Box::new(bare::Zookeeper::connect(endpoint).await?) as _) }),
    contents: |endpoint| Box::pin(async { Ok(Box::new(contents::Zookeeper::connect(endpoint).await?) as _) }),
    members: |endpoint| Box::pin(async { url::members(endpoint) }),
    model: None,
};
