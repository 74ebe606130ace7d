//! NATS with JetStream: `nats-server`, asked over its own protocol of text lines.

use std::net::SocketAddr;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::child;
use crate::secret::Secret;
use crate::servers::about::About;
use crate::servers::command;
use crate::servers::error::ServerError;
use crate::servers::options::{Durability, ServerOptions};
use crate::servers::product::{Answer, Product, Seat, Start};
use crate::servers::url::Address;
use crate::servers::wire::{self, AskError};

const ABOUT: About = About {
    name: "nats",
    title: "NATS",
    packages: "nats-server",
    url: "nats://host[:port],…",
    replicated: false,
    accounts: &["nats", "nobody"],
    processes: &["nats-server"],
    stop: Signal::SIGTERM,
    clean_up: |_| {},
};

/// The one user of a private server.
const USER: &str = "lockbench";

/// Where the files of a stream are, and when they are flushed: it cannot be asked for. Servers of series 2.9 acknowledge what
/// they have written and flush every two minutes, without a setting for it. So what was acknowledged outlives the server
/// under either profile, and a loss of power only where it was flushed or another member has it.
const STORE: &str = "store";
const ON_DISK: &str = "files, flushed every 2 min";
const IN_MEMORY: &str = "files, in memory where a tmpfs has room";

/// One server with JetStream.
#[derive(Debug)]
pub(super) struct Nats;

impl Product for Nats {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn find(&self) -> Result<(PathBuf, String), ServerError> {
        let program = program()?;
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
        Box::pin(async move { start(&seats[place], options) })
    }

    fn endpoint(&self, address: SocketAddr, secret: &Secret) -> String {
        format!("nats://{USER}:{}@{address}", secret.text())
    }

    fn ask<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Answer, AskError>> {
        Box::pin(ask(url))
    }

    fn effective(&self, durability: Durability) -> &'static [(&'static str, &'static str)] {
        match durability {
            Durability::Durable => &[(STORE, ON_DISK)],
            Durability::Memory => &[(STORE, IN_MEMORY)],
        }
    }
}

fn program() -> Result<PathBuf, ServerError> {
    let what = "the program nats-server".to_owned();
    let missing = ServerError::Missing { product: ABOUT.title, what, package: ABOUT.packages };
    child::on_path("nats-server").ok_or(missing)
}

fn start(seat: &Seat, options: &ServerOptions) -> Result<Start, ServerError> {
    let name = seat.folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (port, data) = (seat.ports[0].to_string(), seat.folder.data().display().to_string());
    let login = format!("authorization {{ user: {USER}, password: \"{}\" }}\n", seat.secret.text());
    let config = seat.confide(&ABOUT, "nats.conf", &login)?.display().to_string();
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
        program: program()?,
        args: args.iter().map(Into::into).collect(),
        flags: [(STORE.to_owned(), store.to_owned())].into(),
        identity: name,
    })
}

async fn ask(list: &str) -> Result<Answer, AskError> {
    let mut answer = None;
    for address in wire::addresses(list, 4222)? {
        if !matches!(address.scheme.as_str(), "" | "nats") {
            return Err(AskError::Url(address.expected(ABOUT.url)));
        }
        let this = timeout(wire::PATIENCE, ask_member(&address)).await.map_err(|_| wire::no_answer())??;
        answer.get_or_insert(this);
    }
    answer.ok_or_else(|| AskError::Url("it names no host".to_owned()))
}

async fn ask_member(address: &Address) -> Result<Answer, AskError> {
    let mut connection = Connection { stream: BufReader::new(wire::connect(address).await?) };
    let info = connection.hello().await?;
    let limits = connection.jetstream(address).await?;
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

/// Enough of the protocol to ask one question.
struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// What a server says of itself to whoever connects.
    async fn hello(&mut self) -> Result<Value, AskError> {
        let line = self.line().await?;
        let info = line.strip_prefix("INFO ").and_then(|info| serde_json::from_str(info).ok());
        info.ok_or_else(|| AskError::Silent(format!("this is no greeting of NATS: {line:?}")))
    }

    /// What JetStream says of the account. Without JetStream, or before it serves, nobody responds.
    async fn jetstream(&mut self, address: &Address) -> Result<Value, AskError> {
        let login = json!({
            "verbose": false, "headers": true, "no_responders": true,
            "user": address.user, "pass": address.password,
        });
        let question = format!(
            "CONNECT {login}\r\nSUB lockbench.answer 1\r\nPUB $JS.API.INFO lockbench.answer 0\r\n\r\n"
        );
        self.stream.write_all(question.as_bytes()).await?;
        loop {
            let line = self.line().await?;
            let mut words = line.split(' ');
            match words.next() {
                Some("MSG") => {
                    let strange = || AskError::Silent(format!("$JS.API.INFO: {line}"));
                    let length =
                        words.next_back().and_then(|length| length.parse().ok()).ok_or_else(strange)?;
                    return self.answer(length).await;
                }
                Some("HMSG") => return Err(AskError::Silent("JetStream does not serve".to_owned())),
                Some("-ERR") => return Err(AskError::Silent(line)),
                Some("PING") => self.stream.write_all(b"PONG\r\n").await?,
                _ => {}
            }
        }
    }

    async fn answer(&mut self, length: usize) -> Result<Value, AskError> {
        let mut text = vec![0; length];
        self.stream.read_exact(&mut text).await?;
        let answer: Option<Value> = serde_json::from_slice(&text).ok();
        let answer = answer.filter(|answer| answer["error"].is_null());
        answer.ok_or_else(|| AskError::Silent(format!("$JS.API.INFO: {}", String::from_utf8_lossy(&text))))
    }

    async fn line(&mut self) -> Result<String, AskError> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await? {
            0 => Err(AskError::Silent("it closed the connection".to_owned())),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}
