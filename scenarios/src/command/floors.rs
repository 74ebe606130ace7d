//! `lockbench floors`: how far each lock variant is from the least that its server could take.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use harness::engine::machine::survey;
use harness::engine::monotonic_ns;
use harness::model::Histogram;
use harness::servers::{self, Durability, Server, ServerKind, ServerOptions};
use lock_backends::{
    Bare, ClientOptions, Endpoint, Least, LockBackend, LockClient, LockError, Now, OwnerId, Request,
    SafetyClass, SessionOptions, Variant,
};
use tokio::task::JoinSet;

use super::print;
use crate::batch::Show as _;
use crate::contenders::server_kind;
use crate::progress::Display;

/// Nodes that contend for the hot key, a session each.
const SESSIONS: usize = 8;
/// Waiters at each of them.
const WAITERS: usize = 100;
/// Rounds in which requests, writes and pairs take turns, so that all meet the same machine.
const ROUNDS: u32 = 25;
/// How often each is done in a round.
const EACH: u32 = 20;

/// Measures the floor of each server (round trip, write) and each lock variant's distance to it, and prints a table in
/// Markdown. Starts private servers; takes about ten seconds and twice `--seconds` per variant.
#[derive(Debug, Args)]
pub(super) struct FloorsArgs {
    /// What an acknowledged write of the servers survives.
    #[arg(long, default_value = "memory", value_name = "durable|memory")]
    durability: Durability,
    /// How long the hot key of each variant is contended for.
    #[arg(long, default_value_t = 2.0, value_parser = seconds, value_name = "S")]
    seconds: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.1..=60.0).contains(&number) { Ok(number) } else { Err("between 0.1 and 60 seconds".to_owned()) }
}

#[derive(Debug)]
struct SinceBoot;

impl Now for SinceBoot {
    fn now_ns(&self) -> u64 {
        monotonic_ns()
    }
}

/// What was measured of a server.
#[derive(Debug)]
struct Floor {
    round_trip_ns: u64,
    write_ns: u64,
}

impl Floor {
    /// Of a pair of acquire and release.
    fn of_pair_ns(&self, variant: &Variant) -> Option<u64> {
        match variant.least {
            Least::Nothing => None,
            Least::RoundTrips => Some(2 * self.round_trip_ns),
            Least::Writes => Some(2 * self.write_ns),
        }
    }
}

/// What was measured of a variant.
#[derive(Debug)]
struct Measured {
    variant: &'static Variant,
    pair_ns: u64,
    floor_ns: Option<u64>,
    pair_operations: f64,
    hot: Hot,
}

#[derive(Debug)]
struct Hot {
    grants_per_s: f64,
    operations: f64,
    /// Part of the grants that went to the session that had given the key back.
    stayed: f64,
}

/// Grants of the hot key, counted by whoever has it.
#[derive(Debug, Default)]
struct Grants {
    all: AtomicU64,
    stayed: AtomicU64,
    /// The session of the last one.
    last: AtomicUsize,
}

