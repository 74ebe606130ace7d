//! etcd: `etcd`, asked over its HTTP and JSON gateway.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::child;
use crate::servers::about::About;
use crate::servers::command;
use crate::servers::error::ServerError;
use crate::servers::options::{Durability, ServerOptions, Topology};
use crate::servers::product::{Answer, Product, Seat, Start};
use crate::servers::url::Address;
use crate::servers::wire::{self, AskError};

const ABOUT: About = About {
    name: "etcd",
    title: "etcd",
    packages: "etcd-server",
    url: "http://[user:password@]host[:port],…, https:// over TLS",
    topologies: &[Topology::Single, Topology::Replicated],
    warms_s: 0.0,
    accounts: &["etcd", "nobody"],
    processes: &["etcd"],
    stop: Signal::SIGTERM,
    clean_up: |_| {},
    secured: &["https", "etcds"],
    checked: None,
};

/// The setting that is a flag alone: it cannot be asked for.
const NO_FSYNC: &str = "unsafe-no-fsync";

/// A cluster of one member or of three.
#[derive(Debug)]
pub(super) struct Etcd;

impl Product for Etcd {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn find(&self, program: Option<&Path>) -> Result<(PathBuf, String), ServerError> {
        let program = self::program(program)?;
        let output = command::says_of_itself(&program, ABOUT.title)?;
        let version = output.lines().find_map(|line| line.strip_prefix("etcd Version: "));
        Ok((program, version.unwrap_or("unknown").to_owned()))
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
        format!("{}://{address}", scheme(seat))
    }

    fn ask<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Answer, AskError>> {
        Box::pin(ask(url))
    }

    fn leads<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Option<u64>, AskError>> {
        Box::pin(leads(url))
    }

    fn effective(&self, durability: Durability) -> &'static [(&'static str, &'static str)] {
        match durability {
            Durability::Durable => &[(NO_FSYNC, "false")],
            Durability::Memory => &[(NO_FSYNC, "true")],
        }
    }
}

fn program(named: Option<&Path>) -> Result<PathBuf, ServerError> {
    let what = "the program etcd".to_owned();
    let missing = ServerError::Missing { product: ABOUT.title, what, package: ABOUT.packages };
    command::named(&ABOUT, named)?.or_else(|| child::on_path("etcd")).ok_or(missing)
}

fn start(seats: &[Seat], place: usize, options: &ServerOptions) -> Result<Start, ServerError> {
    let name =
        |seat: &Seat| seat.folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let peer = |seat: &Seat| format!("http://127.0.0.1:{}", seat.ports[1]);
    let cluster: Vec<String> = seats.iter().map(|seat| format!("{}={}", name(seat), peer(seat))).collect();
    let (token, seat) = (name(&seats[0]), &seats[place]);
    let (name, peer, folder) = (name(seat), peer(seat), &seat.folder);
    let client = format!("{}://127.0.0.1:{}", scheme(seat), seat.ports[0]);
    let mut args = vec![
        format!("--name={name}"),
        format!("--data-dir={}", folder.data().display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster={}", cluster.join(",")),
        format!("--initial-cluster-token={token}"),
    ];
    if let Some([ca, cert, key]) = seat.certificates(&ABOUT)? {
        args.push(format!("--cert-file={}", cert.display()));
        args.push(format!("--key-file={}", key.display()));
        // With it alone it asks for certificates already.
        if seat.asks_for_certificates() {
            args.push(format!("--trusted-ca-file={}", ca.display()));
            args.push("--client-cert-auth".to_owned());
        }
    }
    let no_fsync = options.durability == Durability::Memory;
    if no_fsync {
        args.push(format!("--{NO_FSYNC}"));
    }
    Ok(Start {
        program: program(options.program.as_deref())?,
        args: args.into_iter().map(Into::into).collect(),
        flags: [(NO_FSYNC.to_owned(), no_fsync.to_string())].into(),
        identity: name,
    })
}

fn scheme(seat: &Seat) -> &'static str {
    if seat.tls.is_some() { "https" } else { "http" }
}

fn spoken(address: Address) -> Result<Address, String> {
    address.spoken(&["", "http", "etcd"], ABOUT.secured, ABOUT.url)
}

async fn ask(list: &str) -> Result<Answer, AskError> {
    let mut answer = None;
    for address in wire::addresses(list, 2379, spoken)? {
        let this = ask_member(&address).await?;
        answer.get_or_insert(this);
    }
    answer.ok_or_else(|| AskError::Url("it names no host".to_owned()))
}

async fn ask_member(address: &Address) -> Result<Answer, AskError> {
    let health = http(address, "GET /health", "").await?;
    if health["health"] != "true" {
        return Err(AskError::Silent(format!("it says of its health: {health}")));
    }
    let version = http(address, "GET /version", "").await?;
    let version = version["etcdserver"].as_str().unwrap_or("unknown").to_owned();
    let mut answer = Answer { version, ..Answer::default() };
    // Where a login is needed, the list of members is refused.
    if let Ok(list) = http(address, "POST /v3/cluster/member/list", "{}").await
        && let Some(members) = list["members"].as_array()
    {
        answer.settings.insert("members".to_owned(), members.len().to_string());
        let itself = members.iter().find(|member| member["ID"] == list["header"]["member_id"]);
        answer.identity = itself.and_then(|member| member["name"].as_str()).map(str::to_owned);
    }
    Ok(answer)
}

/// The term in which a member leads; `None` where it follows.
async fn leads(endpoint: &str) -> Result<Option<u64>, AskError> {
    let address = Address::parse(endpoint, 2379).and_then(spoken).map_err(AskError::Url)?;
    let status = http(&address, "POST /v3/maintenance/status", "{}").await?;
    let strange = || AskError::Silent(format!("maintenance/status: {status}"));
    let term = status["raftTerm"].as_str().and_then(|term| term.parse().ok()).ok_or_else(strange)?;
    Ok((status["leader"] == status["header"]["member_id"]).then_some(term))
}

/// One request, whose answer is JSON.
async fn http(address: &Address, request: &str, body: &str) -> Result<Value, AskError> {
    let (host, length) = (address.socket(), body.len());
    let question = format!(
        "{request} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let answer = wire::exchange(address, question.as_bytes()).await?;
    let strange = || AskError::Silent(format!("{request}: {}", answer.lines().next().unwrap_or("no answer")));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(strange)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(strange());
    }
    serde_json::from_str(body).map_err(|_| strange())
}
