//! NATS with JetStream: `nats-server`, one or three that replicate their streams, asked over its own protocol of text lines.
//!
//! **Who leads.** Every stream has a leader of its own, and the members have one for what streams there are. What a lock waits
//! for is the leader of its stream, so that one leads; as long as there is no stream, the members' own does. Clients are
//! told neither: the system account is asked, whose user has the password that the server's other user has.

mod protocol;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

use self::protocol::Connection;
use crate::child;
use crate::servers::about::About;
use crate::servers::command;
use crate::servers::error::ServerError;
use crate::servers::options::{Durability, ServerOptions, Topology};
use crate::servers::product::{Answer, Product, Seat, Start};
use crate::servers::url::Address;
use crate::servers::wire::{self, AskError};

const ABOUT: About = About {
    name: "nats",
    title: "NATS",
    packages: "nats-server",
    url: "nats://[user:password@|token@]host[:port],…, tls:// over TLS",
    topologies: &[Topology::Single, Topology::Replicated],
    warms_s: 0.0,
    accounts: &["nats", "nobody"],
    processes: &["nats-server"],
    stop: Signal::SIGTERM,
    clean_up: |_| {},
    secured: &["tls"],
    checked: None,
};

/// The user of a private server for its clients, and the one that is told what members say of themselves alone.
const USER: &str = "lockbench";
const SYSTEM_USER: &str = "system";

/// No member begins an election that heard its leader so shortly ago.
const ELECTION_MIN: Duration = Duration::from_secs(4);

/// Where the files of a stream are, and when they are flushed: it cannot be asked for. Servers of series 2.9 acknowledge what
/// they have written and flush every two minutes, without a setting for it. So what was acknowledged outlives the server
/// under either profile, and a loss of power only where it was flushed or another member has it.
const STORE: &str = "store";
const ON_DISK: &str = "files, flushed every 2 min";
const IN_MEMORY: &str = "files, in memory where a tmpfs has room";

/// One server with JetStream, or three.
#[derive(Debug)]
pub(super) struct Nats;

impl Product for Nats {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn find(&self, program: Option<&Path>) -> Result<(PathBuf, String), ServerError> {
        let program = self::program(program)?;
        let output = command::says_of_itself(&program, ABOUT.title)?;
        let version = output.split_whitespace().last().unwrap_or("unknown").trim_start_matches('v');
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
        let scheme = if seat.tls.is_some() { "tls" } else { "nats" };
        format!("{scheme}://{USER}:{}@{address}", seat.secret.text())
    }

    fn ask<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Answer, AskError>> {
        Box::pin(ask(url))
    }

    fn leads<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Option<u64>, AskError>> {
        Box::pin(async { timeout(wire::PATIENCE, leads(url)).await.map_err(|_| wire::no_answer())? })
    }

    fn effective(&self, durability: Durability) -> &'static [(&'static str, &'static str)] {
        match durability {
            Durability::Durable => &[(STORE, ON_DISK)],
            Durability::Memory => &[(STORE, IN_MEMORY)],
        }
    }
}

fn program(named: Option<&Path>) -> Result<PathBuf, ServerError> {
    let what = "the program nats-server".to_owned();
    let missing = ServerError::Missing { product: ABOUT.title, what, package: ABOUT.packages };
    command::named(&ABOUT, named)?.or_else(|| child::on_path("nats-server")).ok_or(missing)
}

fn start(seats: &[Seat], place: usize, options: &ServerOptions) -> Result<Start, ServerError> {
    let seat = &seats[place];
    let name = name(seat);
    let (port, data) = (seat.ports[0].to_string(), seat.folder.data().display().to_string());
    let mut config = config(seats, place);
    if let Some([ca, cert, key]) = seat.certificates(&ABOUT)? {
        let [ca, cert, key] = [ca, cert, key].map(|path| path.display().to_string());
        config += &format!(
            "tls {{\n  ca_file: \"{ca}\"\n  cert_file: \"{cert}\"\n  key_file: \"{key}\"\n  verify: {}\n}}\n",
            seat.asks_for_certificates()
        );
    }
    let config = seat.confide(&ABOUT, "nats.conf", &config)?.display().to_string();
    let args = [
        "--config",
        &config,
        "--addr",
        "127.0.0.1",
        "--port",
        &port,
        "--server_name",
        &name,
        "--jetstream",
        "--store_dir",
        &data,
    ];
    let store = if options.durability == Durability::Durable { ON_DISK } else { IN_MEMORY };
    Ok(Start {
        program: program(options.program.as_deref())?,
        args: args.iter().map(Into::into).collect(),
        flags: [(STORE.to_owned(), store.to_owned())].into(),
        identity: name,
    })
}

