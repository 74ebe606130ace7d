//! Redis. From the ground up: what can be asked of the server ([`requests`]), who asks it (`scripts`, `client`), what
//! sessions share (`node`, `tries`), two kinds of session (`race`, `hand_over`), each with what it hears, and the
//! variants.

mod requests;
mod url;
mod scripts;
mod client;
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

mod bare;
mod contents;
#[cfg(test)]
mod model;

use crate::session::Server;

/// The product, and one line for each variant on it.
pub(super) const SERVER: Server = Server {
    name: "redis",
    url: requests::URL,
    variants: &[&redis_poll::VARIANT, &redis_pubsub::VARIANT, &redis_fenced::VARIANT, &redis_queue::VARIANT],
    settings: &[
        ("appendonly, appendfsync", "whether a grant outlives the server"),
        ("maxmemory-policy", "whether a lock can be evicted"),
        ("timeout", "whether an idle session is closed"),
    ],
    bare: |endpoint| Box::pin(async { Ok(Box::new(bare::Redis::connect(endpoint).await?) as _) }),
    contents: |endpoint| Box::pin(async { Ok(Box::new(contents::Redis::connect(endpoint).await?) as _) }),
};
