//! NATS: a bucket of JetStream's key-value store for each ttl, whose entries end by themselves.
//!
//! | read | for |
//! |---|---|
//! | `requests` | what can be asked, and what comes back; `wire` asks the server through the client library |
//! | `names` | keys and buckets as the server takes them |
//! | `node` | what a session holds, how that is renewed, given back and withdrawn |
//! | `nats_…` | the variants |

use crate::session::Server;

mod url;
mod names;
mod requests;
mod wire;
mod bare;
mod contents;
mod marks;
mod node;

mod nats_kv;

/// The product, and one line for each variant on it.
pub(super) const SERVER: Server = Server {
    name: "nats",
    url: url::URL,
    variants: &[&nats_kv::VARIANT],
    of_a_quorum: &[],
    settings: &[
        (
            "jetstream sync_interval",
            "whether a grant outlives a loss of power; from 2.10 on, before that 2 min",
        ),
        ("jetstream store_dir", "whether a grant outlives the machine"),
        ("max_control_line", "how long a lock's name may be"),
    ],
    bare: |endpoint| Box::pin(async { Ok(Box::new(bare::Nats::connect(endpoint).await?) as _) }),
    contents: |endpoint| Box::pin(async { Ok(Box::new(contents::Nats::connect(endpoint).await?) as _) }),
    members: |endpoint| Box::pin(async { url::members(endpoint) }),
    model: None,
};