impl Grants {
    fn count(&self, session: usize) {
        self.all.fetch_add(1, Ordering::Relaxed);
        if self.last.swap(session, Ordering::Relaxed) == session {
            self.stayed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(super) async fn floors(args: &FloorsArgs) -> anyhow::Result<u8> {
    servers::sweep_leftovers();
    let contend = Duration::from_secs_f64(args.seconds);
    let display = Display::default();
    let (_, mut rows) = of_server(None, contend, &display).await?;
    let mut head = String::new();
    for kind in ServerKind::ALL {
        let options = ServerOptions {
            durability: args.durability,
            detect: Duration::from_secs(10),
            ..ServerOptions::default()
        };
        let server = match Server::start(*kind, &options).await {
            Ok(server) => server,
            Err(error) => {
                display.line(&format!("skipped: {error}"));
                continue;
            }
        };
        let (floor, measured) = of_server(Some(&server), contend, &display).await?;
        if let Some(floor) = floor {
            let settings: Vec<String> =
                server.settings().iter().map(|(name, value)| format!("{name}={value}")).collect();
            let Floor { round_trip_ns, write_ns } = floor;
            let (title, version) = (kind.title(), server.version());
            let (ping, write, settings) = (time(round_trip_ns), time(write_ns), settings.join(", "));
            writeln!(head, "| {title} {version} | {ping} | {write} | {settings} |")?;
        }
        rows.extend(measured);
        server.stop().await?;
    }
    print(&table(args, &head, &rows)?);
    Ok(0)
}

/// Measures the variants on a server, or those without one.
async fn of_server(
    server: Option<&Server>,
    contend: Duration,
    display: &Display,
) -> anyhow::Result<(Option<Floor>, Vec<Measured>)> {
    let kind = server.map(Server::kind);
    let endpoint = Endpoint(server.map(|server| server.endpoint().to_owned()).unwrap_or_default());
    let variants = lock_backends::backends::all().filter(|variant| server_kind(variant) == kind);
    let mut nodes = Vec::new();
    for variant in variants {
        let backend = (variant.open)(&endpoint)?;
        let mut clients = Vec::new();
        for _ in 0..SESSIONS {
            let client = connect(&*backend, variant).await;
            clients.push(client.with_context(|| format!("{}: session", variant.name))?);
        }
        nodes.push((variant, clients));
    }
    let Some((first, _)) = nodes.first() else { return Ok((None, Vec::new())) };
    let bare = match lock_backends::server_of(first) {
        Some(server) => Some((server.bare)(&endpoint).await?),
        None => None,
    };
    let (mut pings, mut writes) = (Histogram::default(), Histogram::default());
    let mut pairs: Vec<Histogram> = nodes.iter().map(|_| Histogram::default()).collect();
    let mut operations = vec![0; nodes.len()];
    for _ in 0..ROUNDS {
        if let Some(bare) = &bare {
            requests(&**bare, &mut pings, &mut writes).await?;
        }
        for (place, (_, clients)) in nodes.iter().enumerate() {
            let before = clients[0].counts().operations;
            for _ in 0..EACH {
                let start_ns = monotonic_ns();
                clients[0].acquire_request(ask("pair", u64::MAX)).await?.release().await?;
                pairs[place].record_ns(monotonic_ns() - start_ns);
            }
            operations[place] += clients[0].counts().operations - before;
        }
    }
    let median = |of: &Histogram| of.quantile_ns(0.5).unwrap_or(0);
    let floor = bare.map(|_| Floor { round_trip_ns: median(&pings), write_ns: median(&writes) });
    let mut measured = Vec::new();
    for (((variant, clients), pairs), operations) in nodes.into_iter().zip(&pairs).zip(operations) {
        display.line(&format!("{}: hot key", variant.name));
        measured.push(Measured {
            variant,
            pair_ns: median(pairs),
            floor_ns: floor.as_ref().and_then(|floor| floor.of_pair_ns(variant)),
            pair_operations: operations as f64 / f64::from(ROUNDS * EACH),
            hot: hot(&clients, contend).await,
        });
        for client in clients {
            client.close().await;
        }
    }
    Ok((floor, measured))
}

async fn requests(bare: &dyn Bare, pings: &mut Histogram, writes: &mut Histogram) -> Result<(), LockError> {
    for _ in 0..EACH {
        let start_ns = monotonic_ns();
        bare.ping().await?;
        let pinged_ns = monotonic_ns();
        bare.write().await?;
        pings.record_ns(pinged_ns - start_ns);
        writes.record_ns(monotonic_ns() - pinged_ns);
    }
    Ok(())
}

/// All waiters of all nodes want one key, and again as soon as they have had it.
async fn hot(nodes: &[LockClient], contend: Duration) -> Hot {
    let until_ns = monotonic_ns() + contend.as_nanos() as u64;
    let sent = || nodes.iter().map(|node| node.counts().operations).sum::<u64>();
    let before = sent();
    let grants = Arc::new(Grants::default());
    let mut waiters = JoinSet::new();
    for waiter in 0..SESSIONS * WAITERS {
        let (client, grants) = (nodes[waiter % SESSIONS].clone(), Arc::clone(&grants));
        waiters.spawn(async move {
            while let Ok(guard) = client.acquire_request(ask("hot", until_ns)).await {
                grants.count(waiter % SESSIONS);
                // Lost or not: it was granted, and who comes next is the server's affair.
                let _ret = guard.release().await;
            }
        });
    }
    tokio::time::sleep(contend).await;
    let granted = grants.all.load(Ordering::Relaxed);
    let (operations, stayed) = (sent() - before, grants.stayed.load(Ordering::Relaxed));
    waiters.join_all().await;
    let part = |of: u64| of as f64 / granted.max(1) as f64;
    Hot {
        grants_per_s: granted as f64 / contend.as_secs_f64(),
        operations: part(operations),
        stayed: part(stayed),
    }
}

async fn connect(backend: &dyn LockBackend, variant: &Variant) -> Result<LockClient, LockError> {
    let options = SessionOptions {
        node: format!("floors-{}", number()),
        ttl: Duration::from_secs(10),
        now: Arc::new(SinceBoot),
    };
    LockClient::connect_on(backend, variant.capabilities, options, ClientOptions::default()).await
}

fn ask(key: &str, deadline_ns: u64) -> Request {
    Request::exclusive(key, OwnerId(format!("floors:{}", number()).into()), deadline_ns)
}

fn number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

fn table(args: &FloorsArgs, servers: &str, rows: &[Measured]) -> Result<String, std::fmt::Error> {
    let machine = survey(&std::env::temp_dir());
    let durability = args.durability.name();
    let mut text = format!(
        "Printed by `lockbench floors --durability {durability} --seconds {}` on {}, {} cores, fsync p50 {}. Medians of {} in \
         turns; only ratios of one table mean something.\n\n\
         | server | round trip p50 | write p50 | settings |\n| --- | --: | --: | --- |\n{servers}\n\
         | variant | class | token | fair | key free after a crash | pair p50 | floor | × floor | operations / pair | hot key, grants/s | operations / grant | stayed in the session |\n\
         | --- | --- | --- | --- | --- | --: | --: | --: | --: | --: | --: | --: |\n",
        args.seconds,
        machine.cpu,
        machine.cores,
        machine.fsync_p50_ns.map_or_else(|| "–".to_owned(), time),
        ROUNDS * EACH,
    );
    for Measured { variant, pair_ns, floor_ns, pair_operations, hot } in rows {
        let class = match variant.class {
            SafetyClass::Timed => "T",
            SafetyClass::Fenced => "F",
            SafetyClass::Atomic => "A",
        };
        let yes = |has: bool| if has { "yes" } else { "no" };
        let floor = floor_ns.map_or_else(|| "–".to_owned(), time);
        let distance =
            floor_ns.map_or_else(|| "–".to_owned(), |ns| format!("{:.2}", *pair_ns as f64 / ns as f64));
        let free = variant.survives.node_crash;
        let (token, fair) = (yes(variant.capabilities.token), yes(variant.capabilities.fair));
        let pair = time(*pair_ns);
        writeln!(
            text,
            "| `{}` | {class} | {token} | {fair} | {free} | {pair} | {floor} | {distance} | {pair_operations:.2} | {:.0} | {:.2} | {:.0} % |",
            variant.name,
            hot.grants_per_s,
            hot.operations,
            100.0 * hot.stayed
        )?;
    }
    write!(
        text,
        "\nClass T: exclusive while clocks run at similar rates, pauses stay below the lease's margin and the server's \
         state survives. F: T with a token, exclusive at a resource that checks it. A: atomic with what it protects. Floor: \
         twice a round trip, or twice a write where acquire and release are writes. Hot key: {SESSIONS} sessions with {WAITERS} \
         waiters each, no hold. The waiters of a session line up in it, and one of them goes to the server; where a variant is \
         not fair, the session that gave the key back may take it again before the others ask, which costs no hand-over and \
         looks fast: see how many grants stayed in the session."
    )?;
    Ok(text)
}

fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.0} µs", ns as f64 / 1e3),
        _ => format!("{:.2} ms", ns as f64 / 1e6),
    }
}
