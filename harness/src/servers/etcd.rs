//! etcd: `etcd`, asked over its HTTP and JSON gateway.

use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::launch::{Seat, Start};
use super::url::Address;
use super::wire::{self, AskError};
use super::{Answer, Durability, ServerError, ServerKind, ServerOptions};
use crate::child;

const KIND: ServerKind = ServerKind::Etcd;

pub(super) fn find() -> Result<(PathBuf, String), ServerError> {
    let program = program()?;
    let failed = |source| ServerError::Spawn { kind: KIND, program: program.clone(), source };
    let output = Command::new(&program).arg("--version").output().map_err(failed)?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = output.lines().find_map(|line| line.strip_prefix("etcd Version: ")).unwrap_or("unknown");
    Ok((program, version.to_owned()))
}

fn program() -> Result<PathBuf, ServerError> {
    let what = "the program etcd".to_owned();
    child::on_path("etcd").ok_or(ServerError::Missing { kind: KIND, what, package: KIND.package() })
}

pub(super) fn start(seats: &[Seat], place: usize, options: &ServerOptions) -> Result<Start, ServerError> {
    let name =
        |seat: &Seat| seat.folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let peer = |seat: &Seat| format!("http://127.0.0.1:{}", seat.ports[1]);
    let cluster: Vec<String> = seats.iter().map(|seat| format!("{}={}", name(seat), peer(seat))).collect();
    let (token, seat) = (name(&seats[0]), &seats[place]);
    let (name, peer, folder) = (name(seat), peer(seat), &seat.folder);
    let client = format!("http://127.0.0.1:{}", seat.ports[0]);
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
    let no_fsync = options.durability == Durability::Memory;
    if no_fsync {
        args.push("--unsafe-no-fsync".to_owned());
    }
    Ok(Start {
        program: program()?,
        args: args.into_iter().map(Into::into).collect(),
        user: None,
        endpoint: client,
        stop: Signal::SIGTERM,
        flags: [("unsafe-no-fsync".to_owned(), no_fsync.to_string())].into(),
        identity: name,
    })
}

pub(super) async fn ask(list: &str) -> Result<Answer, AskError> {
    let mut answer = None;
    for address in wire::addresses(list, 2379)? {
        if !matches!(address.scheme.as_str(), "" | "http") {
            return Err(AskError::Url(address.expected("http://host[:port]")));
        }
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
pub(super) async fn leads(endpoint: &str) -> Result<Option<u64>, AskError> {
    let address = Address::parse(endpoint, 2379).map_err(AskError::Url)?;
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