fn name(seat: &Seat) -> String {
    seat.folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Who may log in, and where the members are. A secret consists of hexadecimal digits.
fn config(seats: &[Seat], place: usize) -> String {
    let (seat, secret) = (&seats[place], seats[place].secret.text());
    let user = |name: &str| format!("users: [{{ user: {name}, password: \"{secret}\" }}]");
    let mut config = format!(
        "accounts {{\n  clients {{ jetstream: enabled, {} }}\n  system {{ {} }}\n}}\nsystem_account: system\n",
        user(USER),
        user(SYSTEM_USER),
    );
    if seats.len() > 1 {
        let route = |seat: &Seat| format!("\"nats-route://member:{secret}@127.0.0.1:{}\"", seat.ports[1]);
        let routes: Vec<String> = seats.iter().map(route).collect();
        config += &format!(
            "cluster {{\n  name: \"{}\"\n  listen: \"127.0.0.1:{}\"\n  authorization {{ user: member, password: \"{secret}\" }}\n  routes: [{}]\n}}\n",
            name(&seats[0]),
            seat.ports[1],
            routes.join(", "),
        );
    }
    config
}

fn spoken(address: Address) -> Result<Address, String> {
    address.spoken(&["", "nats"], ABOUT.secured, ABOUT.url)
}

async fn ask(list: &str) -> Result<Answer, AskError> {
    let mut answer = None;
    for address in wire::addresses(list, 4222, spoken)? {
        let this = timeout(wire::PATIENCE, ask_member(&address)).await.map_err(|_| wire::no_answer())??;
        answer.get_or_insert(this);
    }
    answer.ok_or_else(|| AskError::Url("it names no host".to_owned()))
}

async fn ask_member(address: &Address) -> Result<Answer, AskError> {
    let mut connection = Connection::open(address).await?;
    let (user, password) = (address.user.as_deref(), address.password.as_deref());
    // Of several members the one that leads them answers; without JetStream, or before it serves, nobody does.
    let limits = connection.ask(user, password, "$JS.API.INFO", &Value::Null).await?;
    let info = &connection.info;
    let word = |name: &str| info[name].as_str().map(str::to_owned);
    let mut answer = Answer {
        version: word("version").unwrap_or_else(|| "unknown".to_owned()),
        identity: word("server_name"),
        ..Answer::default()
    };
    for (name, value) in [
        ("max_payload", &info["max_payload"]),
        ("max_storage", &limits["limits"]["max_storage"]),
        ("max_streams", &limits["limits"]["max_streams"]),
    ] {
        answer.settings.insert(name.to_owned(), value.to_string());
    }
    Ok(answer)
}

/// Whether the member leads the stream that is there, or the members where none is. It cannot be asked for the term: a
/// former leader is told by what it has heard of the others, since those that elect another have not answered it for as long.
async fn leads(endpoint: &str) -> Result<Option<u64>, AskError> {
    let address = Address::parse(endpoint, 4222).and_then(spoken).map_err(AskError::Url)?;
    let mut connection = Connection::open(&address).await?;
    let (Some(name), Some(id)) =
        (connection.info["server_name"].as_str(), connection.info["server_id"].as_str())
    else {
        return Err(AskError::Silent("it does not say who it is".to_owned()));
    };
    let (name, subject) = (name.to_owned(), format!("$SYS.REQ.SERVER.{id}.JSZ"));
    let (password, all) = (address.password.as_deref(), json!({ "accounts": true, "streams": true }));
    let answer = connection.ask(Some(SYSTEM_USER), password, &subject, &all).await?;
    Ok(leads_by(&answer["data"], &name).then_some(0))
}

/// What a member says of JetStream, and whether it leads by that.
fn leads_by(said: &Value, name: &str) -> bool {
    let listed = |value: &'_ Value, of: &str| value[of].as_array().cloned().unwrap_or_default();
    let accounts = listed(said, "account_details");
    let streams: Vec<Value> = accounts.iter().flat_map(|account| listed(account, "stream_detail")).collect();
    let groups = match &streams[..] {
        [] => vec![&said["meta_cluster"]],
        streams => streams.iter().map(|stream| &stream["cluster"]).collect(),
    };
    groups.into_iter().any(|group| {
        let others = listed(group, "replicas");
        // 0: not heard of yet.
        let heard = |other: &&Value| {
            other["active"].as_u64().is_some_and(|ns| ns > 0 && u128::from(ns) < ELECTION_MIN.as_nanos())
        };
        group["leader"] == name && 2 * (1 + others.iter().filter(heard).count()) > 1 + others.len()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the member `a` says, of a group that it believes is led by that one, and of when it heard the others.
    fn group(leader: &str, heard_ms: [u64; 2]) -> Value {
        let other = |(name, ms): (&str, u64)| json!({ "name": name, "active": ms * 1_000_000 });
        let others: Vec<Value> = ["b", "c"].into_iter().zip(heard_ms).map(other).collect();
        json!({ "name": "cluster", "leader": leader, "replicas": others })
    }

    fn said(members: Value, streams: &[Value]) -> Value {
        let streams: Vec<Value> = streams.iter().map(|cluster| json!({ "cluster": cluster })).collect();
        json!({ "meta_cluster": members, "account_details": [{ "stream_detail": streams }] })
    }

    #[test]
    fn the_leader_of_a_stream_leads_and_before_there_is_one_that_of_the_members() {
        let (mine, others) = (|| group("a", [300, 900]), || group("b", [300, 900]));
        assert!(leads_by(&said(mine(), &[]), "a"));
        assert!(!leads_by(&said(others(), &[]), "a"));
        assert!(leads_by(&said(others(), &[mine()]), "a"));
        assert!(!leads_by(&said(mine(), &[others()]), "a"));
        assert!(!leads_by(&said(mine(), &[group("", [300, 900])]), "a"), "an election");
    }

    #[test]
    fn who_has_not_heard_a_majority_for_as_long_as_an_election_needs_leads_no_more() {
        for (heard_ms, leads) in [
            ([300, 15_000], true),
            ([15_000, 300], true),
            ([15_000, 15_000], false),
            ([0, 0], false),
            ([0, 300], true),
        ] {
            assert_eq!(
                leads_by(&said(group("b", [1, 1]), &[group("a", heard_ms)]), "a"),
                leads,
                "{heard_ms:?}"
            );
        }
    }
}
