//! Redis: `redis-server`, asked with PING, INFO and CONFIG GET.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::child;
use crate::servers::about::About;
use crate::servers::command;
use crate::servers::error::ServerError;
use crate::servers::options::{Durability, ServerOptions};
use crate::servers::product::{Answer, Product, Seat, Start};
use crate::servers::secured::Stream;
use crate::servers::url::Address;
use crate::servers::wire::{self, AskError};

const ABOUT: About = About {
    name: "redis",
    title: "Redis",
    packages: "redis-server",
    url: "redis://[[user]:password@]host[:port], rediss:// over TLS",
    replicated: false,
    warms_s: 0.0,
    accounts: &["redis", "nobody"],
    processes: &["redis-server"],
    stop: Signal::SIGTERM,
    clean_up: |_| {},
    secured: &["rediss"],
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

    fn find(&self) -> Result<(PathBuf, String), ServerError> {
        let program = program()?;
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
        Box::pin(async move { start(&seats[place], options) })
    }

    fn endpoint(&self, address: SocketAddr, seat: &Seat) -> String {
        let scheme = if seat.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://:{}@{address}", seat.secret.text())
    }

    fn ask<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Answer, AskError>> {
        Box::pin(ask(url))
    }

    fn effective(&self, durability: Durability) -> &'static [(&'static str, &'static str)] {
        match durability {
            Durability::Durable => &[("appendonly", "yes"), ("appendfsync", "always"), ("save", "")],
            Durability::Memory => &[("appendonly", "no"), ("save", "")],
        }
    }
}

fn program() -> Result<PathBuf, ServerError> {
    let what = "the program redis-server".to_owned();
    let missing = ServerError::Missing { product: ABOUT.title, what, package: ABOUT.packages };
    child::on_path("redis-server").ok_or(missing)
}

fn start(seat: &Seat, options: &ServerOptions) -> Result<Start, ServerError> {
    let data = seat.folder.data().display().to_string();
    let port = seat.ports[0].to_string();
    let persistence: &[&str] = match options.durability {
        Durability::Durable => &["--appendonly", "yes", "--appendfsync", "always", "--save", ""],
        Durability::Memory => &["--appendonly", "no", "--save", ""],
    };
    // The one setting that is not for the arguments, which every user of the machine can read.
    let mut config = format!("requirepass {}\n", seat.secret.text());
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
        program: program()?,
        args: common.iter().chain(persistence).map(Into::into).collect(),
        flags: [].into(),
        identity: data,
    })
}

async fn ask(url: &str) -> Result<Answer, AskError> {
    let address = Address::parse(url, 6379);
    let address = address.and_then(|address| address.spoken(&["redis"], ABOUT.secured, ABOUT.url));
    let address = address.map_err(AskError::Url)?;
    let mut connection = Connection { stream: BufReader::new(wire::open(&address).await?) };
    if let Some(password) = &address.password {
        let login = [Some("AUTH"), address.user.as_deref(), Some(password.as_str())];
        connection.call(&login.into_iter().flatten().collect::<Vec<_>>()).await?;
    }
    connection.call(&["PING"]).await?;
    let info = connection.call(&["INFO", "server"]).await?.join("");
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let mut answer = Answer { version: version.unwrap_or("unknown").trim().to_owned(), ..Answer::default() };
    for name in SETTINGS {
        // Hosted servers often refuse CONFIG: then the setting is unknown, which is worth saying.
        let value = match connection.call(&["CONFIG", "GET", name]).await {
            Ok(pair) => pair.get(1).cloned().unwrap_or_else(|| "unknown".to_owned()),
            Err(_) => "unknown".to_owned(),
        };
        answer.settings.insert(name.to_owned(), value);
    }
    if let Ok(pair) = connection.call(&["CONFIG", "GET", "dir"]).await {
        answer.identity = pair.get(1).cloned();
    }
    Ok(answer)
}

/// Enough of the Redis protocol to ask a few questions.
struct Connection {
    stream: BufReader<Box<dyn Stream>>,
}

impl Connection {
    /// The reply's strings: one, or those of an array.
    async fn call(&mut self, words: &[&str]) -> Result<Vec<String>, AskError> {
        let mut question = format!("*{}\r\n", words.len());
        for word in words {
            question.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        let patience: Duration = wire::PATIENCE;
        let talk = async {
            self.stream.write_all(question.as_bytes()).await?;
            let mut texts = Vec::new();
            let mut left = 1_usize;
            while left > 0 {
                left -= 1;
                left += self.item(&mut texts).await?;
            }
            Ok(texts)
        };
        timeout(patience, talk).await.map_err(|_| wire::no_answer())?
    }

    /// Reads one item; returns how many more it announces.
    async fn item(&mut self, texts: &mut Vec<String>) -> Result<usize, AskError> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        let strange = || AskError::Silent(format!("this is no answer of Redis: {line:?}"));
        let (kind, rest) = line.trim_end().split_at_checked(1).ok_or_else(strange)?;
        match kind {
            "-" => return Err(AskError::Silent(rest.to_owned())),
            "+" | ":" => texts.push(rest.to_owned()),
            "*" => return rest.parse().map_err(|_| strange()),
            "$" => {
                let length: usize = rest.parse().map_err(|_| strange())?;
                let mut text = vec![0; length + 2];
                self.stream.read_exact(&mut text).await?;
                text.truncate(length);
                texts.push(String::from_utf8_lossy(&text).into_owned());
            }
            _ => return Err(strange()),
        }
        Ok(0)
    }
}
