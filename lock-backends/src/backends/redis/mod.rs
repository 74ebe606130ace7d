//! Redis. From the ground up: what can be asked of the server ([`requests`]), who asks it (`scripts`, `client`), and which
//! one, where there are several (`directory`, `routes`), what
//! sessions share (`node`, `tries`), several servers as one (`quorum`), how what waits goes together (`batches`), two kinds of session (`race`, `hand_over`), each with what it hears, and the
//! variants.

mod requests;
mod url;
mod names;
mod scripts;
mod client;
mod directory;
mod routes;
mod server;
mod quorum;
mod batches;
mod node;
mod tries;
mod channels;
mod race;
mod inbox;
mod hand_over;

mod redis_poll;
mod redis_pubsub;
mod redis_fenced;
mod redis_queue;
mod redis_naive;
mod redis_redlock;

mod bare;
mod contents;
mod members;
mod model;

use crate::session::Server;

/// The product, and one line for each variant on it.
pub(super) const SERVER: Server = Server {
    name: "redis",
    url: requests::URL,
    variants: &[
        &redis_poll::VARIANT,
        &redis_pubsub::VARIANT,
        &redis_fenced::VARIANT,
        &redis_queue::VARIANT,
        &redis_naive::VARIANT,
        &redis_redlock::VARIANT,
    ],
    of_a_quorum: &["redis-redlock"],
    settings: &[
        ("appendonly, appendfsync", "whether a grant outlives the server"),
        ("maxmemory-policy", "whether a lock can be evicted"),
        ("timeout", "whether an idle session is closed"),
    ],
    bare: |endpoint| Box::pin(async { Ok(Box::new(bare::Redis::connect(endpoint).await?) as _) }),
    contents: |endpoint| Box::pin(async { Ok(Box::new(contents::Redis::connect(endpoint).await?) as _) }),
    members: |endpoint| Box::pin(members::members(endpoint)),
    model: Some(model::server),
};
