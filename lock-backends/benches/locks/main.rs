//! What crowds get out of one session and one key: each figure beside a yardstick of the same run, in turns, on servers
//! that flush nothing (durability profile `memory`). Prints tables in Markdown.
//!
//! ```text
//! cargo bench -p lock-backends                    # all of it
//! cargo bench -p lock-backends -- pair            # an uncontended pair, one caller, beside the bare requests
//! cargo bench -p lock-backends -- distinct redis  # 512 callers, distinct keys, one session; on Redis alone
//! cargo bench -p lock-backends -- hot             # 8 sessions with 100 waiters each on one key, with and without local FIFO
//! cargo bench -p lock-backends -- tls             # a pair over TLS beside the same without, in turns
//! cargo bench -p lock-backends -- waiters         # thousands of waiters on one key and one session: memory, and how they drain
//! ```
//!
//! A bare client sends the same scripts, statements or writes on one connection, through the same detour of tasks.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking, and tables are what it is for"
)]

mod lane;
mod bare;
mod tls;
mod waiters;

use std::sync::Arc;
use std::time::Duration;

use harness::servers::{Durability, Server, ServerOptions};
use lock_backends::{
    ClientOptions, Endpoint, LocalFifo, LockClient, SessionOptions, SinceStart, Variant, variant,
};

use bare::Yardstick;
use lane::{CALLERS, Crowd, Lane, interleave, number, table};

/// Nodes on the hot key, a session each, and the waiters of them all.
const SESSIONS: usize = 8;
const WAITERS: usize = 800;

/// The words of the command line: tables, servers and variants. Of a kind that is not named, all.
pub(crate) struct Asked(Vec<String>);

impl Asked {
    fn of_kind(&self, word: &str, is_of_kind: impl Fn(&str) -> bool) -> bool {
        let mut named = self.0.iter().filter(|one| is_of_kind(one)).peekable();
        named.peek().is_none() || named.any(|one| one == word)
    }

    fn table(&self, table: &str) -> bool {
        self.of_kind(table, |word| ["pair", "distinct", "hot", "waiters", "tls"].contains(&word))
    }

    fn server(&self, name: &str) -> bool {
        self.of_kind(name, |word| bare::ALL.iter().any(|yardstick| yardstick.server == word))
    }

    /// The variants on a server, the first that they are compared with at the head.
    pub(crate) fn variants(&self, yardstick: &Yardstick) -> Vec<&'static Variant> {
        let mut variants = yardstick.variants();
        variants.retain(|one| self.of_kind(one.name, |word| variant(word).is_ok()));
        variants
    }
}

fn main() {
    // `cargo bench` adds options of its own.
    let asked = Asked(std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for yardstick in bare::ALL.iter().filter(|yardstick| asked.server(yardstick.server)) {
            let options = ServerOptions { durability: Durability::Memory, ..ServerOptions::default() };
            let server = match Server::start(yardstick.server.parse().unwrap(), &options).await {
                Ok(server) => server,
                Err(missing) => {
                    eprintln!("skipped: {missing}");
                    continue;
                }
            };
            if asked.table("pair") {
                pair(&server, yardstick, &asked).await;
            }
            if asked.table("distinct") {
                distinct(&server, yardstick, &asked).await;
            }
            if asked.table("hot") {
                hot(&server, yardstick, &asked).await;
            }
            if asked.table("tls") {
                tls::tls(&server, yardstick, &asked).await;
            }
            if asked.table("waiters") {
                waiters::waiters(&server, yardstick, &asked).await;
            }
            server.stop().await.unwrap();
        }
    });
}

/// Rounds in which lanes of one caller take turns, and how long each turn is.
pub(crate) fn of_pairs() -> (usize, Duration) {
    (25, Duration::from_millis(100))
}

/// One caller, one key: acquire and release, one after the other.
async fn pair(server: &Server, yardstick: &Yardstick, asked: &Asked) {
    let mut lanes = vec![yardstick.lane(server).await];
    for variant in asked.variants(yardstick) {
        lanes.push(Lane::new(
            variant.name,
            Crowd::on_distinct_keys(vec![client(variant, server, true).await]),
        ));
    }
    let (rounds, each) = of_pairs();
    interleave(&mut lanes, 1, rounds, each).await;
    table(&format!("{}: one caller, one key", server.kind().title()), &lanes);
    close(lanes).await;
}

/// Many callers with a key each, on one session.
async fn distinct(server: &Server, yardstick: &Yardstick, asked: &Asked) {
    let mut lanes = vec![yardstick.lane(server).await];
    for variant in asked.variants(yardstick) {
        if yardstick.takes_crowds(variant) {
            lanes.push(Lane::new(
                variant.name,
                Crowd::on_distinct_keys(vec![client(variant, server, true).await]),
            ));
        }
    }
    (yardstick.beside)(server);
    interleave(&mut lanes, CALLERS, 15, Duration::from_millis(300)).await;
    table(&format!("{}: {CALLERS} callers with a key each, one session", server.kind().title()), &lanes);
    close(lanes).await;
}

/// Eight nodes, a hundred waiters each, one key. The first is the yardstick.
async fn hot(server: &Server, yardstick: &Yardstick, asked: &Asked) {
    let mut lanes = Vec::new();
    for variant in asked.variants(yardstick) {
        for local_fifo in [true, false] {
            let required = variant.capabilities.local_fifo == LocalFifo::Required;
            if !local_fifo && (required || !yardstick.takes_crowds(variant)) {
                continue;
            }
            let mut clients = Vec::new();
            for _ in 0..SESSIONS {
                clients.push(client(variant, server, local_fifo).await);
            }
            let label = format!("{}{}", variant.name, if local_fifo { "" } else { ", no local FIFO" });
            lanes.push(Lane::new(&label, Crowd::on_one_key(clients)));
        }
    }
    interleave(&mut lanes, WAITERS, 7, Duration::from_millis(1_000)).await;
    let title = server.kind().title();
    table(&format!("{title}: one key, {SESSIONS} sessions, {WAITERS} waiters"), &lanes);
    close(lanes).await;
}

pub(crate) async fn close(lanes: Vec<Lane>) {
    for lane in lanes {
        lane.close().await;
    }
}

pub(crate) async fn client(variant: &Variant, server: &Server, local_fifo: bool) -> LockClient {
    let session = SessionOptions {
        node: format!("bench-{}", number()),
        ttl: Duration::from_secs(10),
        now: Arc::new(SinceStart::default()),
    };
    let endpoint = Endpoint(server.endpoint().to_owned());
    let options = ClientOptions { local_fifo, ..ClientOptions::default() };
    LockClient::connect(variant, &endpoint, session, options).await.unwrap()
}
