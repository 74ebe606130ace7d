//! What crowds get out of one session and one key: each figure beside a yardstick of the same run, in turns, on servers
//! that flush nothing (durability profile `memory`). Prints tables in Markdown.
//!
//! ```text
//! cargo bench -p lock-backends                    # all of it
//! cargo bench -p lock-backends -- pair            # an uncontended pair, one caller, beside the bare requests
//! cargo bench -p lock-backends -- distinct redis  # 512 callers, distinct keys, one session; on Redis alone
//! cargo bench -p lock-backends -- hot             # 8 sessions with 100 waiters each on one key, with and without local FIFO
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
mod beside;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use harness::servers::{Durability, Server, ServerKind, ServerOptions};
use lock_backends::{
    ClientOptions, Endpoint, LockClient, OwnerId, Request, SessionOptions, SinceStart, variant,
};

use lane::{Crowd, Lane, interleave, table};

/// Callers with a key each.
const CALLERS: usize = 512;
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
        self.of_kind(table, |word| ["pair", "distinct", "hot", "waiters"].contains(&word))
    }

    fn server(&self, kind: ServerKind) -> bool {
        self.of_kind(kind.name(), |word| ServerKind::ALL.iter().any(|kind| kind.name() == word))
    }

    /// The variants on a server, a yardstick first.
    pub(crate) fn variants(&self, kind: ServerKind) -> Vec<&'static str> {
        let known = lock_backends::server(kind.name()).into_iter().flat_map(|server| server.variants);
        let mut names: Vec<_> = known.map(|variant| variant.name).collect();
        let yardstick = beside::of(kind).map(|beside| beside.variant);
        names.sort_by_key(|name| Some(*name) != yardstick);
        names.retain(|name| self.of_kind(name, |word| variant(word).is_some()));
        names
    }
}

fn main() {
    // `cargo bench` adds options of its own.
    let asked = Asked(std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for kind in ServerKind::ALL.iter().filter(|kind| asked.server(**kind)) {
            let options = ServerOptions { durability: Durability::Memory, ..ServerOptions::default() };
            let server = match Server::start(*kind, &options).await {
                Ok(server) => server,
                Err(missing) => {
                    eprintln!("skipped: {missing}");
                    continue;
                }
            };
            if asked.table("pair") {
                pair(&server, &asked).await;
            }
            if asked.table("distinct") {
                distinct(&server, &asked).await;
            }
            if asked.table("hot") {
                hot(&server, &asked).await;
            }
            if asked.table("waiters") {
                waiters::waiters(&server, &asked).await;
            }
            server.stop().await.unwrap();
        }
    });
}

/// One caller, one key: acquire and release, one after the other.
async fn pair(server: &Server, asked: &Asked) {
    let mut lanes = bare(server).await;
    for name in asked.variants(server.kind()) {
        lanes.push(Lane::new(name, Crowd::on_distinct_keys(vec![client(name, server, true).await])));
    }
    interleave(&mut lanes, 1, 25, Duration::from_millis(100)).await;
    table(&format!("{}: one caller, one key", server.kind().title()), &lanes);
    close(lanes).await;
}

/// Many callers with a key each, on one session.
async fn distinct(server: &Server, asked: &Asked) {
    let mut lanes = bare(server).await;
    for name in asked.variants(server.kind()) {
        // A connection for each caller that holds: no crowd for one session.
        if !["pg-session", "pg-xact"].contains(&name) {
            lanes.push(Lane::new(name, Crowd::on_distinct_keys(vec![client(name, server, true).await])));
        }
    }
    if let Some(program) = beside::of(server.kind()).and_then(|beside| beside.program) {
        program(server);
    }
    interleave(&mut lanes, CALLERS, 15, Duration::from_millis(300)).await;
    table(&format!("{}: {CALLERS} callers with a key each, one session", server.kind().title()), &lanes);
    close(lanes).await;
}

/// Eight nodes, a hundred waiters each, one key. The first is the yardstick.
async fn hot(server: &Server, asked: &Asked) {
    let mut lanes = Vec::new();
    for name in asked.variants(server.kind()) {
        for local_fifo in [true, false] {
            // Theirs cannot be switched off.
            if !local_fifo && name.starts_with("pg-") {
                continue;
            }
            let mut clients = Vec::new();
            for _ in 0..SESSIONS {
                clients.push(client(name, server, local_fifo).await);
            }
            let label = if local_fifo { name.to_owned() } else { format!("{name}, no local FIFO") };
            lanes.push(Lane::new(&label, Crowd::on_one_key(clients)));
        }
    }
    interleave(&mut lanes, WAITERS, 7, Duration::from_millis(1_000)).await;
    let title = server.kind().title();
    table(&format!("{title}: one key, {SESSIONS} sessions, {WAITERS} waiters"), &lanes);
    close(lanes).await;
}

async fn bare(server: &Server) -> Vec<Lane> {
    match beside::of(server.kind()) {
        Some(beside) => vec![Lane::bare((beside.bare)(server.endpoint()).await)],
        None => Vec::new(),
    }
}

async fn close(lanes: Vec<Lane>) {
    for lane in lanes {
        lane.close().await;
    }
}

fn ask(key: &Arc<str>, deadline_ns: u64) -> Request {
    let owner = OwnerId(format!("bench:{}", number()).into());
    Request { keys: vec![Arc::clone(key)], ..Request::exclusive("", owner, deadline_ns) }
}

fn number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

async fn client(name: &str, server: &Server, local_fifo: bool) -> LockClient {
    let session = SessionOptions {
        node: format!("bench-{}", number()),
        ttl: Duration::from_secs(10),
        now: Arc::new(SinceStart::default()),
    };
    let endpoint = Endpoint(server.endpoint().to_owned());
    let options = ClientOptions { local_fifo, ..ClientOptions::default() };
    LockClient::connect(variant(name).unwrap(), &endpoint, session, options).await.unwrap()
}
