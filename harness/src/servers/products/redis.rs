//! Redis: `redis-server`, asked with PING, INFO and CONFIG GET.

mod protocol;
mod topology;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use nix::sys::signal::Signal;

use self::protocol::Connection;
use crate::child;
use crate::servers::about::About;
use crate::servers::command;
use crate::servers::error::ServerError;
use crate::servers::options::{Durability, ServerOptions, Topology};
use crate::servers::product::{Answer, Product, Seat, Start};
use crate::servers::url::Address;
use crate::servers::wire::AskError;

const ABOUT: About = About {
    name: "redis",
    title: "Redis",
    packages: "redis-server",
    url: "redis://[[user]:password@]host[:port], redis+sentinel://…host[:port],…/service, redis+cluster://…host[:port],…; over TLS \
          rediss…://",
    topologies: &[Topology::Single, Topology::Independent, Topology::Copied],
    warms_s: 0.0,
    accounts: &["redis", "nobody"],
    processes: &["redis-server"],
    stop: Signal::SIGTERM,
    clean_up: |_| {},
    secured: &["rediss", "rediss+sentinel", "rediss+cluster"],
    checked: None,
};

/// What decides which acknowledged writes are still there after a crash, or whether a lock's key may be evicted.
const SETTINGS: [&str; 5] =
    ["appendonly", "appendfsync", "no-appendfsync-on-rewrite", "save", "maxmemory-policy"];

/// One instance.
#[derive(Debug)]
pub(super) struct Redis;

impl Product for Redis {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn find(&self, program: Option<&Path>) -> Result<(PathBuf, String), ServerError> {
        let program = self::program(program)?;
        let output = command::says_of_itself(&program, ABOUT.title)?;
        let version = output.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("unknown");
        Ok((program, version.to_owned()))
    }

    fn start<'a>(
        &'a self,
        seats: &'a [Seat],
        place: usize,
        options: &'a ServerOptions,
    ) -> BoxFuture<'a, Result<Start, ServerError>> {
        Box::pin(async move { start(seats, place, options) })
    }

    fn endpoint(&self, address: SocketAddr, seat: &Seat) -> String {
        let scheme = if seat.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://:{}@{address}", seat.secret.text())
    }

    fn ask<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Answer, AskError>> {
        Box::pin(ask(url))
    }

    fn ask_member<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Answer, AskError>> {
        Box::pin(async move {
            let address = address(url)?;
            let mut connection = Connection::open(&address).await?;
            let said = connection.call(&["INFO", "replication"]).await?.join("");
            if said.contains("role:slave") && !said.contains("master_link_status:up") {
                return Err(AskError::Silent("it has not all that its primary has".to_owned()));
            }
            ask_primary(&address).await
        })
    }

    fn copy<'a>(&'a self, url: &'a str, of: Option<SocketAddr>) -> BoxFuture<'a, Result<(), AskError>> {
        Box::pin(async move {
            let mut connection = Connection::open(&address(url)?).await?;
            let (host, port) = match of {
                Some(of) => (of.ip().to_string(), of.port().to_string()),
                None => ("NO".to_owned(), "ONE".to_owned()),
            };
            connection.call(&["REPLICAOF", &host, &port]).await.map(drop)
        })
    }

    fn time_us<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<i64, AskError>> {
        Box::pin(async move {
            let told = Connection::open(&address(url)?).await?.call(&["TIME"]).await?;
            let number = |place: usize| told.get(place).and_then(|text| text.parse::<i64>().ok());
            let time = number(0).zip(number(1)).map(|(s, us)| s * 1_000_000 + us);
            time.ok_or_else(|| AskError::Silent("this is no time".to_owned()))
        })
    }

    fn effective(&self, durability: Durability) -> &'static [(&'static str, &'static str)] {
        match durability {
            Durability::Durable => &[("appendonly", "yes"), ("appendfsync", "always"), ("save", "")],
            Durability::Memory => &[("appendonly", "no"), ("save", "")],
        }
    }
}

