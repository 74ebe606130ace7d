//! `redis-redlock`: the same key on several servers that know nothing of each other; whose it is on most of them holds the lock.
//!
//! Protocol, on one connection per node and server (folder `redis`, file `quorum`):
//! - *acquire*, 1 round trip to all at once: as `redis-poll` on each. With a majority, and while what is left of the lease after the
//!   slowest of them is more than the drift between their clocks (1 % and 2 ms), the lock is held; otherwise all is given back.
//! - *wait*: as `redis-poll`. Where many ask at once nobody may have a majority, and all try again.
//! - *release*, *renew*: on all; what most say counts.
//!
//! Safety class T, of a majority of clocks: exclusive while those run at similar rates and pauses stay below the lease's margin. **No
//! token**: a counter on each server does not rise over majorities. **A server that comes back without its keys** must stay away for a
//! ttl, which nobody here sees to: with one that is quick, two majorities meet in it.
//!
//! Crash release: ttl, plus the pause. A server that is silent costs every request a tenth of the ttl; one that was not there when a
//! node's session began is not asked until the next session.
//!
//! Its URL is a list of those of the servers, `redis://a:1,redis://b:2,…`; of one it is `redis-poll`.
//!
//! Sources: redis.io "Distributed Locks with Redis" (Redlock); Kleppmann, "How to do distributed locking"; Redisson's documentation,
//! which has deprecated its own; redsync issue 186.

use super::node::SURVIVES;
use super::quorum::Quorum;
use super::race::{Race, Wake};
use super::requests::{Redis, Tokens};
use super::server;
use crate::session::{Capabilities, Endpoint, Least, LocalFifo, LockError, SafetyClass, Survives, Variant};

pub(super) const VARIANT: Variant = Variant {
    name: "redis-redlock",
    summary: "SET NX PX on each of several servers, held by whoever has most of them; no token, waiters poll",
    class: SafetyClass::Timed,
    least: Least::Writes,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: false,
        native_many: false,
        token: false,
        shared_mode: false,
        lease: true,
        fair: false,
    },
    survives: Survives {
        server_kill: "while most servers keep it: of those that come back empty, fewer than half may do so within a ttl",
        ..SURVIVES
    },
    open: |endpoint| {
        if endpoint.0.contains("+cluster://") {
            return Err(ONE_SERVER);
        }
        let servers = Box::new(Quorum(each(endpoint).iter().map(server::at).collect())) as Box<dyn Redis>;
        Ok(Box::new(Race { server: servers, wake: Wake::Poll, tokens: Tokens::None }))
    },
};

const ONE_SERVER: LockError = LockError::Unsupported(
    "it asks several servers that know nothing of each other, and a Redis Cluster is one to it: redis-fenced works there, or this one \
     with the URLs of such servers",
);

/// The URL of each server of a list; what a URL says behind its `?` holds for those before it that say nothing.
fn each(endpoint: &Endpoint) -> Vec<Endpoint> {
    let query = endpoint.0.rsplit_once('?').map(|(_, query)| query);
    let mut urls: Vec<String> = Vec::new();
    for part in endpoint.0.split(',') {
        match urls.last_mut() {
            // A list within one URL, as that of Sentinels.
            Some(last) if !part.contains("://") => *last = format!("{last},{part}"),
            _ => urls.push(part.to_owned()),
        }
    }
    let complete = |url: String| match query {
        Some(query) if !url.contains('?') => Endpoint(format!("{url}?{query}")),
        _ => Endpoint(url),
    };
    urls.into_iter().map(complete).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_told_from_the_list_within_a_url() {
        let told = |url: &str| each(&Endpoint::from(url)).into_iter().map(|one| one.0).collect::<Vec<_>>();
        assert_eq!(told("redis://:p@a:1,redis://:p@b:2"), ["redis://:p@a:1", "redis://:p@b:2"]);
        assert_eq!(
            told("rediss://a,rediss://b?ssl-ca=/ca.pem"),
            ["rediss://a?ssl-ca=/ca.pem", "rediss://b?ssl-ca=/ca.pem"]
        );
        assert_eq!(told("redis+sentinel://a,b/locks"), ["redis+sentinel://a,b/locks"]);
        assert_eq!(told("redis://a"), ["redis://a"]);
    }
}