/// The one server of a URL.
fn address(url: &str) -> Result<Address, AskError> {
    Address::parse(url, 6379)
        .and_then(|address| address.spoken(&["redis"], &["rediss"], ABOUT.url))
        .map_err(AskError::Url)
}

fn program(named: Option<&Path>) -> Result<PathBuf, ServerError> {
    let what = "the program redis-server".to_owned();
    let missing = ServerError::Missing { product: ABOUT.title, what, package: ABOUT.packages };
    command::named(&ABOUT, named)?.or_else(|| child::on_path("redis-server")).ok_or(missing)
}

fn start(seats: &[Seat], place: usize, options: &ServerOptions) -> Result<Start, ServerError> {
    let seat = &seats[place];
    let data = seat.folder.data().display().to_string();
    let port = seat.ports[0].to_string();
    let persistence: &[&str] = match options.durability {
        Durability::Durable => &["--appendonly", "yes", "--appendfsync", "always", "--save", ""],
        Durability::Memory => &["--appendonly", "no", "--save", ""],
    };
    // The one setting that is not for the arguments, which every user of the machine can read.
    let mut config = format!("requirepass {}\n", seat.secret.text());
    if options.topology == Topology::Copied {
        // Either may be the copy, and takes what the other has at once.
        config += &format!("masterauth {}\nrepl-diskless-sync-delay 0\n", seat.secret.text());
        if place > 0 {
            config += &format!("replicaof 127.0.0.1 {}\n", seats[0].ports[0]);
        }
    }
    let mut ports = ["--port", &port, "--tls-port", "0"];
    if let Some([ca, cert, key]) = seat.certificates(&ABOUT)? {
        ports = ["--port", "0", "--tls-port", &port];
        let [ca, cert, key] = [ca, cert, key].map(|path| path.display().to_string());
        let clients = if seat.asks_for_certificates() { "yes" } else { "no" };
        config += &format!("tls-ca-cert-file {ca}\ntls-cert-file {cert}\ntls-key-file {key}\n");
        config += &format!("tls-auth-clients {clients}\n");
    }
    let config = seat.confide(&ABOUT, "redis.conf", &config)?.display().to_string();
    let [port, tls] = [&ports[..2], &ports[2..]];
    let common = [
        &config,
        "--bind",
        "127.0.0.1",
        port[0],
        port[1],
        tls[0],
        tls[1],
        "--dir",
        &data,
        "--daemonize",
        "no",
    ];
    Ok(Start {
        program: program(options.program.as_deref())?,
        args: common.iter().chain(persistence).map(Into::into).collect(),
        flags: [].into(),
        identity: data,
    })
}

async fn ask(url: &str) -> Result<Answer, AskError> {
    let whole = topology::of(url).await?;
    let mut answer: Option<Answer> = None;
    for primary in &whole.primaries {
        let this = ask_primary(primary).await?;
        match &mut answer {
            None => answer = Some(this),
            // Of a Cluster each has its own.
            Some(answer) => {
                for (name, value) in this.settings {
                    let known = answer.settings.entry(name).or_default();
                    if *known != value {
                        *known = format!("{known} | {value}");
                    }
                }
            }
        }
    }
    let mut answer = answer.ok_or_else(|| AskError::Silent("its Cluster has no primary".to_owned()))?;
    answer.settings.extend(whole.facts);
    Ok(answer)
}

async fn ask_primary(address: &Address) -> Result<Answer, AskError> {
    let mut connection = Connection::open(address).await?;
    connection.call(&["PING"]).await?;
    let info = connection.call(&["INFO", "server"]).await?.join("");
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let mut answer = Answer { version: version.unwrap_or("unknown").trim().to_owned(), ..Answer::default() };
    for name in SETTINGS {
        answer.settings.insert(name.to_owned(), connection.setting(name).await);
    }
    if let Ok(pair) = connection.call(&["CONFIG", "GET", "dir"]).await {
        answer.identity = pair.get(1).cloned();
    }
    Ok(answer)
}
